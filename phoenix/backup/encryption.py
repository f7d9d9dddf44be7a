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
from pyrage import x25519

from phoenix.backup.archive import BackupError
from phoenix.secrets import age
from phoenix.secrets.errors import SecretError

RECIPIENT_FIX = (
    "make a key with `age-keygen -o KEY` (or take an SSH key of type ed25519) and put its public "
    "half into the setting backup_recipients, or give a passphrase as the secret "
    "backup_passphrase (PHOENIX_SECRET_BACKUP_PASSPHRASE)"
)
"""How an operator gets a key to encrypt to."""
_HEADER = b"age-encryption.org/v1\n"

Decrypt = Callable[[bytes], bytes]
"""Decrypts a whole file. Raises BackupError with the reason and the fix."""


@dataclass(frozen=True)
class Cipher:
    """How a backup is encrypted, and how the written file is decrypted again to verify it."""

    encrypt: Callable[[bytes], bytes]
    decrypt: Decrypt
    description: str


def cipher(
    recipients: Sequence[str], passphrase: SecretStr | None, label: str = "the backup"
) -> Cipher:
    """The cipher for `recipients`, or for `passphrase` where there are none.

    Each backup gets one more recipient, whose identity exists in this process alone. With it the
    written file is decrypted again, without an identity of the operator.

    Args:
        recipients: age or SSH public keys.
        passphrase: where there are none of these.
        label: what is encrypted, for errors.

    Raises:
        BackupError: neither is given, or a recipient cannot be used; says which, and the fix.
    """
    if recipients:
        keys = [_recipient(text, position) for position, text in enumerate(recipients, 1)]
        proof = x25519.Identity.generate()
        keys.append(proof.to_public())
        count = f"{len(recipients)} recipient{'' if len(recipients) == 1 else 's'}"
        return Cipher(
            lambda data: pyrage.encrypt(data, keys),
            lambda data: _decrypt(data, [proof], label),
            count,
        )
    if passphrase is None:
        raise BackupError(f"nobody could open {label}: {RECIPIENT_FIX}")
    word = passphrase.get_secret_value()
    return Cipher(
        lambda data: by_passphrase.encrypt(data, word),
        decryptor(None, passphrase, label),
        "a passphrase",
    )


def decryptor(
    identity: Path | None,
    passphrase: SecretStr | None,
    label: str = "the backup",
    setting: str = "restore_identity",
) -> Decrypt:
    """What decrypts a backup, or another file of `cipher`: an identity in a file, or a passphrase.

    Args:
        identity: a file of `age-keygen`, or an SSH private key without a passphrase.
        passphrase: where there is none.
        label: what is decrypted, for errors.
        setting: the setting that names the identity, for errors.

    Raises:
        BackupError: neither is given, or the file holds no identity.
    """
    if identity is not None:
        identities = _identities(identity, setting)
        return lambda data: _decrypt(data, identities, label)
    if passphrase is None:
        raise BackupError(
            f"nothing is given to open {label} with: name the file of your age identity or SSH "
            f"private key as {setting}, or give the secret backup_passphrase "
            "(PHOENIX_SECRET_BACKUP_PASSPHRASE)"
        )
    word = passphrase.get_secret_value()
    return lambda data: _decrypt_by_passphrase(data, word, label, setting)


def _recipient(text: str, position: int) -> age.Recipient:
    try:
        return age.recipient(text, f"setting backup_recipients, entry {position}")
    except SecretError as error:
        raise BackupError(str(error)) from None


def _identities(path: Path, setting: str) -> list[age.Identity]:
    try:
        return age.identities(path, setting)
    except SecretError as error:
        raise BackupError(str(error)) from None


def _decrypt(encrypted: bytes, identities: Sequence[age.Identity], label: str) -> bytes:
    if _with_passphrase(encrypted, label):
        raise BackupError(
            f"{label} was made with a passphrase: give it as the secret backup_passphrase "
            "(PHOENIX_SECRET_BACKUP_PASSPHRASE), and no identity"
        )
    try:
        return bytes(pyrage.decrypt(encrypted, identities))
    except pyrage.DecryptError as error:
        raise BackupError(_why(error, "the identity", label)) from None


def _decrypt_by_passphrase(data: bytes, word: str, label: str, setting: str) -> bytes:
    if not _with_passphrase(data, label):
        raise BackupError(
            f"{label} was made for recipients: name the file with the identity of one of them "
            f"as {setting}"
        )
    try:
        return bytes(by_passphrase.decrypt(data, word))
    except pyrage.DecryptError as error:
        raise BackupError(_why(error, "the passphrase", label)) from None


def _with_passphrase(data: bytes, label: str) -> bool:
    """Whether an age file's only stanza is of type scrypt.

    Raises:
        BackupError: not an age file, or cut off within its header.
    """
    if not data.startswith(_HEADER):
        raise BackupError(f"the file is not encrypted with age: is it {label} of Phoenix?")
    return data[len(_HEADER) :].startswith(b"-> scrypt ")


def _why(error: Exception, key: str, label: str) -> str:
    if re.search("No matching keys|Decryption failed", str(error)):
        return f"{key} does not open {label}: it was made for another one"
    if re.search("excessive work", str(error), re.IGNORECASE):  # age times this machine by itself
        message = " ".join(str(error).split())
        return (
            f"this machine is too slow or too busy for {label}: {message} Try again when less runs"
        )
    return f"{label} is damaged or cut off: {error}"
