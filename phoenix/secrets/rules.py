"""What a service demands of a secret that is given to it."""

from __future__ import annotations

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
