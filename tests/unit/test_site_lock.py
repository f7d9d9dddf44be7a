"""The lock on the hypervisor, as its shell keeps it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from operations.site_lock import SCRIPT

Holder = subprocess.Popen[str]
Take = Callable[[str], Holder]


@pytest.fixture
def take(tmp_path: Path) -> Iterator[Take]:
    """Somebody who asks for the lock and keeps its input open, as an SSH channel is."""
    started: list[Holder] = []

    def ask(owner: str) -> Holder:
        words = ["sh", "-c", SCRIPT.text, "lock", str(tmp_path / "lock"), owner]
        started.append(
            subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )
        return started[-1]

    yield ask
    for process in started:
        if process.poll() is None:
            process.communicate()


def said(process: Holder) -> str:
    assert process.stdout
    return process.stdout.read(4)


def end(process: Holder) -> str:
    """Close its channel; what it said that nobody has read yet."""
    return process.communicate(timeout=60)[0]


def refused(process: Holder, owner: str) -> bool:
    return end(process) == f"held{owner}"


def test_one_at_a_time(take: Take) -> None:
    first = take("one")
    assert said(first) == "mine"
    assert refused(take("two"), "one")
    end(first)
    assert said(take("two")) == "mine"


def test_runs_of_one_owner_come_and_go_while_the_first_keeps_it(take: Take) -> None:
    keeper = take("one")
    assert said(keeper) == "mine"
    for _ in range(2):
        call = take("one")
        assert said(call) == "mine"
        end(call)
        assert refused(take("two"), "one")
    end(keeper)
    assert said(take("two")) == "mine"


def test_a_run_holds_it_when_the_keeper_of_the_same_owner_goes(take: Take) -> None:
    keeper = take("one")
    assert said(keeper) == "mine"
    call = take("one")
    assert said(call) == "mine"
    end(keeper)
    for _ in range(20):  # there is no moment in which another owner gets in
        assert refused(take("two"), "one")
    end(call)
    assert said(take("two")) == "mine"
