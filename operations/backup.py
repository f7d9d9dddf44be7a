"""Backups: parts are read from their guests, and become one proven file on the control machine.

Everything passes through this process's memory. Give operations a ``name=``.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pyinfra import host
from pyinfra.api import FunctionCommand
from pyinfra.api.exceptions import OperationError

from facts.command import script
from facts.step_ca import CertificateAuthority
from operations.explain import log_lines
from operations.failure import locally, refuse
from operations.host_state import ask, question
from operations.operation import operation
from phoenix import backup, files
from phoenix.backup.contents import LIMIT_MIB
from phoenix.secrets.store import SecretStore
from phoenix.shell import Script
from phoenix.site.model import Site

Commands = Generator[FunctionCommand, None, None]

_collected: dict[str, backup.Part] = {}


@dataclass(frozen=True)
class Source:
    """Where a part is: `path` is a directory or a Docker volume, `members` what of it is taken.

    `unit` stands still meanwhile; `program` is what wrote the data, with its version.
    """

    part: Literal["ca", "portainer"]
    unit: str
    path: str
    members: Sequence[str]
    program: str


@operation()
def collected(source: Source) -> Commands:
    """Read one part from this guest; its service pauses, and runs again before anything is sent.

    Refused while the CA's keys are being replaced: half of a replacement is of no use later.
    """
    if source.part == "ca" and (ca := ask(question(CertificateAuthority))).rotation:
        yield from refuse(
            f"the CA's {ca.rotation} is being replaced: finish that first, with "
            "`phoenix certs rotate continue`"
        )
        return
    yield locally(lambda: _collect(source))


@operation()
def written(
    site: Site,
    parts: Sequence[str],
    directory: Path,
    lock: backup.Seal,
    *,
    revision: str = "",
    store: SecretStore | None = None,
    writer: bool = True,
) -> Commands:
    """Write what was collected into one new encrypted file, and prove it.

    Args:
        parts: the parts that must be in it.
        directory: where the file is made, on the control machine.
        lock: to whom it is encrypted.
        revision: the project's git commit.
        store: the generated secrets, part "secrets" where they are asked for.
        writer: False on a host that writes nothing, and takes part so that its own part is read
            before the other writes.
    """
    if not writer:
        host.noop("the backup is written once")
        return
    yield locally(lambda: _write(site, parts, directory, lock, revision, store))


def _collect(source: Source) -> None:
    words = (source.unit, str(LIMIT_MIB << 10), source.path, *source.members)
    done, output = host.run_shell_command(
        script(Script("backup-collect", files.text("backup/collect.sh")), *words),
        print_output=False,
        print_input=False,
    )
    if not done:
        raise OperationError(output.stderr or f"the copy of {source.path} failed")
    try:
        data = base64.b64decode("".join(output.stdout_lines), validate=True)
    except binascii.Error:
        raise OperationError(f"the copy of {source.path} arrived damaged: run again") from None
    _collected[source.part] = backup.Part(source.part, host.name, source.program, data)
    log_lines([f"{source.unit} paused for the copy and runs again; {len(data) >> 10} KiB read"])


def _write(
    site: Site,
    parts: Sequence[str],
    directory: Path,
    lock: backup.Seal,
    revision: str,
    store: SecretStore | None,
) -> None:
    found = [_collected[name] for name in parts if name in _collected]
    absent = [name for name in parts if name != "secrets" and name not in _collected]
    if absent:
        raise OperationError(
            f"no backup was written: {', '.join(absent)} could not be read (see above), or --limit "
            "leaves its guest out; backup_parts names the parts to take"
        )
    if store is not None and "secrets" in parts and (kept := store.dump()) is not None:
        found.append(backup.Part("secrets", "control machine", "phoenix", kept))
    made = backup.make(site, found, created=datetime.now(UTC), revision=revision)
    path = backup.save(made, directory, lock, lambda written: backup.check(written, site))
    sizes = ", ".join(f"{part.name} {(part.size + 1023) >> 10} KiB" for part in made.manifest.parts)
    log_lines(
        [
            f"backup written and proven: {path}",
            f"holds {sizes}; encrypted for {lock.what}, without which nobody can open it",
        ]
    )
