"""What a host's own resolver says about a name."""

from __future__ import annotations

from dataclasses import dataclass

from pyinfra.api import StringCommand
from typing_extensions import override

from facts.command import script
from facts.host_fact import HostFact, marked, unexpected
from phoenix.shell import Script

_SCRIPT = Script(
    "resolver",
    """sed -n 's/^[[:space:]]*nameserver[[:space:]]*/server /p' /etc/resolv.conf
dig +time=2 +tries=2 +short "$1" A 2>&1 | sed 's/^/answer /'
:""",
)


@dataclass(frozen=True)
class Resolved:
    """`servers` as /etc/resolv.conf names them; `answers`: what dig(1) says, a line each."""

    servers: tuple[str, ...]
    answers: tuple[str, ...]


class OwnResolver(HostFact[Resolved]):
    """The answer about a name's IPv4 address, by the name servers of /etc/resolv.conf."""

    @override
    def command(self, known: str) -> StringCommand:
        return marked(script(_SCRIPT, known))

    @override
    def parse(self, lines: list[str]) -> Resolved:
        """The servers and their answer.

        Raises:
            FactProcessError: the host prints something else.
        """
        values: dict[str, list[str]] = {"server": [], "answer": []}
        for line in lines:
            kind, _, words = line.partition(" ")
            if kind not in values:
                raise unexpected(line)
            values[kind].append(words.strip())
        return Resolved(tuple(values["server"]), tuple(values["answer"]))
