"""Backups by a timer, now: made, proven, and put back. Give operations a ``name=``."""

from __future__ import annotations

import base64
from collections.abc import Generator, Mapping, Sequence
from datetime import datetime
from typing import Literal

from pydantic import SecretStr
from pyinfra import host
from pyinfra.api import FunctionCommand, StringCommand

from facts.command import script
from facts.host_fact import FactError
from facts.restic import Backups, EscrowMark, ExportedPart
from operations.explain import log_reasons
from operations.failure import refuse
from operations.host_state import ask, question, read
from operations.operation import operation
from phoenix.backup import archive
from phoenix.backup.archive import Backup, BackupError, make
from phoenix.backup.contents import check, only_file
from phoenix.backup.encryption import Decrypt, cipher
from phoenix.backup.snapshots import newest
from phoenix.components.restic.files import ESCROW, ESCROW_FILE, PROGRAM
from phoenix.derived.backups import CA, PORTAINER, SECRETS, Part
from phoenix.secrets import backup_password
from phoenix.secrets.store import SecretStore
from phoenix.shell import Script
from phoenix.site.model import Site

_NAMES: Mapping[str, Literal["ca", "portainer", "secrets"]] = {
    CA: "ca", PORTAINER: "portainer", SECRETS: "secrets",
}  # fmt: skip
Commands = Generator[StringCommand | FunctionCommand, None, None]

# As its timer starts it, so that the journal and the notes have it as well.
_START = Script(
    "backup-now",
    '[ -x "$2" ] || { echo "no backups are deployed here: phoenix sync restic" >&2; exit 1; }; '
    'began=$(date +%s); systemctl start -- "$1" && exit 0; '
    'journalctl -q --no-pager -o cat -u "$1" --since "@$began" | grep "^phoenix-backup" >&2; '
    "exit 1",
)
_ESCROW = Script(
    "escrow",
    'umask 077; mkdir -p "$1" && base64 -d >"$1/.new" && [ -s "$1/.new" ] && sync "$1/.new" && '
    'mv -f "$1/.new" "$1/$2" && printf "%s\\n" "$3" >"$1/mark"',
)
_RESTORE = Script("restore-at", '"$1" restore "$2" "$3" ${4:+"$4"}')


@operation(reads=lambda *_, **__: [question(EscrowMark)])
def escrowed(store: SecretStore, key: SecretStr, readers: Sequence[str]) -> Commands:
    """Have this guest hold the generated secrets, encrypted, for its timer to back up.

    Args:
        store: the generated secrets of this machine.
        key: the secret `backup_key`.
        readers: age recipients or SSH public keys.
    """
    content = store.dump() or b"{}"
    mark = backup_password.mark(key, content, readers)
    if read(question(EscrowMark)) == mark:
        host.noop("the generated secrets are there as they are here")
        return
    log_reasons("takes the generated secrets of this machine, encrypted")
    encrypted = cipher(readers, None, "the generated secrets").encrypt(content)
    data = base64.encodebytes(encrypted).decode()
    yield script(_ESCROW, ESCROW, ESCROW_FILE, mark, stdin=data)


def opened(site: Site, part: Part, at: datetime, decrypt: Decrypt | None = None) -> Backup:
    """The CA, Portainer's data or the secrets of a moment, as `operations.restore` takes them.

    They are read from this host now, and checked before anything changes.

    Args:
        site: the site.
        part: `ca`, `portainer` or `secrets`.
        at: the moment: the last backup that was begun by then counts.
        decrypt: opens the secrets.

    Raises:
        BackupError: there is none as old, it does not restore, or it is not this site's.
    """
    try:
        snapshot = newest(ask(question(Backups)).snapshots, part.name, at)
        data = ask(question(ExportedPart, part=part.name, snapshot=snapshot.id))
    except FactError as error:
        raise BackupError(f"{part.host.name}: {error}") from None
    name = _NAMES[part.name]
    if decrypt is not None:
        data = decrypt(only_file(data, ESCROW_FILE))
    change = make(
        site, [archive.Part(name, part.host.name, f"snapshot {snapshot.id}", data)],
        created=snapshot.time,
    )  # fmt: skip
    check(change, site)
    return change


@operation(is_idempotent=False)
def started(unit: str) -> Commands:
    """Run what a timer of the backups runs; ends when it is done, and fails where it failed.

    Args:
        unit: the service.
    """
    yield script(_START, unit, PROGRAM)


@operation(is_idempotent=False, reads=lambda *_, **__: [question(Backups)])
def restored(part: Part, at: datetime, *, replace: bool) -> Commands:
    """Put a stack's volumes back as they were at a moment.

    What its volumes hold is refused, or with `replace` kept beside.

    Args:
        part: a stack's.
        at: the moment: the last backup that was begun by then counts.
        replace: see above.
    """
    try:
        snapshot = newest(read(question(Backups)).snapshots, part.name, at)
    except BackupError as error:
        yield from refuse(str(error))
        return
    log_reasons(f"{part.what} as of {snapshot.time:%Y-%m-%d %H:%M %Z} (snapshot {snapshot.id})")
    yield script(_RESTORE, PROGRAM, part.name, snapshot.id, "replace" if replace else "")
