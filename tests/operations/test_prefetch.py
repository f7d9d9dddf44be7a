"""Hosts are asked at once what the last run asked them; it serves while nothing has changed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyinfra
import pytest
from pyinfra.api import State
from pyinfra.api.operation import add_op
from pyinfra.api.operations import run_ops
from pyinfra.api.state import StateStage
from pyinfra.context import ctx_host

from operations import connection, host_state, prefetch, site_lock
from operations.operation import operation
from phoenix.locations import user_cache
from tests.operations.two_hosts import HOSTS, Site, Word, reading, state_of, words_of

Words = dict[str, list[str]]
Commands = dict[str, list[list[str]]]
FIRST = "first"
"""The question that a run asks each host while it is prepared."""


class Channel:
    """Of a connection to a host: a shell of this machine, which answers as the host does."""

    breaks_at = b""
    """The line before which the left host's connection breaks."""

    def __init__(self, site: Site, name: str) -> None:
        self.site, self.name, self.text = site, name, ""

    def exec_command(self, line: str) -> None:
        assert line == "sh -c 'exec sh 2>/dev/null'"

    def send(self, data: bytes) -> int:
        self.text += data.decode()
        return len(data)

    def makefile(self, _mode: str) -> Iterator[bytes]:
        return self._lines()

    def shutdown_write(self) -> None:
        self.site.sent[self.name].append(words_of(self.text))

    def _lines(self) -> Iterator[bytes]:
        text = self.text
        for word, answer in self.site.told[self.name].items():
            text = text.replace(f" echo {word};", f" echo {answer};")
        said = subprocess.run(["sh"], input=text, capture_output=True, text=True, check=True)
        for line in said.stdout.encode().splitlines(keepends=True):
            if self.name == "left" and self.breaks_at and self.breaks_at in line:
                raise EOFError
            yield line


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Site:
    site = Site()

    def transport(host: Any, _reason: str) -> Any:
        return SimpleNamespace(open_session=lambda: Channel(site, host.name))

    monkeypatch.setattr(connection, "connected_transport", transport)
    return site


