"""What a service demands of a secret that is given to it."""

from __future__ import annotations

import re

from phoenix.secrets.errors import SecretError

SHORTEST_PORTAINER_PASSWORD = 12
"""In bytes: Portainer's own rule for the administrator (InternalAuthSettings)."""


def check_portainer_password(password: str) -> None:
    """Refuse an administrator's password that Portainer would not take.

    Raises:
        SecretError: it is too short; the message does not hold it.
    """
    if len(password.encode()) < SHORTEST_PORTAINER_PASSWORD:
        raise SecretError(
            f"secret portainer_admin_password is shorter than {SHORTEST_PORTAINER_PASSWORD} bytes: "
            "Portainer refuses such an administrator"
        )


def check_issuance_key(key: str) -> None:
    """Refuse a key of proofs that could be guessed, or that the CA's template cannot hold.

    Raises:
        SecretError: it is neither; the message does not hold it.
    """
    if not re.fullmatch("[A-Za-z0-9_-]{32,}", key):
        raise SecretError(
            "secret step_ca_issuance_key is not of 32 or more letters, digits, - and _: make it by "
            "`openssl rand -hex 32`, or give none, and Phoenix makes it"
        )
