"""Progress of a run, as a terminal and as a log see it."""

from __future__ import annotations

import io
from collections.abc import Iterator

from rich.console import Console

from phoenix.cli.progress import Lines, LiveTable, follow

STEP = "deploys/all.py | deploys/nginx.py | Nginx: configuration and service"
ISSUE = "deploys/all.py | deploys/certificates.py | Certificate: issue"


def events() -> Iterator[dict[str, object]]:
    yield {"event": "connect", "host": "gateway", "ok": True, "reason": ""}
    yield {"event": "connect", "host": "proxy", "ok": False, "reason": "timed out"}
    yield {"event": "connect", "host": "worker", "ok": True, "reason": ""}
    yield {"event": "line", "level": "info", "host": "gateway", "step": STEP, "text": "x",
           "executing": True}  # fmt: skip
    yield {"event": "step", "step": STEP, "number": 3, "count": 9, "hosts": ["gateway", "worker"]}
    yield {"event": "host_failed", "host": "worker", "step": STEP}
    yield {"event": "step_done", "step": STEP, "changed": ["gateway"], "unchanged": []}
    yield {"event": "step", "step": ISSUE, "number": 4, "count": 9, "hosts": ["gateway"]}


def drawn(table: LiveTable) -> str:
    console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system=None)
    console.print(table)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert isinstance(text, str)
    return text


def test_terminal_shows_every_host_with_its_step_and_time() -> None:
    now = [100.0]
    table = LiveTable(clock=lambda: now[0], began=40.0)
    for event in events():
        table(event)
    now[0] = 175.0
    lines = {line.split()[0]: line for line in drawn(table).splitlines() if line.strip()}
    assert "step 4 of 9" in lines["step"]
    assert "2:15" in lines["step"], "since the run began"
    assert "Certificate: issue" in lines["gateway"]
    assert "1:15" in lines["gateway"], "since its step began"
    assert "timed out unreachable" in lines["proxy"]
    assert "Nginx: configuration and service failed" in lines["worker"]


def test_log_has_a_line_a_step_with_the_seconds() -> None:
    out = io.StringIO()
    lines = Lines(Console(file=out, width=200), clock=lambda: 12.34, began=0.0)
    for event in events():
        lines(event)
    lines({"event": "step_done", "step": ISSUE, "changed": [], "unchanged": ["gateway"]})
    assert out.getvalue().splitlines() == [
        "[  12.3s] proxy does not answer: timed out",
        "[  12.3s] 3/9 Nginx: configuration and service: FAILED on worker",
        "[  12.3s] 3/9 Nginx: configuration and service: changed gateway",
        "[  12.3s] 4/9 certificates | Certificate: issue: 1 unchanged",
    ]


def test_quiet_says_nothing() -> None:
    out = io.StringIO()
    with follow(Console(file=out), quiet=True) as follower:
        for event in events():
            follower(event)
    assert out.getvalue() == ""


def test_a_long_step_tells_how_far_it_is() -> None:
    now = [0.0]
    out = io.StringIO()
    lines = Lines(Console(file=out, width=200), clock=lambda: now[0], began=0.0)
    table = LiveTable(clock=lambda: now[0], began=0.0)
    for event in events():
        table(event)
        lines(event)
    before = len(out.getvalue().splitlines())
    for second in range(5, 16):
        now[0] = float(second)
        event = {"event": "progress", "host": "gateway", "text": f"{second} of 20 MiB copied"}
        table(event)
        lines(event)
    shown = out.getvalue().splitlines()[before:]
    assert shown == [
        "[   5.0s] 4/9 gateway: 5 of 20 MiB copied",
        "[  10.0s] 4/9 gateway: 10 of 20 MiB copied",
        "[  15.0s] 4/9 gateway: 15 of 20 MiB copied",
    ]
    assert "15 of 20 MiB copied" in drawn(table)
