"""Encryption of backups: age (https://age-encryption.org/v1) through pyrage.

Either to recipients, X25519 (`age1...`) or SSH public keys, or with a passphrase: an age file has
one or the other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyrage  # type: ignore[import-untyped]
from pydantic import SecretStr
from pyrage import passphrase as by_passphrase
from pyrage import ssh, x25519

from phoenix.backup.archive import BackupError

RECIPIENT_FIX = (
    "make a key with `age-keygen -o KEY` (or take an SSH key of type ed25519) and put its public "
    "half into the setting backup_recipients, or give a passphrase as the secret "
    "backup_passphrase (PHOENIX_SECRET_BACKUP_PASSPHRASE)"
)
"""How an operator gets a key to encrypt to."""
_PRIVATE = re.compile(r"AGE-SECRET-KEY-|-----BEGIN", re.IGNORECASE)
_HEADER = b"age-encryption.org/v1\n"

Decrypt = Callable[[bytes], bytes]
"""Decrypts a whole file. Raises BackupError with the reason and the fix."""


@dataclass(frozen=True)
class Cipher:
    """How a backup is encrypted, and how the written file is decrypted again to verify it."""

    encrypt: Callable[[bytes], bytes]
    decrypt: Decrypt
    description: str


def cipher(recipients: Sequence[str], passphrase: SecretStr | None) -> Cipher:
    """The cipher for `recipients`, or for `passphrase` where there are none.

    Each backup gets one more recipient, whose identity exists in this process alone. With it the
    written file is decrypted again, without an identity of the operator.

    Raises:
        BackupError: neither is given, or a recipient cannot be used; says which, and the fix.
    """
    if recipients:
        keys = [_recipient(text, position) for position, text in enumerate(recipients, 1)]
        proof = x25519.Identity.generate()
        keys.append(proof.to_public())
        count = f"{len(recipients)} recipient{'' if len(recipients) == 1 else 's'}"
        return Cipher(
            lambda data: pyrage.encrypt(data, keys), lambda data: _decrypt(data, [proof]), count
        )
    if passphrase is None:
        raise BackupError(f"nobody could open the backup: {RECIPIENT_FIX}")
    word = passphrase.get_secret_value()
    return Cipher(
        lambda data: by_passphrase.encrypt(data, word), decryptor(None, passphrase), "a passphrase"
    )


def decryptor(identity: Path | None, passphrase: SecretStr | None) -> Decrypt:
    """What decrypts a backup: the identity in a file, or a passphrase.

    Args:
        identity: a file of `age-keygen`, or an SSH private key without a passphrase.

    Raises:
        BackupError: neither is given, or the file holds no identity.
    """
    if identity is not None:
        identities = _identities(identity)
        return lambda data: _decrypt(data, identities)
    if passphrase is None:
        raise BackupError(
            "nothing is given to open the backup with: name the file of your age identity or SSH "
            "private key as restore_identity, or give the secret backup_passphrase "
            "(PHOENIX_SECRET_BACKUP_PASSPHRASE)"
        )
    word = passphrase.get_secret_value()
    return lambda data: _decrypt_by_passphrase(data, word)


def _recipient(text: str, position: int) -> x25519.Recipient | ssh.Recipient:
    words = text.strip()
    if _PRIVATE.search(words):
        raise BackupError(
            f"setting backup_recipients, entry {position}, is a private key: take it out, and give "
            "the public half (`age-keygen -y KEY`, or the .pub file)"
        )
    try:
        if words.startswith("ssh-"):
            return ssh.Recipient.from_str(words)
        return x25519.Recipient.from_str(words)
    except pyrage.RecipientError as error:
        raise BackupError(
            f"setting backup_recipients, entry {position}: {words[:40]!r} is neither an age "
            f"recipient (age1...) nor an SSH public key of type ed25519 or rsa ({error})"
        ) from None


def _identities(path: Path) -> list[x25519.Identity | ssh.Identity]:
    try:
        if path.stat().st_mode & 0o077:
            raise BackupError(f"restore_identity: {path} is readable by others: chmod 600 {path}")
        data = path.read_bytes()
    except OSError as error:
        raise BackupError(f"restore_identity: {error}") from None
    no_identity = BackupError(
        f"restore_identity: {path} holds no identity: it must be a file of age-keygen "
        "(AGE-SECRET-KEY-1...) or an SSH private key that has no passphrase"
    )
    try:
        if data.lstrip().startswith(b"-----BEGIN"):
            return [ssh.Identity.from_buffer(data)]
        lines = [line.strip() for line in data.decode().splitlines()]
        identities = [x25519.Identity.from_str(line) for line in lines if line and line[0] != "#"]
    except (pyrage.IdentityError, UnicodeDecodeError):
        raise no_identity from None
    if not identities:
        raise no_identity
    return list(identities)


def _decrypt(encrypted: bytes, identities: Sequence[x25519.Identity | ssh.Identity]) -> bytes:
    if _with_passphrase(encrypted):
        raise BackupError(
            "the backup was made with a passphrase: give it as the secret backup_passphrase "
            "(PHOENIX_SECRET_BACKUP_PASSPHRASE), and no restore_identity"
        )
    try:
        return bytes(pyrage.decrypt(encrypted, identities))
    except pyrage.DecryptError as error:
        raise BackupError(_why(error, "the identity")) from None


def _decrypt_by_passphrase(data: bytes, word: str) -> bytes:
    if not _with_passphrase(data):
        raise BackupError(
            "the backup was made for recipients: name the file with the identity of one of them "
            "as restore_identity"
        )
    try:
        return bytes(by_passphrase.decrypt(data, word))
    except pyrage.DecryptError as error:
        raise BackupError(_why(error, "the passphrase")) from None


def _with_passphrase(data: bytes) -> bool:
    """Whether an age file's only stanza is of type scrypt.

    Raises:
        BackupError: not an age file, or cut off within its header.
    """
    if not data.startswith(_HEADER):
        raise BackupError("the file is not encrypted with age: is it a backup of Phoenix?")
    return data[len(_HEADER) :].startswith(b"-> scrypt ")


def _why(error: Exception, key: str) -> str:
    if re.search("No matching keys|Decryption failed|excessive work", str(error)):
        return f"{key} does not open the backup: it was made for another one"
    return f"the backup is damaged or cut off: {error}"
