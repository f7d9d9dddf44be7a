"""What Docker's networks and volumes on a host are called."""

from __future__ import annotations

from pyinfra.api import StringCommand
from typing_extensions import override

from facts.command import script
from facts.host_fact import HostFact, marked, unexpected
from phoenix.shell import Script

_SCRIPT = Script(
    "docker-names",
    """command -v docker >/dev/null 2>&1 && timeout 20 docker info >/dev/null 2>&1 || exit 0
echo docker
timeout 20 docker network ls --format 'network {{.Name}}' &&
 timeout 20 docker volume ls --format 'volume {{.Name}}'""",
)

Names = tuple[tuple[str, str], ...]
"""Pairs of `network` or `volume`, and a name."""


class DockerNames(HostFact[Names | None]):
    """Every network and volume of a host's Docker by its name; None where no Docker answers."""

    @override
    def command(self) -> StringCommand:
        return marked(script(_SCRIPT))

    @override
    def parse(self, lines: list[str]) -> Names | None:
        names = [line for line in lines if line]
        if not names:
            return None
        pairs = [line.partition(" ") for line in names[1:]]
        if names[0] != "docker" or any(kind not in ("network", "volume") for kind, _, _ in pairs):
            raise unexpected(names[0])
        return tuple((kind, name) for kind, _, name in pairs)
