"""Ctrl-C: what was done, how to go on, where the log is; exit code 130."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from phoenix.cli import app as command
from phoenix.cli import converge, exits
from phoenix.runs import process
from phoenix.runs.process import Finished, Request, StoppedError
from phoenix.runs.results import Course
from tests.unit.project_copy import project as project

STEPS = ("deploys/dns.py | DNS: records", "deploys/nginx.py | Nginx: configuration")


def half_done() -> Finished:
    course = Course()
    for step in STEPS:
        course.add({"event": "step", "step": step, "number": 1, "count": 2, "hosts": ["gateway"]})
        if step == STEPS[0]:
            course.add({"event": "step_done", "step": step, "changed": ["gateway"],
                       "unchanged": []})  # fmt: skip
    return Finished(1, course, None, ())


def test_it_names_what_stays_and_what_was_under_way() -> None:
    message = converge.interrupted([half_done()], "sync dns nginx", Path("/logs/one.log"))
    assert "1 step had ended, 1 change stay" in message
    assert "gateway: DNS: records" in message
    assert "under way on gateway: Nginx: configuration" in message
    assert "`phoenix sync dns nginx`" in message
    assert "/logs/one.log" in message


def test_an_interrupt_before_the_first_step_changed_nothing() -> None:
    assert "nothing was changed" in converge.interrupted([], "sync all", Path("/logs/one.log"))


PLAYS_PYINFRA = (
    "import json, os, signal, sys, time\n"
    "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "try:\n"
    "    send = lambda **event: os.write(int(os.environ['PHOENIX_EVENTS']),"
    " (json.dumps(event) + chr(10)).encode())\n"
    "    send(event='step', step='a.py | A', number=1, count=1, hosts=['gateway'])\n"
    "    send(event='step_done', step='a.py | A', changed=['gateway'], unchanged=[])\n"
    "    send(event='waits')\n"
    "    time.sleep(600)\n"
    "except KeyboardInterrupt:\n"
    "    if 'STUBBORN' in os.environ: send(event='waits'); time.sleep(600)\n"
    "    sys.exit(1)\n"
)
"""It reports a step and then waits for Ctrl-C; where it is stubborn, for a second one."""


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Request]:
    """A call of pyinfra that another process plays, with Ctrl-C as in a terminal."""
    monkeypatch.setattr(Request, "words", lambda _: [sys.executable, "-c", PLAYS_PYINFRA])
    # A shell starts what is in its background with Ctrl-C ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield Request(tmp_path, tmp_path / "none.py", ("a.py",))
    finally:
        signal.signal(signal.SIGINT, before)


def press() -> None:
    """Ctrl-C: it reaches the main thread, whichever runs."""
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def press_at(moment: str) -> Callable[[Any], None]:
    return lambda event: press() if event["event"] == moment else None


@pytest.mark.parametrize("moment", ["step_done", "waits"])
def test_a_run_that_is_interrupted_hands_over_what_it_did(played: Request, moment: str) -> None:
    with pytest.raises(StoppedError) as stopped:
        process.run(played, listen=press_at(moment))
    assert stopped.value.finished.course.changed == [("a.py | A", "gateway")]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_it_is_when_the_interrupt_comes_while_it_begins(
    played: Request, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """At each thread that is started: pyinfra runs by then, and nobody waits for it yet."""
    starts: list[object] = []
    start = threading.Thread.start

    def begin(thread: threading.Thread) -> None:
        start(thread)
        starts.append(thread)
        if len(starts) == number:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(threading.Thread, "start", begin)
    with pytest.raises(StoppedError) as stopped:
        process.run(played)
    assert stopped.value.finished.returncode != 0


@pytest.mark.parametrize("when", ["before", "after"])
def test_it_is_when_the_interrupt_comes_with_its_start(
    played: Request, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    processes: list[subprocess.Popen[str]] = []

    def popen(*words: Any, **options: Any) -> subprocess.Popen[str]:
        if when == "before":
            signal.raise_signal(signal.SIGINT)
        processes.append(real(*words, **options))
        if when == "after":
            signal.raise_signal(signal.SIGINT)
        return processes[0]

    real = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", popen)
    with pytest.raises(StoppedError):
        process.run(played)
    assert processes[0].returncode is not None, "it runs on, and nobody knows"


def test_a_second_interrupt_kills_what_does_not_end(
    played: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUBBORN", "1")
    with pytest.raises(StoppedError) as stopped:
        process.run(played, listen=press_at("waits"))
    assert stopped.value.finished.returncode == -signal.SIGKILL
    assert stopped.value.finished.course.changed == [("a.py | A", "gateway")]


def test_afterwards_ctrl_c_is_as_before(played: Request) -> None:
    with pytest.raises(StoppedError):
        process.run(played, listen=press_at("waits"))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_command_ends_with_130_and_says_so(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project)
    monkeypatch.setenv("XDG_STATE_HOME", str(project / "state"))

    def stop(*_: object, **__: object) -> Finished:
        raise StoppedError(half_done())

    monkeypatch.setattr(converge, "run", stop)
    for words in (["sync", "nginx", "--json"], ["sync", "nginx"]):
        monkeypatch.setattr("sys.argv", ["phoenix", *words])
        with pytest.raises(SystemExit) as ended:
            command.main()
        captured = capsys.readouterr()
        assert ended.value.code == exits.INTERRUPTED
        assert "gateway: DNS: records" in captured.err
        if "--json" in words:
            assert json.loads(captured.out)["exit_code"] == exits.INTERRUPTED
    (log, *_) = sorted((project / "state").rglob("*.log"))
    assert "gateway: DNS: records" in log.read_text()


def test_other_verbs_say_it_too(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project)

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("phoenix.cli.observe_hosts.run", stop)
    monkeypatch.setattr("sys.argv", ["phoenix", "doctor", "--json"])
    with pytest.raises(SystemExit) as ended:
        command.main()
    captured = capsys.readouterr()
    assert ended.value.code == exits.INTERRUPTED
    assert json.loads(captured.out) == {"error": "interrupted", "exit_code": exits.INTERRUPTED}
    assert captured.err.strip() == "phoenix: interrupted"
