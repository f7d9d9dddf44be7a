"""The data at the places that a backup is restored to, and their identity."""

from __future__ import annotations

from pyinfra.api import StringCommand
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

from facts.command import script
from facts.host_fact import MAX_SECONDS, HostFact, marked
from phoenix.backup.archive import BackupError
from phoenix.backup.contents import IDENTITY_FILES, PORTAINER_KEY
from phoenix.backup.restoring import PresentData, parse_present_data
from phoenix.components.step_ca.authority import DIRECTORY
from phoenix.shell import Script

_CA = Script(
    "ca-here",
    f"""cd "$1" 2>/dev/null || exit 0
echo there
[ -z "$(ls -A db 2>/dev/null)" ] || {{
 i=$(sha256sum {" ".join(IDENTITY_FILES)} 2>/dev/null | sha256sum); echo "identity ${{i%% *}}"; }}
[ ! -s restored ] || echo "restored $(cat restored)"
:""",
)

_PORTAINER = Script(
    "portainer-here",
    f"""d=$(docker volume inspect -f '{{{{.Mountpoint}}}}' "$1" 2>/dev/null) || exit 0
[ -n "$(ls -A "$d" 2>/dev/null)" ] || exit 0
echo there; cd "$d"
[ ! -s {PORTAINER_KEY} ] || {{ i=$(sha256sum <{PORTAINER_KEY}); echo "identity ${{i%% *}}"; }}
[ ! -s .phoenix-restored ] || echo "restored $(cat .phoenix-restored)"
:""",
)


class _PresentDataFact(HostFact[PresentData]):
    @override
    def parse(self, lines: list[str]) -> PresentData:
        try:
            return parse_present_data(lines)
        except BackupError as error:
            raise FactProcessError(str(error)) from error


class CaData(_PresentDataFact):
    """Whether the CA's directory is there, which CA it is, and which backup it came from.

    Its identity is that of `phoenix.backup.contents.ca_identity`, given only beside a database.
    """

    @override
    def command(self, directory: str = DIRECTORY) -> StringCommand:
        return marked(script(_CA, directory), seconds=MAX_SECONDS)


class PortainerData(_PresentDataFact):
    """Whether the Docker volume holds data, of which server, and which backup they came from."""

    @override
    def command(self, volume: str) -> StringCommand:
        return marked(script(_PORTAINER, volume), seconds=MAX_SECONDS)
