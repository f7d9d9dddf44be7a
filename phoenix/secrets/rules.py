"""What a service demands of a secret that is given to it."""

from __future__ import annotations

import re

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from phoenix.secrets.errors import SecretError
from phoenix.site.secret_names import BACKUP_KEY, WATCH_KEY

MIN_PASSWORD_BYTES = 12
"""In bytes: Portainer's own rule for the administrator (InternalAuthSettings)."""
_SHORTEST_KEY = 32


def check_line(name: str, value: str) -> None:
    """Refuse a password or token that nobody could type or send in a header.

    Args:
        name: of the secret.
        value: of it.

    Raises:
        SecretError: it is empty or has control characters, as a file with Windows' line ends gives
            them; the message does not hold it.
    """
    if not value:
        raise SecretError(f"secret {name} is empty: give a value, or none at all")
    if re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", value):
        raise SecretError(
            f"secret {name} has a line break or another control character: give it on one line, "
            "without a carriage return at its end"
        )


def check_portainer_password(password: str) -> None:
    """Refuse an administrator's password that Portainer would not take.

    Raises:
        SecretError: it is too short; the message does not hold it.
    """
    if len(password.encode()) < MIN_PASSWORD_BYTES:
        raise SecretError(
            f"secret portainer_admin_password is shorter than {MIN_PASSWORD_BYTES} bytes: "
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
    _check_length(WATCH_KEY, key)


def check_backup_key(key: str) -> None:
    """Refuse a key of the backups that could be guessed.

    Raises:
        SecretError: it is too short; the message does not hold it.
    """
    _check_length(BACKUP_KEY, key)


def check_backup_ssh_key(key: str) -> None:
    """Refuse what ssh would not read as a private key, or would ask a passphrase for.

    Raises:
        SecretError: it is not a private key without a passphrase; the message holds nothing of it.
    """
    try:
        load_ssh_private_key(key.strip().encode() + b"\n", None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SecretError(
            "secret backup_ssh_key is not a private key of OpenSSH without a passphrase: make one "
            "by "
            "`ssh-keygen -t ed25519 -N '' -f FILE`, and give the file"
        ) from None


def check_backup_s3(word: str) -> None:
    """Refuse what cannot be one word of a credentials file.

    Raises:
        SecretError: it has blanks or other characters; the message holds nothing of it.
    """
    if not re.fullmatch(r"[!-~]{3,200}", word.strip()):
        raise SecretError(
            "secrets backup_s3_id and backup_s3_secret are words without blanks: give them as the "
            "server's console shows them"
        )


def _check_length(name: str, key: str) -> None:
    if len(key.encode()) < _SHORTEST_KEY:
        raise SecretError(
            f"secret {name} is shorter than {_SHORTEST_KEY} bytes: make it by "
            "`openssl rand -hex 32`, or give none, and Phoenix makes it"
        )


def check_alarm_urls(urls: str) -> None:
    """Refuse what names no place that Apprise could send an alarm to.

    Raises:
        SecretError: a line is not a URL; the message holds its number, and nothing of it.
    """
    lines = [line.strip() for line in urls.splitlines()]
    for number, line in enumerate(lines, 1):
        if line and not re.match(r"[a-z][a-z0-9+.-]*://\S", line):
            raise SecretError(
                f"secret alarm_urls: line {number} is not a URL of Apprise, such as "
                "mailtos://USER:PASSWORD@example.com or ntfys://HOST/TOPIC"
            )
    if not any(lines):
        raise SecretError("secret alarm_urls has no line: give none at all, or a URL a line")
