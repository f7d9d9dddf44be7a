"""What stands on a host in the places that Phoenix takes."""

from __future__ import annotations

from collections.abc import Iterable

from pyinfra.api import StringCommand
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

from facts.command import script
from facts.host_fact import HostFact, marked
from phoenix.components.config_tree.tree import BASE
from phoenix.components.taking_over.existing_services import (
    ExistingServiceError,
    ExistingServices,
    parse,
)
from phoenix.files import text
from phoenix.shell import Script

_ASK = Script("zone-answer", 'dig +time=2 +tries=1 +short "@$2" "$1" A 2>/dev/null | tail -n 1; :')


class ExistingServicesFact(HostFact[ExistingServices]):
    """Existing services of a host, on the ports and in the places that Phoenix needs.

    Args:
        places: as `Place.word` writes them. A place whose configuration tree is on the host is
            Phoenix's own, and is left out.
    """

    @override
    def command(self, places: Iterable[str]) -> StringCommand:
        program = Script("existing-services", text("components/taking_over/find_existing.sh"))
        return marked(script(program, BASE, *places))

    @override
    def parse(self, lines: list[str]) -> ExistingServices:
        try:
            return parse(lines)
        except ExistingServiceError as error:
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
