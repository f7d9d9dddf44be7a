"""The `--data` settings of deploys/backup.py and restore.py, and the backup to restore."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from pyinfra import host

from deploys.context import secrets, settings, site
from phoenix import backup
from phoenix.runs import revision as revisions
from phoenix.site.secret_names import BACKUP_PASSPHRASE


def list_setting(setting: str) -> tuple[str, ...]:
    """A setting that is a list, or text with commas, as `--data` gives it."""
    return _split(host.data.get(setting) or ())


def _split(value: str | Sequence[str]) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else (*value,)


def parts(setting: str) -> tuple[str, ...]:
    """The parts that a setting names, all where it is empty, in the order of `backup.PARTS`.

    Raises:
        BackupError: there is no such part.
    """
    names = list_setting(setting)
    for name in names:
        if name not in backup.PARTS:
            raise backup.BackupError(
                f"{setting}: there is no part {name!r}; there are {', '.join(backup.PARTS)}"
            )
    return tuple(name for name in backup.PARTS if name in names or not names)


def flag(setting: str) -> bool:
    """A setting that is on or off.

    Raises:
        BackupError: it is something else.
    """
    value = host.data.get(setting)
    if value not in (None, True, False):
        raise backup.BackupError(f"{setting} is {value!r}: write true or false")
    return bool(value)


def cipher() -> backup.Cipher:
    """How this site's backups are encrypted.

    Raises:
        BackupError: see `phoenix.backup.cipher`.
    """
    return backup.cipher(settings().backup_recipients, secrets().find(BACKUP_PASSPHRASE))


def opened() -> backup.Backup:
    """The backup that `restore_from` names; decrypted and checked once a run, for all hosts.

    Raises:
        BackupError: it cannot be opened, is damaged, or is not for this site.
    """
    source = host.data.get("restore_from")
    if not source:
        raise backup.BackupError("restore_from is missing: --data restore_from=FILE.age")
    return _opened(Path(source), _identity())


def _identity() -> Path | None:
    named = host.data.get("restore_identity")
    return Path(named).expanduser() if named else None


def decrypt() -> backup.Decrypt:
    """What opens the generated secrets in a backup by a timer.

    Raises:
        BackupError: no identity is named, or its file holds none.
    """
    return backup.decryptor(_identity(), None, "the generated secrets")


@cache
def _opened(source: Path, identity: Path | None) -> backup.Backup:
    passphrase = secrets().find(BACKUP_PASSPHRASE)
    loaded = backup.load(source.expanduser(), backup.decryptor(identity, passphrase))
    backup.check(loaded, site())
    return loaded


@cache
def revision() -> str:
    """The commit that this project's directory is at, empty if unknown."""
    return revisions.revision(Path(__file__).parents[1]).commit or ""
