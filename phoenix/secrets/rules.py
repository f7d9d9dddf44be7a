"""What a service demands of a secret that is given to it."""

from __future__ import annotations

import re

from phoenix.secrets.errors import SecretError

SHORTEST_PORTAINER_PASSWORD = 12
"""In bytes: Portainer's own rule for the administrator (InternalAuthSettings)."""
_SHORTEST_WATCH_KEY = 32


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


def check_watch_key(key: str) -> None:
    """Refuse a key of the watch that could be guessed.

    Raises:
        SecretError: it is too short; the message does not hold it.
    """
    if len(key.encode()) < _SHORTEST_WATCH_KEY:
        raise SecretError(
            f"secret watch_key is shorter than {_SHORTEST_WATCH_KEY} bytes: make it by "
            "`openssl rand -hex 32`, or give none, and Phoenix makes it"
        )


def check_alarm_urls(urls: str) -> None:
    """Refuse what names no place that Apprise could send an alarm to.

    Raises:
        SecretError: a line is no URL; the message holds its number, and nothing of it.
    """
    lines = [line.strip() for line in urls.splitlines()]
    for number, line in enumerate(lines, 1):
        if line and not re.match(r"[a-z][a-z0-9+.-]*://\S", line):
            raise SecretError(
                f"secret alarm_urls: line {number} is no URL of Apprise, such as "
                "mailtos://USER:PASSWORD@example.com or ntfys://HOST/TOPIC"
            )
    if not any(lines):
        raise SecretError("secret alarm_urls has no line: give none at all, or a URL a line")
