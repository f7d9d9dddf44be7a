"""The processor and the distribution of a host."""

from __future__ import annotations

from dataclasses import dataclass

from pyinfra.api import StringCommand
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

from facts.command import script
from facts.host_fact import HostFact, marked
from phoenix.shell import Script

_SCRIPT = Script("system", "uname -m; cat /etc/os-release")


@dataclass(frozen=True)
class Machine:
    """`processor` as `uname -m` says it; `release`: the variables of /etc/os-release."""

    processor: str
    release: dict[str, str]


class System(HostFact[Machine]):
    """Processor and distribution."""

    @override
    def command(self) -> StringCommand:
        return marked(script(_SCRIPT))

    @override
    def parse(self, lines: list[str]) -> Machine:
        """The machine from the output.

        Raises:
            FactProcessError: the first line is no processor's name.
        """
        if not lines or not lines[0].replace("_", "").isalnum():
            raise FactProcessError(f"uname -m gave no processor: {lines[:1]!r}")
        pairs = [line.partition("=") for line in lines[1:] if "=" in line]
        return Machine(lines[0], {key: text.strip("\"'") for key, _, text in pairs})
