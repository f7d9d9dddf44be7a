"""Stacks on a Docker host without Portainer: deployed over SSH by the host's own compose."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from pydantic import SecretStr
from pyinfra import host, inventory
from pyinfra.api import FunctionCommand, StringCommand
from pyinfra.api.exceptions import ConnectError, OperationError
from pyinfra.api.host import Host
from typing_extensions import override

from facts.command import command, script
from facts.host_fact import FactError, HostFact, answers, marked
from operations import stacks
from operations.explain import log_reasons
from operations.host_state import question, read, run
from operations.operation import operation
from phoenix import portainer_api as api
from phoenix.compose.project_folders import HOST_PROJECTS
from phoenix.compose_host.client import HOST, Answer, Ask, ComposeHost
from phoenix.shell import Script
from phoenix.site.names import normalise_name

_FOLDERS = Script("stack-folders", 'ls -1 "$1" 2>/dev/null || true')


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

    def seen(self) -> AbstractContextManager[tuple[ComposeHost, int]]:
        """As `opened`: the stacks of a host share nothing.

        Raises:
            OperationError: as for `opened`.
        """
        return self.opened()


@operation()
def stack(
    project: str,
    on: str,
    *,
    content: str = "",
    env: Mapping[str, str | SecretStr] | None = None,
    present: bool = True,
    seconds: float = 300.0,
    hidden: Collection[SecretStr] = (),
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
        hidden: further values that are never shown, as former ones of a variable.
    """
    yield from stacks.converged(
        project,
        HostStacks(on),
        content=content,
        env=env,
        present=present,
        seconds=seconds,
        hidden=hidden,
    )


class StackFolders(HostFact[list[str]]):
    """The stacks that this host's own compose has a directory of, deployed or tried."""

    @override
    def command(self) -> StringCommand:
        return marked(script(_FOLDERS, HOST_PROJECTS))

    @override
    def parse(self, lines: list[str]) -> list[str]:
        return lines


@operation(reads=lambda **_: [question(StackFolders)])
def handed_over(project: str) -> Generator[StringCommand, None, None]:
    """Remove the files of a stack that the host's own compose deployed, and Portainer deploys now.

    Its containers go on: Portainer has taken them over.

    Args:
        project: the stack's name.
    """
    name = normalise_name(project)
    if name not in read(question(StackFolders)):
        host.noop(f"the host's own compose has no files of {project}")
        return
    log_reasons(f"{project} is Portainer's now: the files of the host's own compose go")
    yield command("rm", "-rf", "--", f"{HOST_PROJECTS}{name}")


def ask_through(carrier: Host) -> Ask:
    """Runs scripts on an inventory host by pyinfra's SSH; nothing of them is ever printed."""

    def ask(text: Script, *arguments: str, stdin: str = "") -> Answer:
        line = marked(script(text, *arguments), reads_input=True)
        try:
            output = run(carrier, line, stdin, is_secret=True)
            answer = next(answers(output.stdout_lines, 1))
        except FactError as error:
            raise api.UnreachableError(f"{carrier.name}: {error}") from None
        if answer.status is None:
            raise api.UnreachableError(f"{carrier.name}: the answer ends in the middle")
        return Answer(int(answer.status), "\n".join(answer.lines), output.stderr)

    return ask
