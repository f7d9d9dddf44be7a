"""A run asks each host once, and again after a change; a bad answer fails its host alone."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any

import pytest
from pyinfra.api import StringCommand
from pyinfra.api.exceptions import FactProcessError
from pyinfra.api.operation import add_op
from pyinfra.api.operations import run_ops
from pyinfra.api.state import StateStage
from pyinfra.context import ctx_host

from facts.command import command
from facts.host_fact import JoinedFact, marked
from operations import host_state
from operations.host_state import Question, question, read
from operations.operation import operation
from tests.operations.two_hosts import HOSTS, Site, Word, reading, run, state_of


@pytest.fixture
def site() -> Site:
    return Site()


def test_each_host_is_asked_once_for_all_its_operations(site: Site) -> None:
    assert run(site, *(reading(site, word) for word in ("a", "b", "a", "c"))) == set()
    assert site.sent == {name: [["a", "b", "c"]] for name in HOSTS}
    assert site.read == {name: ["a", "b", "a", "c"] for name in HOSTS}


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
    monkeypatch.setattr(host_state, "MAX_SECONDS", -1.0)
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