@pytest.fixture(autouse=True)
def of_an_operator(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A run from the command line that holds the site's lock."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["pyinfra", "inventory.py", "deploys/all.py", "-y"])
    monkeypatch.setattr(site_lock, "for_this_run", lambda: None)
    monkeypatch.setattr(site_lock, "_channels", [object()])


def kept_file() -> Path:
    (file,) = user_cache().glob("asked-*.json")
    return file


def prepare(state: State) -> None:
    """The first question to each host, as of a run from the command line."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pyinfra, "is_cli", True)
        for host in state.inventory:
            with ctx_host.use(host):
                host_state.prepare([host_state.question(Word, word=FIRST)])


def whole_run(
    site: Site, *steps: Any, end: StateStage = StateStage.Disconnect
) -> tuple[Words, Commands]:
    """What each host was asked behind the first question, and in the run's steps."""
    site.sent = {name: [] for name in HOSTS}
    site.read = {name: [] for name in HOSTS}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(site_lock, "_at_end", [])
        with state_of(site, StateStage.Prepare) as state:
            prepare(state)
            shells = {name: len(asked) for name, asked in site.sent.items()}
            prepared = {name: [*chain(*asked)] for name, asked in site.sent.items()}
            assert {words.pop(0) for words in prepared.values()} == {FIRST}
            for step in steps:
                add_op(state, step)
            state.set_stage(StateStage.Execute)
            run_ops(state)
            state.set_stage(end)
            site_lock._do_at_end(state.inventory.get_host("left"))
    return prepared, {name: asked[shells[name] :] for name, asked in site.sent.items()}


def fresh(site: Site, word: str) -> Any:
    """An operation that asks for `word` as it is now, as the checks do."""

    @operation()
    def ask_word() -> Any:
        from pyinfra import host

        (answer,) = host_state.ask_all(
            [host_state.question(Word, word=word)], holds=lambda answers: "fault" not in answers
        )
        site.read[host.name].append(answer)
        yield from ()

    return ask_word


def each(words: list[Any]) -> dict[str, list[Any]]:
    return dict.fromkeys(HOSTS, words)


def test_the_next_run_asks_nothing_in_its_steps(site: Site) -> None:
    steps = (reading(site, "a"), reading(site, "b"), fresh(site, "proof"))
    assert whole_run(site, *steps) == (each([]), each([["a", "b"], ["proof"]]))
    site.told["left"] = {"b": "other", "proof": "well"}
    assert whole_run(site, *steps) == (each(["a", "b", "proof"]), each([]))
    assert site.read == {"left": ["a", "other", "well"], "right": ["a", "b", "proof"]}
    assert whole_run(site, *steps) == (each(["a", "b", "proof"]), each([]))


def test_checks_have_a_shell_of_their_own_beside_the_other_questions(site: Site) -> None:
    """They wait more than they compute: for pings, time-outs and connections."""
    steps = reading(site, "a"), fresh(site, "proof")
    whole_run(site, *steps)
    whole_run(site, *steps)
    assert site.sent == each([[FIRST, "a"], ["proof"]])


def test_a_fault_that_was_found_ahead_is_looked_for_again(site: Site) -> None:
    """It may have passed meanwhile, as that of a guest that has just started."""
    whole_run(site, fresh(site, "proof"))
    site.told["left"] = {"proof": "fault"}
    assert whole_run(site, fresh(site, "proof"))[1] == {"left": [["proof"]], "right": []}
    assert whole_run(site, fresh(site, "other"))[1] == each([["other"]]), "and else once"


@pytest.mark.parametrize("changes", HOSTS)
def test_after_a_change_on_any_host_each_is_checked_again(site: Site, changes: str) -> None:
    proof = fresh(site, "proof")
    whole_run(site, reading(site, "a"), proof)
    ahead, in_steps = whole_run(site, reading(site, "a", changes), proof)
    assert ahead == each(["a", "proof"])
    assert in_steps == each([["proof"]])


def test_work_on_the_control_machine_makes_all_answers_old(site: Site) -> None:
    steps = reading(site, "a"), fresh(site, "proof")
    whole_run(site, *steps)
    _, in_steps = whole_run(site, reading(site, "a", "left", work=True), *steps)
    assert in_steps["right"][-2:] == [["a"], ["proof"]]


def test_another_question_is_asked_as_ever(site: Site) -> None:
    whole_run(site, reading(site, "a"))
    assert whole_run(site, reading(site, "b")) == (each(["a"]), each([["b"]]))
    assert site.read == each(["b"])
    assert whole_run(site, reading(site, "b")) == (each(["b"]), each([]))


def test_each_answer_serves_once(site: Site) -> None:
    whole_run(site, fresh(site, "a"))
    assert whole_run(site, fresh(site, "a"), fresh(site, "a")) == (each(["a"]), each([["a"]]))


def test_an_old_answer_is_asked_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    whole_run(site, reading(site, "a"))
    monkeypatch.setattr(prefetch, "MAX_SECONDS", -1.0)
    assert whole_run(site, reading(site, "a"))[1] == each([["a"]])


def test_what_a_broken_conversation_leaves_open_is_asked_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = reading(site, "a"), fresh(site, "proof")
    whole_run(site, *steps)
    monkeypatch.setattr(Channel, "breaks_at", b"proof")
    assert whole_run(site, *steps)[1] == {"left": [["proof"]], "right": []}
    assert site.read == each(["a", "proof"])


def test_a_first_question_that_breaks_is_asked_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole_run(site, reading(site, "a"))
    monkeypatch.setattr(Channel, "breaks_at", FIRST.encode())
    prepared, in_steps = whole_run(site, reading(site, "a"))
    assert prepared == {"left": ["a", FIRST], "right": ["a"]}
    assert in_steps == {"left": [["a"]], "right": []}


@pytest.mark.parametrize("how", ["changed", "failed", "stopped"])
def test_what_such_a_run_asked_is_not_kept(site: Site, how: str) -> None:
    whole_run(site, reading(site, "a"))
    if how == "failed":
        site.noise["left"] = "hello from .bashrc"
    end = StateStage.Execute if how == "stopped" else StateStage.Disconnect
    whole_run(site, reading(site, "b", "left" if how == "changed" else ""), end=end)
    site.noise.clear()
    assert whole_run(site)[0] == each(["a"])


@pytest.mark.parametrize(
    "words",
    [["--dry", "-y"], [], ["--dry"]],
    ids=["a plan with -y", "a person is asked first", "a plan"],
)
def test_only_a_run_that_is_sure_to_follow_asks_ahead(
    site: Site, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole_run(site, reading(site, "a"))
    monkeypatch.setattr(sys, "argv", ["pyinfra", "inventory.py", "deploys/all.py", *words])
    assert whole_run(site, reading(site, "a")) == (each([]), each([["a"]]))


def test_without_the_lock_nothing_is_asked_ahead(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole_run(site, reading(site, "a"))

    def refuse() -> None:
        raise site_lock.SiteLockedError("another run is at work on this site")

    monkeypatch.setattr(site_lock, "_channels", [])
    monkeypatch.setattr(site_lock, "for_this_run", refuse)
    with state_of(site, StateStage.Prepare) as state:
        site.sent = {name: [] for name in HOSTS}
        prepare(state)
    assert site.sent == each([[FIRST]])


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"left": "a"}', '{"left": [["a"], [1]]}', '{"left": ["a", "b"]}', "\x00"],
    ids=repr,
)
def test_a_file_that_says_something_else_counts_for_nothing(site: Site, text: str) -> None:
    whole_run(site, reading(site, "a"))
    kept_file().write_text(text)
    assert whole_run(site, reading(site, "a")) == (each([]), each([["a"]]))
    assert whole_run(site, reading(site, "a"))[1] == each([]), "it was written anew"


def test_nobody_else_reads_or_writes_what_is_kept(site: Site) -> None:
    whole_run(site, reading(site, "a"))
    assert kept_file().stat().st_mode & 0o777 == 0o600
    kept_file().chmod(0o620)
    assert whole_run(site, reading(site, "a"))[0] == each([])


def test_runs_of_other_deploys_and_hosts_keep_files_of_their_own(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole_run(site, reading(site, "a"))
    words = ["pyinfra", "inventory.py", "deploys/all.py", "--limit", "left", "-y"]
    monkeypatch.setattr(sys, "argv", words)
    assert whole_run(site, reading(site, "b"))[0] == each([])
    files = [json.loads(file.read_text()) for file in user_cache().glob("asked-*.json")]
    assert len(files) == 2
