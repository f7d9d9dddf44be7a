"""A run asks each host once, and again after a change; a bad answer fails its host alone."""

from __future__ import annotations

import subprocess
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest
from pyinfra.api import Config, Inventory, State, StringCommand
from pyinfra.api.connect import connect_all
from pyinfra.api.exceptions import FactProcessError
from pyinfra.api.operation import add_op
from pyinfra.api.operations import run_ops
from pyinfra.api.state import StateStage
from pyinfra.connectors.fake import FakeConnector
from pyinfra.connectors.util import CommandOutput, OutputLine
from pyinfra.context import ctx_host, ctx_state

from facts.command import command, script
from facts.host_fact import BEGIN, END, HostFact, JoinedFact, answers, marked
from operations import host_state
from operations.failure import locally
from operations.host_state import Question, _program, question, read
from operations.operation import operation
from phoenix.shell import Script

HOSTS = ("left", "right")


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
        words = [part.split("; }")[0] for part in program.split("{ timeout -k 5 90 echo ")[1:]]
        if not words:
            self.changed[host].append(program)
            return []
        self.sent[host].append(words)
        lines = [self.noise[host]] if host in self.noise else []
        for word in words:
            lines += [BEGIN, self.told[host].get(word, word), "", f"{END} 0"]
        return lines


@pytest.fixture
def site() -> Site:
    return Site()


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
            yield locally(lambda: None) if work else command("change", word)

    return read_word


def run(site: Site, *operations: Any) -> set[str]:
    """The hosts that failed."""
    with state_of(site) as state:
        for step in operations:
            add_op(state, step)
        run_ops(state)
        return {host.name for host in state.failed_hosts}


def test_each_host_is_asked_once_for_all_its_operations(site: Site) -> None:
    assert run(site, *(reading(site, word) for word in ("a", "b", "a", "c"))) == set()
    assert site.sent == {name: [["a", "b", "c"]] for name in HOSTS}
    assert site.read == {name: ["a", "b", "a", "c"] for name in HOSTS}


def test_a_script_that_answers_several_questions_is_sent_once() -> None:
    text = "echo \"$1\" 'and' $0  # it's long enough"
    scripts = [Script("many", text), Script("one", f"{text}; :")]
    words = ["a b", "$(c)", "it's"]
    lines = [marked(script(scripts[0], word)).get_raw_value() for word in words]
    lines += [marked(script(scripts[1], "d")).get_raw_value(), *lines[:1]]
    program = _program(lines)
    assert program.count("and") == 2, "each text once"
    said = subprocess.run(["sh"], input=program, capture_output=True, text=True, check=True)
    found = [answer.lines for answer in answers(said.stdout.splitlines(), len(lines))]
    assert found == [[f"{word} and many"] for word in words] + [["d and one"], ["a b and many"]]
    assert _program(lines[:1]) == f"{lines[0]}\n"


def test_a_change_makes_that_hosts_answers_old_and_only_the_rest_is_asked_again(site: Site) -> None:
    operations = [reading(site, "a"), reading(site, "b", "left"), reading(site, "c")]
    assert run(site, *operations, reading(site, "b")) == set()
    assert site.sent == {"left": [["a", "b", "c"], ["c", "b"]], "right": [["a", "b", "c"]]}
    assert site.changed == {"left": ["change b"], "right": []}


def test_what_changed_is_seen_by_the_next_operation(site: Site) -> None:
    def changing(host: str, program: str) -> list[str]:
        lines = Site.answer(site, host, program)
        if program.startswith("change"):
            site.told[host]["b"] = "new"
        return lines

    site.answer = changing  # type: ignore[method-assign]
    run(site, reading(site, "a", "left"), reading(site, "b"))
    assert site.read == {"left": ["a", "new"], "right": ["a", "b"]}


def test_work_on_the_control_machine_may_have_changed_any_host(site: Site) -> None:
    run(site, reading(site, "a"), reading(site, "b", "left", work=True), reading(site, "c"))
    assert site.sent["left"] == [["a", "b", "c"], ["c"]]
    first, *again = site.sent["right"]
    assert first == ["a", "b", "c"]
    assert again, "what it said before the work was taken for granted after it"


def test_old_answers_are_asked_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_state, "MOST_SECONDS", -1.0)
    run(site, reading(site, "a"), reading(site, "b"))
    assert site.sent == {name: [["a", "b"], ["b"]] for name in HOSTS}


