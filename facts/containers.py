"""Containers of compose projects, as Docker lists them."""

from __future__ import annotations

from dataclasses import dataclass

from pyinfra.api import StringCommand
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

from facts.command import script
from facts.host_fact import HostFact, marked
from phoenix.shell import Script

_PROJECT = "com.docker.compose.project"
_FORMAT = f'{{{{.Label "{_PROJECT}"}}}}\t{{{{.Names}}}}\t{{{{.State}}}}\t{{{{.Status}}}}'

_SCRIPT = Script(
    "containers", 'docker ps --all --filter "label=$1" --format "$2" 2>/dev/null || true'
)


@dataclass(frozen=True)
class Container:
    """One container, running or not. `state` is Docker's (`running`, `exited`, ...)."""

    project: str
    name: str
    state: str
    healthy: bool
    """It runs, and no health check says that it is not healthy yet or any more."""


class ComposeContainers(HostFact[list[Container]]):
    """Every container that belongs to a compose project; empty where Docker does not answer."""

    @override
    def command(self) -> StringCommand:
        return marked(script(_SCRIPT, _PROJECT, _FORMAT))

    @override
    def parse(self, lines: list[str]) -> list[Container]:
        containers = []
        for line in lines:
            parts = line.split("\t")
            if len(parts) != 4:
                raise FactProcessError(f"unexpected answer of docker ps: {line!r}")
            project, name, state, status = parts
            starting = "(unhealthy)" in status or "(health: starting)" in status
            containers.append(Container(project, name, state, state == "running" and not starting))
        return containers
