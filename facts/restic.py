"""A host's backups: the snapshots in its repository, and what its timers have noted."""

from __future__ import annotations

import base64
import binascii

from pyinfra.api import StringCommand
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

from facts.command import script
from facts.host_fact import MAX_SECONDS, HostFact, marked
from phoenix.backup.snapshots import HostBackups, parse
from phoenix.components.restic.files import ESCROW, ESCROW_FILE, PROGRAM
from phoenix.shell import Script

_SCRIPT = Script(
    "backups",
    '[ -x "$1" ] || { echo "no backups are deployed here: phoenix sync restic"; exit 1; }; '
    'said=$("$1" list 2>&1) || { printf "%s\\n" "$said" | tr -s "\\n" " "; exit 1; }; '
    'printf "%s\\n" "$said" | grep -v "^ *$" | tail -n 1; "$1" state',
)
_EXPORT = Script(
    "backup-export",
    'exec 3>&1; said=$("$1" export "$2" "$3" 2>&1 >&3 3>&-) || '
    '{ printf "%s\\n" "$said" | tr -s "\\n" " "; exit 1; }',
)
_ESCROW = Script("escrow-mark", '[ ! -s "$1/$2" ] || cat "$1/mark" 2>/dev/null || :')
_SECONDS = 600
"""A target may be slow, and restic tries again by itself."""


class Backups(HostFact[HostBackups]):
    """What is in the host's repository, and what its timers have noted."""

    @override
    def command(self) -> StringCommand:
        return marked(script(_SCRIPT, PROGRAM), seconds=_SECONDS)

    @override
    def parse(self, lines: list[str]) -> HostBackups:
        """Snapshots and notes.

        Raises:
            FactProcessError: restic tells something else.
        """
        try:
            return parse(lines)
        except (ValueError, KeyError, TypeError) as error:
            raise FactProcessError(f"phoenix-backup tells no list of snapshots: {error}") from error


class ExportedPart(HostFact[bytes]):
    """A part's data of one snapshot, as tar.gz, compared with the snapshot's own lists."""

    @override
    def command(self, part: str, snapshot: str) -> StringCommand:
        return marked(script(_EXPORT, PROGRAM, part, snapshot), seconds=MAX_SECONDS)

    @override
    def parse(self, lines: list[str]) -> bytes:
        """The data.

        Raises:
            FactProcessError: they arrived damaged.
        """
        try:
            return base64.b64decode("".join(lines), validate=True)
        except binascii.Error:
            raise FactProcessError("the snapshot's data arrived damaged: run again") from None


class EscrowMark(HostFact[str]):
    """The mark of the encrypted secrets on the host; empty where there are none."""

    @override
    def command(self) -> StringCommand:
        return marked(script(_ESCROW, ESCROW, ESCROW_FILE))

    @override
    def parse(self, lines: list[str]) -> str:
        """The mark."""
        return "".join(lines).strip()
