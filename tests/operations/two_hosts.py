"""Two hosts that answer each question with its own word, and runs of pyinfra on them."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from pyinfra.api import Config, Inventory, State, StringCommand
from pyinfra.api.connect import connect_all
from pyinfra.api.operation import add_op
from pyinfra.api.operations import run_ops
from pyinfra.api.state import StateStage
from pyinfra.connectors.fake import FakeConnector
from pyinfra.connectors.util import CommandOutput, OutputLine
from pyinfra.context import ctx_state

from facts.command import command
from facts.host_fact import BEGIN, END, HostFact, marked
from operations.failure import local_command
from operations.host_state import Question, question, read
from operations.operation import operation

HOSTS = ("left", "right")


def words_of(program: str) -> list[str]:
    """The words that a program asks for, in order (`Word`)."""
    return [part.split("; }")[0] for part in program.split("{ timeout -k 5 90 echo ")[1:]]


class Word(HostFact[str]):
    def command(self, word: str) -> StringCommand:
        return marked(command("echo", word))

    def parse(self, lines: list[str]) -> str:
        return lines[0]


class Site:
    """Two hosts; `told` is what each one answers, by word; `sent` what it was sent."""

    def __init__(self) -> None:
        self.sent: dict[str, list[list[str]]] = {name: [] for name in HOSTS}
        self.changed: dict[str, list[str]] = {name: [] for name in HOSTS}
        self.told: dict[str, dict[str, str]] = {name: {} for name in HOSTS}
        self.noise: dict[str, str] = {}
        self.read: dict[str, list[str]] = {name: [] for name in HOSTS}

    def answer(self, host: str, program: str) -> list[str]:
        words = words_of(program)
        if not words:
            self.changed[host].append(program)
            return []
        self.sent[host].append(words)
        lines = [self.noise[host]] if host in self.noise else []
        for word in words:
            lines += [BEGIN, self.told[host].get(word, word), "", f"{END} 0"]
        return lines


@contextmanager
def state_of(site: Site, stage: StateStage = StateStage.Execute) -> Iterator[State]:
    class Connector(FakeConnector):
        def run_shell_command(self, command: Any, *_: Any, **arguments: Any) -> Any:
            raw = command if isinstance(command, str) else command.get_raw_value()
            lines = site.answer(self.host.name, str(arguments.get("_stdin") or raw))
            return True, CommandOutput([OutputLine("stdout", line) for line in lines])

    with patch("pyinfra.api.inventory.get_execution_connectors", lambda: {"ssh": Connector}):
        data = {"fake_delay": 0, "fake_delay_jitter": 0}
        state = State(Inventory((list(HOSTS), data)), Config())
        with ctx_state.use(state):
            state.set_stage(StateStage.Connect)
            connect_all(state)
            # As the command line does with -y: operations are not looked at before they run.
            state.set_stage(stage)
            with patch.object(state, "should_check_for_changes", lambda: False):
                yield state


def reading(site: Site, word: str, change: str = "", *, work: bool = False) -> Any:
    """An operation that reads `word`, and changes its host where `change` is one."""
    desired: Question[str] = question(Word, word=word)

    @operation(reads=lambda: [desired])
    def read_word() -> Generator[Any, None, None]:
        from pyinfra import host

        site.read[host.name].append(read(desired))
        if change == host.name:
            yield local_command(lambda: None) if work else command("change", word)

    return read_word


def run(site: Site, *operations: Any) -> set[str]:
    """The hosts that failed."""
    with state_of(site) as state:
        for step in operations:
            add_op(state, step)
        run_ops(state)
        return {host.name for host in state.failed_hosts}
