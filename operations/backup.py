"""Backups: parts are read from their guests, and become one verified file on the control machine.

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
from facts.host_fact import FactError
from facts.issued import IssuedCertificates
from facts.step_ca import CertificateAuthority
from operations.explain import log_lines
from operations.failure import local_command, refuse
from operations.host_state import ask, question
from operations.operation import operation
from phoenix import backup, files
from phoenix.backup.archive import ISSUED
from phoenix.backup.contents import LIMIT_MIB
from phoenix.secrets.store import SecretStore
from phoenix.shell import Script
from phoenix.site.model import Site

Commands = Generator[FunctionCommand, None, None]

_collected: dict[str, backup.Part] = {}


@dataclass(frozen=True)
class Source:
    """Where a part is: `path` is a directory or a Docker volume, `members` the parts of it to copy.

    `unit` is stopped meanwhile; `program` is what wrote the data, with its version.
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
    yield local_command(lambda: _collect(source))


@operation()
def written(
    site: Site,
    parts: Sequence[str],
    directory: Path,
    cipher: backup.Cipher,
    *,
    revision: str = "",
    store: SecretStore | None = None,
    writer: bool = True,
) -> Commands:
    """Write the collected parts into one new encrypted file, and verify it.

    Args:
        parts: the parts that must be in it.
        directory: where the file is made, on the control machine.
        cipher: how it is encrypted.
        revision: the project's git commit.
        store: the generated secrets, part "secrets" where `parts` names it.
        writer: False on a host that writes nothing, and takes part so that its own part is read
            before the other writes.
    """
    if not writer:
        host.noop("the backup is written once")
        return
    yield local_command(lambda: _write(site, parts, directory, cipher, revision, store))


def _collect(source: Source) -> None:
    arguments = (source.unit, str(LIMIT_MIB << 10), source.path, *source.members)
    succeeded, output = host.run_shell_command(
        script(Script("backup-collect", files.text("backup/collect.sh")), *arguments),
        print_output=False,
        print_input=False,
    )
    if not succeeded:
        raise OperationError(output.stderr or f"the copy of {source.path} failed")
    try:
        data = base64.b64decode("".join(output.stdout_lines), validate=True)
    except binascii.Error:
        raise OperationError(f"the copy of {source.path} arrived damaged: run again") from None
    _collected[source.part] = backup.Part(source.part, host.name, source.program, data)
    if source.part == "ca":
        _list_issued(source.program)
    log_lines([f"{source.unit} paused for the copy and runs again; {len(data) >> 10} KiB read"])


def _list_issued(program: str) -> None:
    """The list of all that the CA has issued goes with its database, which few can read."""
    try:
        issued = ask(question(IssuedCertificates, which="all"))
    except FactError as error:
        log_lines([f"the backup has no list of what the CA has issued: {error}"])
        return
    lines = "".join(f"{certificate.model_dump_json()}\n" for certificate in issued)
    _collected[ISSUED] = backup.Part(ISSUED, host.name, program, lines.encode())


def _write(
    site: Site,
    parts: Sequence[str],
    directory: Path,
    cipher: backup.Cipher,
    revision: str,
    store: SecretStore | None,
) -> None:
    names = [*parts, ISSUED] if "ca" in parts else parts
    collected_parts = [_collected[name] for name in names if name in _collected]
    absent = [name for name in parts if name != "secrets" and name not in _collected]
    if absent:
        raise OperationError(
            f"no backup was written: {', '.join(absent)} could not be read (see above), or --limit "
            "leaves its guest out; backup_parts names the parts to take"
        )
    if store is not None and "secrets" in parts and (dump := store.dump()) is not None:
        collected_parts.append(backup.Part("secrets", "control machine", "phoenix", dump))
    new_backup = backup.make(site, collected_parts, created=datetime.now(UTC), revision=revision)
    path = backup.save(new_backup, directory, cipher, lambda saved: backup.check(saved, site))
    sizes = ", ".join(
        f"{part.name} {(part.size + 1023) >> 10} KiB" for part in new_backup.manifest.parts
    )
    log_lines(
        [
            f"backup written and verified: {path}",
            f"holds {sizes}; encrypted for {cipher.description}, without which nobody can open it",
        ]
    )
