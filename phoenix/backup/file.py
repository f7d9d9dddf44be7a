"""Backup files on the control machine: written whole and verified, or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from phoenix.backup.archive import Backup, BackupError, pack, unpack
from phoenix.backup.encryption import Cipher, Decrypt


def file_name(domain: str, created: datetime) -> str:
    """`phoenix-DOMAIN-TIME.age`, so that names sort by time."""
    return f"phoenix-{domain}-{created:%Y%m%dT%H%M%SZ}.age"


def save(backup: Backup, directory: Path, cipher: Cipher, verify: Callable[[Backup], None]) -> Path:
    """Encrypt a backup into a new file, mode 0600, and verify it before it gets its name.

    The file is read back from the disk, decrypted, compared with its manifest and passed to
    `verify`. Only then does it get its name. An existing file is never replaced.

    Raises:
        BackupError: it cannot be written or verified, or the name is taken.
    """
    manifest = backup.manifest
    target = directory / file_name(manifest.domain, manifest.created)
    try:
        write_new(
            target, cipher.encrypt(pack(backup)), lambda part: verify(load(part, cipher.decrypt))
        )
    except FileExistsError:
        raise BackupError(f"{target} is there already; it was left alone: run again") from None
    except OSError as error:
        raise BackupError(f"backup_to: the backup cannot be written: {error}") from None
    return target


def write_new(target: Path, data: bytes, verify: Callable[[Path], None]) -> None:
    """Write a new file, mode 0600, that gets its name when it is on the disk and verified.

    Args:
        target: where; its directory is made where it is missing.
        data: the content.
        verify: reads the file back under a passing name, and raises where it is not as it must be.

    Raises:
        FileExistsError: there is one of that name.
        OSError: it cannot be written.
    """
    directory = target.parent
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, name = tempfile.mkstemp(dir=directory, prefix=".phoenix-backup-")  # mode 0600
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        verify(part)
        target.hardlink_to(part)  # unlike a rename it fails where there is one already
    finally:
        part.unlink(missing_ok=True)
    _sync(directory)


def load(path: Path, decrypt: Decrypt) -> Backup:
    """Read, decrypt and check a backup file.

    Raises:
        BackupError: see `unpack` and `decryptor`; or the file cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BackupError(f"the backup cannot be read: {error}") from None
    return unpack(decrypt(data))


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
