"""The outcomes of a host's checks of its own connections."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from pyinfra.api import StringCommand
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

from facts.command import script
from facts.host_fact import HostFact, marked
from phoenix.components.step_ca.authority import DATABASE
from phoenix.files import text
from phoenix.shell import Script


@cache
def _script() -> Script:
    return Script("checks", text(DATABASE, "health/checks.sh"))


class Checks(HostFact[list[str]]):
    """The fault of each check, empty where there is none; one round trip for all `checks`.

    A check is the name of a function of `checks.sh` and its arguments, separated by tabs. With less
    than the first of `room`, in percent, of a file system free comes a warning, which begins with
    "~"; with less than the second, a fault. Raises FactProcessError when the host prints anything
    but one line per check, in order.
    """

    @override
    def command(self, checks: Sequence[str], room: tuple[int, int] = (15, 5)) -> StringCommand:
        return marked(script(_script(), f"{room[0]} {room[1]}", *checks), seconds=300)

    @override
    def parse(self, lines: list[str]) -> list[str]:
        faults = []
        for expected, line in enumerate(lines):
            number, tab, fault = line.partition("\t")
            if number != str(expected) or not tab:
                raise FactProcessError(f"unexpected line from the host: {line!r}")
            faults.append(fault)
        return faults
