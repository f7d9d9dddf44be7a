"""What stands on a host in the places that Phoenix takes."""

from __future__ import annotations

from collections.abc import Iterable

from pyinfra.api import StringCommand
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

from facts.command import script
from facts.host_fact import HostFact, marked
from phoenix.components.config_tree.tree import BASE
from phoenix.components.taking_over.residents import ResidentError, Residents, parse
from phoenix.files import text
from phoenix.shell import Script

_ASK = Script("zone-answer", 'dig +time=2 +tries=1 +short "@$2" "$1" A 2>/dev/null | tail -n 1; :')


class Standing(HostFact[Residents]):
    """Who listens on the ports that Phoenix needs here, and containers in its containers' places.

    Args:
        places: as `residents.word` writes them. One whose configuration tree is on the host already
            is Phoenix's own, and is not looked at.
    """

    @override
    def command(self, places: Iterable[str]) -> StringCommand:
        program = Script("residents", text("components/taking_over/look.sh"))
        return marked(script(program, BASE, *places))

    @override
    def parse(self, lines: list[str]) -> Residents:
        try:
            return parse(lines)
        except ResidentError as error:
            raise FactProcessError(str(error)) from error


class ZoneAnswer(HostFact[str]):
    """The address that a name server answers for a name; empty where it has none, or is silent.

    Args:
        record: the name that is asked for.
        server: the address of the name server.
    """

    @override
    def command(self, record: str, server: str) -> StringCommand:
        return marked(script(_ASK, record, server))

    @override
    def parse(self, lines: list[str]) -> str:
        """Its last line: a name that leads to another one is told before its address."""
        return lines[-1].strip() if lines else ""
