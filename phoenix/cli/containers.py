"""Where a command runs that an operator names a stack or a service for: in which container."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from phoenix.cli.targets import host_of
from phoenix.compose import document
from phoenix.derived.find import Kind, Stack, choose
from phoenix.site import suggestions
from phoenix.site.findings import NameLookupError
from phoenix.site.model import Deployment, Service, Site

_STACK = "stack:"


@dataclass(frozen=True)
class Place:
    """A host by its name, and where the command is meant for a container of it, which one."""

    host: str
    project: str = ""
    service: str = ""

    def words(self, command: Sequence[str], *, terminal: bool) -> list[str]:
        """The command as the host is given it."""
        if not self.service:
            return list(command)
        command_line = [
            "docker",
            "compose",
            "-p",
            self.project,
            "exec",
            *([] if terminal else ["-T"]),
        ]
        return [*command_line, self.service, *command]


def split(name: str) -> tuple[str, str]:
    """A name, and the service of its compose file that follows, as in `stack:NAME/SERVICE`."""
    if not name.strip().lower().startswith(_STACK):
        return name, ""
    stack, _, service = name.partition("/")
    return stack, service.strip()


def place_of_command(name: str, site: Site) -> Place:
    """Where a command for `name` runs.

    In a container for a stack (`stack:NAME/SERVICE`; of one service its name is enough) and for a
    service that a stack declares; else on the one host that the name stands for.

    Raises:
        NameLookupError: there is none, or there are several; says how to name one.
    """
    stack_name, service = split(name)
    host = host_of(stack_name, site)
    of: tuple[Kind, ...] = ("guest", "service", "component", "stack")
    match choose(site, stack_name, first=("guest",), of=of):
        case Stack(deployed=((_, stack), *_)):
            return Place(host, stack.project, compose_service(stack, service))
        case Service(deployment=Deployment() as stack) as routed:
            return Place(host, stack.project, routed.compose_service)
    return Place(host)


def check_service(name: str, service: str, site: Site) -> None:
    """Whether every deployment of a stack has a service of its compose file; empty: no question.

    Raises:
        NameLookupError: it has none of that name.
    """
    stack = choose(site, name, first=(), of=("stack",)) if service else None
    for _, deployed in stack.deployed if isinstance(stack, Stack) else ():
        compose_service(deployed, service)


def compose_service(stack: Deployment, name: str) -> str:
    """The service of a stack's compose file that is meant.

    Raises:
        NameLookupError: the stack has no such one, or several where none is named.
    """
    have = list(document.read(stack.compose_file.read_text(encoding="utf-8"))["services"])
    if name in have or (not name and len(have) == 1):
        return name or have[0]
    if not name:
        ways = " or ".join(
            f"{_STACK}{stack.name}/{container_service}" for container_service in have
        )
        raise NameLookupError(f"{stack.name} has {len(have)} services: write {ways}")
    raise NameLookupError(
        f"no service of {stack.name} is called {name!r}. {suggestions.hint_for(name, have)}"
    )
