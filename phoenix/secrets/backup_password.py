"""What is made from the secret of the backups: each host's password, and a mark.

A host gets its own, and none that another's could be made from: who takes over one host reads that
one's backups alone.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from pydantic import SecretStr

from phoenix.secrets.rules import check_backup_key


def of_host(secret: SecretStr, host: str) -> SecretStr:
    """The password of a host's repository; the same call gives the same one.

    It is HMAC-SHA-256 (RFC 2104) of "phoenix backup HOST" in lower-case hex, so that people without
    Phoenix can make it too (docs/backups.md).

    Args:
        secret: `backup_key`.
        host: its name.

    Raises:
        SecretError: the secret cannot be used.
    """
    check_backup_key(secret.get_secret_value())
    key = secret.get_secret_value().encode()
    return SecretStr(hmac.digest(key, f"phoenix backup {host}".encode(), hashlib.sha256).hex())


def mark(secret: SecretStr, content: bytes, readers: Sequence[str]) -> str:
    """What tells one content for these readers from another, and nothing of the content.

    What age encrypts differs each time, so that a second run could not tell by that. It is
    HMAC-SHA-256 (RFC 2104): without the secret no content can be guessed and compared.

    Args:
        secret: `backup_key`.
        content: what is encrypted for them.
        readers: their public keys.
    """
    words = b"phoenix escrow\0" + "\n".join(readers).encode() + b"\0" + content
    return hmac.digest(secret.get_secret_value().encode(), words, hashlib.sha256).hex()