def test_a_host_whose_log_in_prints_text_fails_alone_and_nothing_is_done_there(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.noise["left"] = "hello from .bashrc"
    operations = [reading(site, "a", "left"), reading(site, "b", "right")]
    assert run(site, *operations) == {"left"}
    assert site.changed == {"left": [], "right": ["change b"]}
    assert "the log-in prints text" in caplog.text
    assert "hello from .bashrc" in caplog.text


def test_a_bad_answer_fails_the_operation_that_needs_it(site: Site) -> None:
    class Picky(Word):
        def parse(self, lines: list[str]) -> str:
            from pyinfra.api.exceptions import FactProcessError

            raise FactProcessError(f"unexpected {lines[0]}")

    desired: Question[str] = question(Picky, word="odd")

    @operation(reads=lambda: [desired])
    def picky() -> Generator[Any, None, None]:
        read(desired)
        yield command("change", "on a default")

    def ended() -> set[str]:
        with state_of(site) as state:
            add_op(state, reading(site, "a"), host=state.inventory.get_host("right"))
            add_op(state, picky, host=state.inventory.get_host("left"))
            run_ops(state)
            return {host.name for host in state.failed_hosts}

    assert ended() == {"left"}
    assert site.changed == {"left": [], "right": []}


class Many(JoinedFact[str]):
    """A word that does not end well among others where it is `odd`."""

    def command(self, word: str) -> StringCommand:
        return marked(command("echo", word))

    @staticmethod
    def joined(questions: Sequence[Mapping[str, Any]]) -> StringCommand:
        return marked(command("echo", *(question["word"] for question in questions)))

    @staticmethod
    def parted(lines: Sequence[str], count: int) -> list[list[str]]:
        words = lines[0].split()
        if "odd" in words:
            raise FactProcessError("it cannot be read")
        assert len(words) == count
        return [[word] for word in words]

    def parse(self, lines: list[str]) -> str:
        return lines[0]


def joined(site: Site, word: str) -> Any:
    desired: Question[str] = question(Many, word=word)

    @operation(reads=lambda: [desired])
    def read_joined() -> Generator[Any, None, None]:
        from pyinfra import host

        site.read[host.name].append(read(desired))
        yield from ()

    return read_joined


def test_questions_of_one_fact_are_joined_in_one_command_of_it(site: Site) -> None:
    steps = [joined(site, "a"), reading(site, "x"), joined(site, "b"), reading(site, "y")]
    assert run(site, *steps) == set()
    assert site.sent == {name: [["a b", "x", "y"]] for name in HOSTS}
    assert site.read == {name: ["a", "x", "b", "y"] for name in HOSTS}


def test_where_joined_questions_end_badly_each_is_asked_by_itself(site: Site) -> None:
    assert run(site, *(joined(site, word) for word in ("a", "odd", "b"))) == set()
    assert site.sent == {name: [["a odd b"], ["a", "odd", "b"]] for name in HOSTS}
    assert site.read == {name: ["a", "odd", "b"] for name in HOSTS}


def test_what_is_asked_ahead_of_a_preparation_serves_one_reading(site: Site) -> None:
    with state_of(site, StateStage.Prepare) as state:
        host = state.inventory.get_host("left")
        answered: Question[str] = question(Word, word="a")
        with ctx_host.use(host):
            host_state.prepare([answered, question(Word, word="b")])
            assert site.sent["left"] == [["a", "b"]]
            site.told["left"]["a"] = "changed"
            assert read(answered) == "a"
            assert host_state.consult(host, question(Word, word="b")) == "b"
            assert site.sent["left"] == [["a", "b"]], "nothing was asked again"
            assert read(answered) == "changed"


def test_a_host_that_cannot_be_asked_ahead_fails_where_it_is_read(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.noise["left"] = "hello from .bashrc"
    with state_of(site, StateStage.Prepare) as state:
        host = state.inventory.get_host("left")
        with ctx_host.use(host):
            host_state.prepare([question(Word, word="a")])
            assert state.failed_hosts == set()
            assert host_state.read_or(question(Word, word="a"), "otherwise") == "otherwise"
        assert state.failed_hosts == {host}
    assert "the log-in prints text" in caplog.text
