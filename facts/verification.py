"""What a host finds when it checks the connections that it makes."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from functools import cache

from pyinfra.api import FactBase, StringCommand
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

from phoenix.files import text


@cache
def _script() -> str:
    return text("health/probe.sh")


class Checks(FactBase[list[str]]):
    """The fault of each check, empty where there is none; one round trip for all `checks`.

    A check is the name of a function of `probe.sh` and its arguments, separated by tabs. Raises
    FactProcessError when the host prints anything but one line per check, in order.
    """

    @staticmethod
    @override
    def default() -> list[str]:
        return []

    @override
    def command(self, checks: Sequence[str]) -> StringCommand:
        self._count = len(checks)
        return StringCommand(
            "sh", "-c", shlex.quote(_script()), "probe", *(shlex.quote(check) for check in checks)
        )

    @override
    def process(self, output: Iterable[str]) -> list[str]:
        faults = []
        for expected, line in enumerate(output):
            number, tab, fault = line.partition("\t")
            if number != str(expected) or not tab:
                raise FactProcessError(f"unexpected line from the host: {line!r}")
            faults.append(fault)
        return faults
