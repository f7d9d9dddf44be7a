"""age keys and files (https://age-encryption.org/v1) through pyrage, which SOPS reads as well."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

import pyrage  # type: ignore[import-untyped]
from pyrage import ssh, x25519

from phoenix import bounded
from phoenix.secrets.errors import SecretError

Recipient: TypeAlias = x25519.Recipient | ssh.Recipient
Identity: TypeAlias = x25519.Identity | ssh.Identity
_PRIVATE = re.compile(r"AGE-SECRET-KEY-|-----BEGIN", re.IGNORECASE)
_HEADERS = (b"age-encryption.org/v1\n", b"-----BEGIN AGE ENCRYPTED FILE-----")


def recipient(text: str, where: str) -> Recipient:
    """Whom something is encrypted to.

    Args:
        text: an age public key (`age1...`) or an SSH public key of type ed25519 or rsa.
        where: where it was given, for the error.

    Raises:
        SecretError: it is a private key, or none at all.
    """
    words = text.strip()
    if _PRIVATE.search(words):
        raise SecretError(
            f"{where}, is a private key: take it out, and give the public half "
            "(`age-keygen -y KEY`, or the .pub file)"
        )
    try:
        if words.startswith("ssh-"):
            return ssh.Recipient.from_str(words)
        return x25519.Recipient.from_str(words)
    except pyrage.RecipientError as error:
        raise SecretError(
            f"{where}: {words[:40]!r} is neither an age recipient (age1...) nor an SSH public key "
            f"of type ed25519 or rsa ({error})"
        ) from None


def identities(path: Path, where: str) -> list[Identity]:
    """The private keys in a file.

    Args:
        path: a file of `age-keygen`, or an SSH private key without a passphrase; mode 0600.
        where: where the file was named, for the error.

    Raises:
        SecretError: it cannot be read, is readable by others, or holds no key.
    """
    try:
        if path.stat().st_mode & 0o077:
            raise SecretError(f"{where}: {path} is readable by others: chmod 600 {path}")
        data = bounded.read(path)
    except OSError as error:
        raise SecretError(f"{where}: {error}") from None
    no_identity = SecretError(
        f"{where}: {path} holds no identity: it must be a file of age-keygen "
        "(AGE-SECRET-KEY-1...) or an SSH private key that has no passphrase"
    )
    try:
        if data.lstrip().startswith(b"-----BEGIN"):
            return [ssh.Identity.from_buffer(data)]
        lines = [line.strip() for line in data.decode().splitlines()]
        keys = [x25519.Identity.from_str(line) for line in lines if line and line[0] != "#"]
    except (pyrage.IdentityError, UnicodeDecodeError):
        raise no_identity from None
    if not keys:
        raise no_identity
    return list(keys)


def key_file(environment: Mapping[str, str]) -> Path:
    """Where this person's age key is: the place in which SOPS looks for it.

    https://getsops.io/docs/#encrypting-using-age: SOPS_AGE_KEY_FILE, else sops/age/keys.txt in the
    user's configuration directory.
    """
    if path := environment.get("SOPS_AGE_KEY_FILE"):
        return Path(path)
    folder = environment.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(folder).expanduser() / "sops/age/keys.txt"


def public_key(path: Path) -> str | None:
    """The public half of the first age key in a file; None where there is no such file.

    Raises:
        SecretError: it cannot be read, or holds no age key.
    """
    if not path.exists():
        return None
    for identity in identities(path, "the age key"):
        if isinstance(identity, x25519.Identity):
            return str(identity.to_public())
    raise SecretError(f"the age key: {path} holds an SSH key: name a file of age-keygen")


def make_key(path: Path) -> str:
    """Make an age key, in the form of `age-keygen`, readable by its owner alone.

    Returns:
        Its public half.

    Raises:
        SecretError: the file is there already, or cannot be written.
    """
    identity = x25519.Identity.generate()
    public = str(identity.to_public())
    text = (
        f"# created: {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}\n# public key: {public}\n{identity}\n"
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise SecretError(f"the age key: {error}") from None
    with os.fdopen(handle, "w") as file:
        file.write(text)
    return public


def encrypt(data: bytes, recipients: Sequence[str]) -> bytes:
    """An age file, as text, that each of `recipients` can decrypt.

    Raises:
        SecretError: there is none, or one cannot be used.
    """
    if not recipients:
        raise SecretError("nobody could decrypt it: give --to with an age public key (age1...)")
    keys = [recipient(text, f"--to {position}") for position, text in enumerate(recipients, 1)]
    return bytes(pyrage.encrypt(data, keys, armored=True))


def decrypt(data: bytes, key: Path, label: str) -> bytes:
    """The content of an age file.

    Args:
        data: the file, as text or binary.
        key: the file with the private key of one of its recipients.
        label: what it is, for the error.

    Raises:
        SecretError: it is no age file, is damaged, or is for others.
    """
    if not data.startswith(_HEADERS):
        raise SecretError(f"{label} is not encrypted with age: it must be one of `secrets export`")
    if not key.exists():
        raise SecretError(
            f"there is no age key in {key}: `phoenix secrets init` makes one; have the file made "
            "for its public half, or name the key with --identity"
        )
    try:
        return bytes(pyrage.decrypt(data, identities(key, "--identity")))
    except pyrage.DecryptError as error:
        raise SecretError(
            f"{label} cannot be decrypted with the key in {key}: it was made for another one, "
            f"or is damaged ({error})"
        ) from None
