"""The lock on the hypervisor, as its shell keeps it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from operations.site_lock import SCRIPT
from phoenix.runs.history import DEPLOYS, End, Start, deployed, parse

Holder = subprocess.Popen[str]
Take = Callable[[str], Holder]


@pytest.fixture
def take(tmp_path: Path) -> Iterator[Take]:
    """Somebody who asks for the lock and keeps its input open, as an SSH channel is."""
    started: list[Holder] = []

    def ask(owner: str) -> Holder:
        words = ["sh", "-c", SCRIPT.text, "lock", str(tmp_path / "lock"), owner,
                 str(tmp_path / "lib/history.jsonl"), DEPLOYS, "3"]  # fmt: skip
        started.append(
            subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )
        return started[-1]

    yield ask
    for process in started:
        if process.poll() is None:
            process.communicate()


def first_line(process: Holder) -> str:
    assert process.stdout
    return process.stdout.read(4)


def end(process: Holder) -> str:
    """Close its channel; what it said that nobody has read yet."""
    return process.communicate(timeout=60)[0]


def refused(process: Holder, owner: str) -> bool:
    return end(process) == f"held{owner}"


def test_one_at_a_time(take: Take) -> None:
    first = take("one")
    assert first_line(first) == "mine"
    assert refused(take("two"), "one")
    end(first)
    assert first_line(take("two")) == "mine"


def test_runs_of_one_owner_come_and_go_while_the_first_keeps_it(take: Take) -> None:
    keeper = take("one")
    assert first_line(keeper) == "mine"
    for _ in range(2):
        call = take("one")
        assert first_line(call) == "mine"
        end(call)
        assert refused(take("two"), "one")
    end(keeper)
    assert first_line(take("two")) == "mine"


def test_a_run_holds_it_when_the_keeper_of_the_same_owner_goes(take: Take) -> None:
    keeper = take("one")
    assert first_line(keeper) == "mine"
    call = take("one")
    assert first_line(call) == "mine"
    end(keeper)
    for _ in range(20):  # there is no moment in which another owner gets in
        assert refused(take("two"), "one")
    end(call)
    assert first_line(take("two")) == "mine"


# -- the history that the same script keeps --------------------------------------------------------


def start(run: str, *, deploys: bool = True) -> str:
    return Start(
        run=run, user="ann", machine="desk", command="phoenix sync", commit="c" * 40, dirty=False,
        deploys=deploys, began=datetime(2026, 1, 2, tzinfo=UTC),
    ).model_dump_json()  # fmt: skip


OK = End(result="ok", changed=2, hosts=["gateway"], failed=[]).model_dump_json()


def last_deployment(process: Holder) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def test_a_run_is_written_when_it_ends(take: Take, tmp_path: Path) -> None:
    run = take("one")
    assert (first_line(run), last_deployment(run)) == ("mine", "")
    run.communicate(f"{start('1')}\n{OK}\n", timeout=60)
    file = tmp_path / "lib/history.jsonl"
    assert file.stat().st_mode & 0o777 == 0o600
    (entry,) = parse(file.read_text().splitlines())
    assert (entry.start.user, entry.end.result, entry.end.changed) == ("ann", "ok", 2)
    again = take("two")
    assert first_line(again) == "mine"
    assert parse([last_deployment(again)]) == [entry]


def test_a_run_that_dies_is_in_the_history_without_an_end(take: Take, tmp_path: Path) -> None:
    run = take("one")
    assert first_line(run) == "mine"
    run.communicate(f"{start('1')}\n", timeout=60)
    (entry,) = parse((tmp_path / "lib/history.jsonl").read_text().splitlines())
    assert entry.end.result == "lost"


def test_a_run_that_did_not_begin_leaves_nothing(take: Take, tmp_path: Path) -> None:
    run = take("one")
    assert first_line(run) == "mine"
    end(run)
    assert not (tmp_path / "lib/history.jsonl").exists()


def test_the_last_deployment_is_told_past_what_came_after(take: Take) -> None:
    for run, deploys in (("1", True), ("2", False)):
        process = take(run)
        assert first_line(process) == "mine"
        process.communicate(f"{start(run, deploys=deploys)}\n{OK}\n", timeout=60)
    process = take("three")
    assert first_line(process) == "mine"
    last = deployed(parse([last_deployment(process)]))
    assert last is not None
    assert last.start.run == "1"


def test_others_than_root_go_on_through_the_folder_of_the_history(
    take: Take, tmp_path: Path
) -> None:
    """apt asks for names as a user of its own, by a resolv.conf that is a link into it."""
    folder = tmp_path / "lib"
    folder.mkdir(mode=0o700)  # as earlier releases left it
    holder = take("one")
    assert first_line(holder) == "mine"
    assert holder.stdin
    holder.stdin.write("{}\n")
    end(holder)
    assert folder.stat().st_mode & 0o777 == 0o755
    assert (folder / "history.jsonl").stat().st_mode & 0o777 == 0o600


def test_the_history_is_bounded(take: Take, tmp_path: Path) -> None:
    file = tmp_path / "lib/history.jsonl"
    counts = []
    for number in range(8):
        process = take("one")
        assert first_line(process) == "mine"
        process.communicate(f"{start(str(number))}\n{OK}\n", timeout=60)
        counts.append(len(file.read_text().splitlines()))
    assert max(counts) == 6, "twice what is kept"
    assert parse(file.read_text().splitlines())[-1].start.run == "7"
    assert file.stat().st_mode & 0o777 == 0o600
