"""One run at a time: who holds the lock, and what a dead holder leaves."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from phoenix.runs.lock import LockedError, Owner, hold, parse_owner, this_process

HOLDER = """
import sys, time, pathlib
from phoenix.runs.lock import hold, this_process
with hold(pathlib.Path(sys.argv[1]), this_process("phoenix sync all")):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "lock"


def holder(path: Path) -> subprocess.Popen[str]:
    """A process of its own that holds the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_run_is_told_who_holds_it_and_since_when(path: Path) -> None:
    process = holder(path)
    try:
        with pytest.raises(LockedError) as caught, hold(path, this_process("second")):
            pytest.fail("two runs at once")
        message = str(caught.value)
        assert f"(process {process.pid}): phoenix sync all, for " in message, message
        assert caught.value.owner is not None
        assert caught.value.owner.pid == process.pid
    finally:
        process.kill()
        process.wait()


def test_a_lock_of_a_dead_process_is_taken_over_and_told(path: Path) -> None:
    process = holder(path)
    process.kill()
    process.wait()
    with hold(path, this_process("second")) as died:
        assert died is not None
        assert died.pid == process.pid
    with hold(path, this_process("third")) as died:
        assert died is None, "the second gave it up in order"


def test_only_one_of_many_gets_it(path: Path) -> None:
    release = threading.Event()

    def attempt(number: int) -> bool:
        try:
            with hold(path, this_process(str(number))):
                return release.wait(60)
        except LockedError:
            return False

    with ThreadPoolExecutor(8) as pool:
        ended = as_completed([pool.submit(attempt, number) for number in range(8)], timeout=60)
        refused = [next(ended).result() for _ in range(7)]
        release.set()
        assert (refused, next(ended).result()) == ([False] * 7, True)


def test_it_is_closed_to_others(path: Path) -> None:
    with hold(path, this_process("one")):
        assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("ago", "words"),
    [(timedelta(seconds=5), "5 s"), (timedelta(minutes=3, seconds=2), "3 min 2 s"),
     (timedelta(hours=26, minutes=1), "26 h 1 min"), (timedelta(seconds=-9), "0 s")],
)  # fmt: skip
def test_age_in_words(ago: timedelta, words: str) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    owner = Owner(user="u", machine="m", pid=1, command="c", since=now - ago)
    assert owner.age(now) == words


def test_a_damaged_owner_is_nobody() -> None:
    assert parse_owner("") is None
    assert parse_owner('{"user": 1}') is None
