"""Stacks on a Docker host without Portainer: deployed over SSH by the host's own compose."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from pydantic import SecretStr
from pyinfra import inventory
from pyinfra.api import FunctionCommand
from pyinfra.api.exceptions import ConnectError, OperationError
from pyinfra.api.host import Host

from facts.command import script
from facts.host_fact import FactError, answers, marked
from operations import stacks
from operations.host_state import run
from operations.operation import operation
from phoenix import portainer_api as api
from phoenix.compose_host.client import HOST, Answer, Ask, ComposeHost
from phoenix.shell import Script


@dataclass(frozen=True)
class HostStacks:
    """The stacks of one Docker host, by its name in the inventory."""

    host: str

    def __str__(self) -> str:
        """The place for a person."""
        return self.host

    @contextmanager
    def opened(self) -> Iterator[tuple[ComposeHost, int]]:
        """The host's stacks.

        Raises:
            OperationError: the host does not answer, or its Docker does not.
        """
        try:
            yield ComposeHost(self.host, ask_through(inventory.get_host(self.host))), HOST
        except (api.PortainerError, ConnectError) as error:
            raise OperationError(str(error)) from None


@operation()
def stack(
    project: str,
    on: str,
    *,
    content: str = "",
    env: Mapping[str, str | SecretStr] | None = None,
    present: bool = True,
    seconds: float = 300.0,
) -> Generator[FunctionCommand, None, None]:
    """Makes sure one stack is as given on a host without Portainer.

    As `operations.portainer.stack`, with the same plan, wait for health and way back.

    Args:
        project: the stack's name.
        on: the host's name in the inventory.
        content: the compose file.
        env: variables for its interpolation; the values of those given as SecretStr are never
            shown.
        present: False removes the stack, volumes kept.
        seconds: the deadline for its containers' health.
    """
    yield from stacks.converged(
        project, HostStacks(on), content=content, env=env, present=present, seconds=seconds
    )


def ask_through(carrier: Host) -> Ask:
    """Runs scripts on an inventory host by pyinfra's SSH; nothing of them is ever printed."""

    def ask(text: Script, *words: str, stdin: str = "") -> Answer:
        line = marked(script(text, *words), reads_input=True)
        try:
            output = run(carrier, line, stdin, is_secret=True)
            answer = next(answers(output.stdout_lines, 1))
        except FactError as error:
            raise api.UnreachableError(f"{carrier.name}: {error}") from None
        if answer.status is None:
            raise api.UnreachableError(f"{carrier.name}: the answer ends in the middle")
        return Answer(int(answer.status), "\n".join(answer.lines), output.stderr)

    return ask
