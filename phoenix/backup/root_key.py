"""The key of the CA's root off its guest: in an encrypted file of the operator's, and out of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from pydantic import SecretStr

from phoenix.backup.archive import BackupError
from phoenix.backup.encryption import Cipher, Decrypt
from phoenix.backup.file import write_new
from phoenix.components.x509 import CertificateError, fingerprint, load_chain

WHAT = "the file of the root's key"
_PRIVATE = "-----BEGIN PRIVATE KEY-----"

Opens = Callable[[str], SecretStr]
"""Gives the key of a root (PEM). Raises BackupError where it is not the key of this root."""


def save(root: str, key: SecretStr, directory: Path, domain: str, cipher: Cipher) -> Path:
    """Encrypt a root's certificate and key into one new file, and prove that it opens.

    The file is read back from the disk and decrypted before it gets its name.

    Args:
        root: the certificate, as PEM.
        key: the key, as unencrypted PKCS #8 in PEM.
        directory: where the file is made.
        domain: of the site, for the file's name.
        cipher: how it is encrypted.

    Returns:
        The file.

    Raises:
        BackupError: the key is not the root's, or the file cannot be written or does not open.
    """
    certificate = _check(root, key)
    name = f"phoenix-root-{domain}-{fingerprint(certificate)[:12]}.age"
    target = directory / name
    data = cipher.encrypt(f"{root}{key.get_secret_value()}".encode())

    def verify(part: Path) -> None:
        if opener(part, cipher.decrypt)(root).get_secret_value() != key.get_secret_value():
            raise BackupError(f"{WHAT} was not read back as it was written")

    try:
        write_new(target, data, verify)
    except FileExistsError:
        raise BackupError(
            f"{target} is there already; it was left alone, and the key stays where it is: name "
            "another directory"
        ) from None
    except OSError as error:
        raise BackupError(f"{WHAT} cannot be written: {error}") from None
    return target


def opener(path: Path, decrypt: Decrypt) -> Opens:
    """What takes the key out of a file of `save`; the file is read when the key is asked for."""

    def opens(root: str) -> SecretStr:
        try:
            text = decrypt(path.read_bytes()).decode(errors="replace")
        except OSError as error:
            raise BackupError(f"{WHAT} cannot be read: {error}") from None
        certificate, mark, key = text.partition(_PRIVATE)
        passphrase = SecretStr(f"{mark}{key}")
        if not mark:
            raise BackupError(f"{path} holds no key: name a file of `phoenix certs root offline`")
        if _certificate(certificate) != _certificate(root):
            raise BackupError(f"{path} holds the key of another root than the CA's present one")
        _check(root, passphrase)
        return passphrase

    return opens


def _certificate(pem: str) -> x509.Certificate:
    try:
        return load_chain(pem)[0]
    except CertificateError as error:
        raise BackupError(f"{WHAT}: {error}") from None


def _check(root: str, key: SecretStr) -> x509.Certificate:
    """The root's certificate, if the key is its key."""
    certificate = _certificate(root)
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    try:
        loaded = load_pem_private_key(key.get_secret_value().encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise BackupError("the root's key cannot be read") from None
    if loaded.public_key().public_bytes(*form) != certificate.public_key().public_bytes(*form):
        raise BackupError("the key is not the key of the CA's root")
    return certificate
