"""What a stack takes from its host's Docker and does not make: external networks and volumes.

Thin over `phoenix.components.stack.Names`. Give operations a ``name=``.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping

from pyinfra import host
from pyinfra.api import FunctionCommand

from facts.docker_names import DockerNames
from operations import run_refused
from operations.explain import fail_in_turn, unknown_before_run
from operations.host_state import question, read, read_or
from operations.operation import operation

Needed = Collection[tuple[str, str]]
"""Pairs of `network` or `volume`, and the name in Docker."""

Makers = Mapping[tuple[str, str], str]
"""The stack that makes such a thing."""


def refuse_missing(project: str, needed: Needed, makers: Makers) -> None:
    """Refuse the run before its first step if this host's Docker lacks what a stack uses.

    Before Docker is installed this cannot be known: `needed_exists` looks again then.

    Args:
        project: the stack's name.
        needed: what it takes and no stack of this run makes.
        makers: stacks of this host that are not in this run, by what they make.
    """
    present = read_or(question(DockerNames), None)
    if present is not None and (lacking := sorted({*needed}.difference(present))):
        run_refused.refuse_run(_words(project, lacking, makers))


@operation(reads=lambda *_, **__: [question(DockerNames)])
def needed_exists(
    project: str, needed: Needed, makers: Makers
) -> Generator[FunctionCommand, None, None]:
    """What a stack takes from its host's Docker is there; else the stack is not deployed.

    Args:
        project: the stack's name.
        needed: what it takes and no stack of this run makes.
        makers: stacks of this host that are not in this run, by what they make.
    """
    present = read(question(DockerNames))
    if present is None:
        names = ", ".join(f"{kind} {name}" for kind, name in sorted(needed))
        unknown_before_run(f"whether there is {names}, which stack {project} does not make")
        host.noop("no Docker answers here yet")
        return
    lacking = sorted({*needed}.difference(present))
    if not lacking:
        host.noop("they are there")
        return
    yield from fail_in_turn(_words(project, lacking, makers))


def _words(project: str, lacking: Collection[tuple[str, str]], makers: Makers) -> str:
    names = " and ".join(f"no {kind} {name}" for kind, name in lacking)
    makes = "; ".join(
        f"phoenix sync stack:{makers[kind, name]}, which makes it"
        if (kind, name) in makers
        else f"phoenix exec {host.name} -- docker {kind} create {name}"
        for kind, name in lacking
    )
    return (
        f"{host.name} has {names}, which the compose file of stack {project} calls external: so "
        f"this stack makes none. fix: {makes}; or remove `external`, and it makes its own"
    )
