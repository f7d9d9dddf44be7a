"""Ctrl-C: what was done, how to go on, where the log is; exit code 130."""

from __future__ import annotations

import json
import signal
import sys
import threading
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
    said = converge.interrupted([half_done()], "sync dns nginx", Path("/logs/one.log"))
    assert "1 step had ended, 1 change stay" in said
    assert "gateway: DNS: records" in said
    assert "under way on gateway: Nginx: configuration" in said
    assert "`phoenix sync dns nginx`" in said
    assert "/logs/one.log" in said


def test_an_interrupt_before_the_first_step_changed_nothing() -> None:
    assert "nothing was changed" in converge.interrupted([], "sync all", Path("/logs/one.log"))


def test_a_run_that_is_interrupted_hands_over_what_it_did(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """pyinfra's part is played by a process that reports a step and then waits for Ctrl-C."""
    plays = (
        "import json, os, signal, sys, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "send = lambda **event: os.write(int(os.environ['PHOENIX_EVENTS']),"
        " (json.dumps(event) + chr(10)).encode())\n"
        "send(event='step', step='a.py | A', number=1, count=1, hosts=['gateway'])\n"
        "send(event='step_done', step='a.py | A', changed=['gateway'], unchanged=[])\n"
        "send(event='waits')\n"
        "try: time.sleep(600)\n"
        "except KeyboardInterrupt: sys.exit(1)\n"
    )
    monkeypatch.setattr(Request, "words", lambda _: [sys.executable, "-c", plays])

    def hear(event: Any) -> None:
        if event["event"] == "waits":
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    request = Request(tmp_path, tmp_path / "none.py", ("a.py",))
    # A shell starts what is in its background with Ctrl-C ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(StoppedError) as stopped:
            process.run(request, listen=hear)
    finally:
        signal.signal(signal.SIGINT, before)
    assert stopped.value.finished.course.changed == [("a.py | A", "gateway")]


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
        told = capsys.readouterr()
        assert ended.value.code == exits.INTERRUPTED
        assert "gateway: DNS: records" in told.err
        if "--json" in words:
            assert json.loads(told.out)["exit_code"] == exits.INTERRUPTED
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
    told = capsys.readouterr()
    assert ended.value.code == exits.INTERRUPTED
    assert json.loads(told.out) == {"error": "interrupted", "exit_code": exits.INTERRUPTED}
    assert told.err.strip() == "phoenix: interrupted"
