"""The `--data` settings of deploys/backup.py and restore.py, and the backup to restore."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from deploys.context import secrets, settings, site
from deploys.run_arguments import listed, path
from phoenix import backup
from phoenix.runs import revision as revisions
from phoenix.site.secret_names import BACKUP_PASSPHRASE


def parts(setting: str) -> tuple[str, ...]:
    """The parts that a setting names, all where it is empty, in the order of `backup.PARTS`.

    Raises:
        BackupError: there is no such part.
    """
    names = listed(setting)
    for name in names:
        if name not in backup.PARTS:
            raise backup.BackupError(
                f"{setting}: there is no part {name!r}; there are {', '.join(backup.PARTS)}"
            )
    return tuple(name for name in backup.PARTS if name in names or not names)


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
    source = path("restore_from")
    if source is None:
        raise backup.BackupError("restore_from is missing: --data restore_from=FILE.age")
    return _opened(source, path("restore_identity"))


def decrypt() -> backup.Decrypt:
    """What opens the generated secrets in a backup by a timer.

    Raises:
        BackupError: no identity is named, or its file holds none.
    """
    return backup.decryptor(path("restore_identity"), None, "the generated secrets")


@cache
def _opened(source: Path, identity: Path | None) -> backup.Backup:
    passphrase = secrets().find(BACKUP_PASSPHRASE)
    loaded = backup.load(source, backup.decryptor(identity, passphrase))
    backup.check(loaded, site())
    return loaded


@cache
def revision() -> str:
    """The commit that this project's directory is at, empty if unknown."""
    return revisions.revision(Path(__file__).parents[1]).commit or ""
