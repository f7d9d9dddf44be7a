"""The processor and the distribution of a host, and which host of the site it says that it is."""

from __future__ import annotations

from dataclasses import dataclass

from pyinfra.api import StringCommand
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

from facts.command import script
from facts.host_fact import HostFact, marked
from phoenix.shell import Script
from phoenix.site.identity import FILE

_SCRIPT = Script(
    "system",
    """uname -m; cat /etc/os-release
[ -f "$1" ] || exit 0
printf '\\nphoenix-host\\t%s\\n' "$(head -c 1000 "$1" | tr -d '\\000\\r' | head -n 1)\"
""",
)
_HOST = "phoenix-host\t"


@dataclass(frozen=True)
class Machine:
    """`processor` as `uname -m` says it; `release`: the variables of /etc/os-release.

    `host`: which host it remembers to be, as `phoenix.site.identity` has it; empty for none.
    """

    processor: str
    release: dict[str, str]
    host: str = ""


class System(HostFact[Machine]):
    """Processor and distribution."""

    @override
    def command(self) -> StringCommand:
        return marked(script(_SCRIPT, FILE))

    @override
    def parse(self, lines: list[str]) -> Machine:
        """The machine from the output.

        Raises:
            FactProcessError: the first line is no processor's name.
        """
        if not lines or not lines[0].replace("_", "").isalnum():
            raise FactProcessError(f"uname -m gave no processor: {lines[:1]!r}")
        known = [line.removeprefix(_HOST) for line in lines if line.startswith(_HOST)]
        release = [line for line in lines[1:] if "=" in line and not line.startswith(_HOST)]
        pairs = [line.partition("=") for line in release]
        return Machine(
            lines[0],
            {key: text.strip("\"'") for key, _, text in pairs},
            known[0] if known else "",
        )
