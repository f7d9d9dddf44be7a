"""What the site remembers of its secrets: the hypervisor's file, in which no value is."""

from __future__ import annotations

from pyinfra.api import StringCommand
from typing_extensions import override

from facts.command import script
from facts.host_fact import HostFact, marked
from phoenix.secrets.record import FILE, READ


class SecretRecord(HostFact[str]):
    """The text of the record; empty where there is none yet."""

    @override
    def command(self) -> StringCommand:
        return marked(script(READ, FILE))

    @override
    def parse(self, lines: list[str]) -> str:
        return "\n".join(lines)
