"""The outcomes of a host's checks of its own connections."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import NamedTuple

from pyinfra.api import StringCommand
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

from facts.certificates import ServedState, parse_served
from facts.command import script
from facts.host_fact import HostFact, marked, unexpected
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
    "~"; with less than the second, a fault. `out`: a host of the site is known not to answer, so
    that what waits in vain is asked for once. Raises FactProcessError when the host prints anything
    but one line per check, in order.
    """

    @override
    def command(
        self, checks: Sequence[str], room: tuple[int, int] = (15, 5), *, out: bool = False
    ) -> StringCommand:
        return _command(checks, room, " out" * out)

    @override
    def parse(self, lines: list[str]) -> list[str]:
        return _faults(lines)


class Answers(NamedTuple):
    """The fault of each check, and what was served to those that verify, by their number."""

    faults: list[str]
    sessions: dict[int, ServedState]


class ChecksWithSessions(HostFact[Answers]):
    """`Checks`, and what each `tls_verifies` of them was served: nobody asks for it a second time.

    Of a session that cannot be read the `error` says why.
    """

    @override
    def command(
        self, checks: Sequence[str], room: tuple[int, int] = (15, 5), *, out: bool = False
    ) -> StringCommand:
        return _command(checks, room, " sessions" + " out" * out)

    @override
    def parse(self, lines: list[str]) -> Answers:
        starts = [n for n, line in enumerate(lines) if line.startswith("session ")]
        sessions = {}
        for start, end in pairwise([*starts, len(lines)]):
            sessions[_number(lines[start])] = _session(lines[start + 1 : end])
        return Answers(_faults(lines[: starts[0]] if starts else lines), sessions)


def _command(checks: Sequence[str], room: tuple[int, int], words: str) -> StringCommand:
    return marked(script(_script(), f"{room[0]} {room[1]}{words}", *checks), seconds=300)


def _faults(lines: Sequence[str]) -> list[str]:
    faults = []
    for expected, line in enumerate(lines):
        number, tab, fault = line.partition("\t")
        if number != str(expected) or not tab:
            raise unexpected(line)
        faults.append(fault)
    return faults


def _number(line: str) -> int:
    number = line.removeprefix("session ")
    if not number.isdecimal():
        raise unexpected(line)
    return int(number)


def _session(report: Sequence[str]) -> ServedState:
    try:
        return parse_served(report)
    except FactProcessError as error:
        return ServedState((), None, "", "", str(error))
