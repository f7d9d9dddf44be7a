"""Containers of compose projects, as Docker lists them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pyinfra.api import FactBase, QuoteString, StringCommand
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

_PROJECT = "com.docker.compose.project"
_FORMAT = f'{{{{.Label "{_PROJECT}"}}}}\t{{{{.Names}}}}\t{{{{.State}}}}\t{{{{.Status}}}}'


@dataclass(frozen=True)
class Container:
    """One container, running or not. `state` is Docker's (`running`, `exited`, ...)."""

    project: str
    name: str
    state: str
    healthy: bool
    """It runs, and no health check says that it is not healthy yet or any more."""


class ComposeContainers(FactBase[list[Container]]):
    """Every container that belongs to a compose project; empty where Docker does not answer."""

    @staticmethod
    @override
    def default() -> list[Container]:
        return []

    @override
    def requires_command(self) -> str:
        return "docker"

    @override
    def command(self) -> StringCommand:
        return StringCommand(
            *("docker", "ps", "--all", "--filter", f"label={_PROJECT}"),
            *("--format", QuoteString(_FORMAT), "2>/dev/null", "||", "true"),
        )

    @override
    def process(self, output: Iterable[str]) -> list[Container]:
        found = []
        for line in output:
            parts = line.split("\t")
            if len(parts) != 4:
                raise FactProcessError(f"unexpected answer of docker ps: {line!r}")
            project, name, state, status = parts
            starting = "(unhealthy)" in status or "(health: starting)" in status
            found.append(Container(project, name, state, state == "running" and not starting))
        return found
