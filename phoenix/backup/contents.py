"""The contents of a backup's parts, checked before anything is written to a host.

age encrypts and does not sign, so whoever knows a recipient could have written the file: check
every part.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import zlib
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import PurePosixPath

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from phoenix.backup.archive import Backup, BackupError
from phoenix.components.step_ca.authority import FILES, MEMBERS
from phoenix.components.x509 import CertificateError, load_chain
from phoenix.site.model import Site

LIMIT_MIB = 1024
"""Largest size of one part before it is compressed. Compressed it passes through memory on its way.
The CA's database grows by some 12 KiB with each certificate, and never shrinks."""
_FILE_LIMIT_MIB = 16
"""Largest size of a file that is looked into; keys and certificates have a few KiB."""
IDENTITY_FILES = ("certs/root_ca.crt", "certs/intermediate_ca.crt", "secrets/intermediate_ca_key")
"""Files that make a CA the one it is; the root's key may be kept elsewhere."""
PORTAINER_KEY = "portainer.key"
"""The key that a server has from its first start, and by which agents know it."""


def check(backup: Backup, site: Site, now: datetime | None = None) -> None:
    """Refuse a backup that this site cannot use.

    Raises:
        BackupError: another site's, or a part that does not hold what it must; says which.
    """
    manifest = backup.manifest
    if (manifest.domain, manifest.network) != (site.domain, site.network):
        raise BackupError(
            f"the backup is of another site: {manifest.domain} on {manifest.network}, and this is "
            f"{site.domain} on {site.network}; its CA may sign only for its own"
        )
    if (data := backup.parts.get("ca")) is not None:
        _check_ca(_files(data, "ca", MEMBERS, FILES), now or datetime.now(UTC))
    if (data := backup.parts.get("portainer")) is not None:
        portainer_identity(data)
    if (data := backup.parts.get("secrets")) is not None:
        secrets(data)


def ca_identity(data: bytes) -> str:
    """SHA-256 over the `IDENTITY_FILES`, as `sha256sum` prints them: the same for the same CA."""
    files = _files(data, "ca", MEMBERS, IDENTITY_FILES)
    lines = "".join(
        f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in IDENTITY_FILES
    )
    return hashlib.sha256(lines.encode()).hexdigest()


def portainer_identity(data: bytes) -> str:
    """SHA-256 of the server's own key.

    Raises:
        BackupError: there is none, or the part cannot be read.
    """
    key = _files(data, "portainer", (), (PORTAINER_KEY,)).get(PORTAINER_KEY)
    if not key:
        raise BackupError(f"part portainer: {PORTAINER_KEY} is missing: was the server ever run?")
    return hashlib.sha256(key).hexdigest()


def secrets(data: bytes) -> dict[str, str]:
    """Name to value of the generated secrets.

    Raises:
        BackupError: not a flat object of strings; the message quotes nothing of it.
    """
    try:
        values = json.loads(data)
    except ValueError:
        values = None
    if not isinstance(values, dict) or not all(isinstance(v, str) for v in values.values()):
        raise BackupError("part secrets: not one flat object of strings")
    return values


def only_file(data: bytes, name: str) -> bytes:
    """The one file of a part that is a folder with it alone.

    Raises:
        BackupError: it is not there, or the part cannot be read.
    """
    content = _files(data, name, (), (name,)).get(name)
    if not content:
        raise BackupError(f"there is no {name} in it")
    return content


def _files(
    data: bytes, part: str, below: tuple[str, ...], opened: Collection[str]
) -> dict[str, bytes]:
    """Path to content of all regular files; that of others than `opened` is left out.

    Args:
        data: tar.gz.
        part: the part's name, for errors.
        below: the only directories that may be there; empty: any.
        opened: the files that are looked into.

    Raises:
        BackupError: unreadable, too large, or an entry that a copy of data has no use for.
    """
    files: dict[str, bytes] = {}
    size = 0
    try:
        with (
            gzip.GzipFile(fileobj=io.BytesIO(data)) as plain,
            tarfile.open(fileobj=plain, mode="r|") as tar,
        ):
            for info in tar:
                path = PurePosixPath(info.name)
                size += info.size
                if size > LIMIT_MIB << 20:
                    raise BackupError(f"part {part}: larger than {LIMIT_MIB} MiB")
                if path.is_absolute() or ".." in path.parts or (info.mode & 0o6000):
                    raise BackupError(f"part {part}: unexpected entry {info.name!r}")
                if below and (not path.parts or path.parts[0] not in below):
                    raise BackupError(f"part {part}: unexpected entry {info.name!r}")
                if info.isreg() and (content := tar.extractfile(info)) is not None:
                    is_opened = str(path) in opened
                    if is_opened and info.size > _FILE_LIMIT_MIB << 20:
                        raise BackupError(
                            f"part {part}: {info.name!r} is larger than {_FILE_LIMIT_MIB} MiB"
                        )
                    files[str(path)] = content.read() if is_opened else b""
                elif not (info.isdir() or _is_inner_link(info)):
                    raise BackupError(
                        f"part {part}: {info.name!r} is not a file, directory or link within"
                    )
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise BackupError(f"part {part} cannot be read: {error}") from None
    return files


def _is_inner_link(info: tarfile.TarInfo) -> bool:
    target = PurePosixPath(info.linkname)
    return info.issym() and not target.is_absolute() and ".." not in target.parts


def _check_ca(files: Mapping[str, bytes], now: datetime) -> None:
    missing = [title for path, title in FILES.items() if not files.get(path)]
    if not any(path.startswith("db/") for path in files):
        missing.append("the database")
    if missing:
        raise BackupError(f"part ca is incomplete: {', '.join(missing)} missing")
    try:
        root = load_chain(files["certs/root_ca.crt"])[0]
        intermediate = load_chain(files["certs/intermediate_ca.crt"])[0]
    except CertificateError as error:
        raise BackupError(f"part ca: {error}") from None
    try:
        intermediate.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature):
        raise BackupError("part ca: the intermediate is not signed by the root") from None
    for name, certificate in (("root", root), ("intermediate", intermediate)):
        if certificate.not_valid_after_utc <= now:
            raise BackupError(
                f"part ca: the {name} expired at {certificate.not_valid_after_utc:%Y-%m-%d}: "
                "there is no use in restoring it"
            )
    if not _is_key_of(
        files["secrets/intermediate_ca_key"], files["secrets/password"].rstrip(b"\n"), intermediate
    ):
        raise BackupError("part ca: its password and intermediate key do not fit the certificate")


def _is_key_of(pem: bytes, password: bytes, certificate: x509.Certificate) -> bool:
    try:
        key = load_pem_private_key(pem, password)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return False
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return key.public_key().public_bytes(*form) == certificate.public_key().public_bytes(*form)
