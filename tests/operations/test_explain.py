"""What a plan tells of a step beside changes: that it would fail, or what only a run can know."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from pyinfra.api import OperationError

from operations import explain


@pytest.mark.parametrize("is_executing", [False, True])
def test_a_step_that_fails_in_its_turn_is_told_to_a_plan(
    monkeypatch: pytest.MonkeyPatch, *, is_executing: bool
) -> None:
    events: list[Any] = []
    lines: list[str] = []
    state = SimpleNamespace(is_executing=is_executing)
    host = SimpleNamespace(name="worker", state=state, current_op_hash="hash")
    monkeypatch.setattr(explain, "host", host)
    monkeypatch.setattr(explain, "connected", lambda: True)
    monkeypatch.setattr(explain, "step_name", lambda *_: "Docker: swarm")
    monkeypatch.setattr(explain, "ctx_host", SimpleNamespace(get=lambda: host))
    monkeypatch.setattr(explain, "report", lambda event, **fields: events.append((event, fields)))
    monkeypatch.setattr(explain, "log_lines", lines.extend)
    commands: list[Any] = []
    monkeypatch.setattr(explain, "local_command", lambda work: work)
    commands += explain.fail_in_turn("it is in another swarm", "fix: docker swarm leave")
    (fail,) = commands
    with pytest.raises(OperationError, match="it is in another swarm\nfix"):
        fail()
    if is_executing:  # the failure itself tells the reasons
        assert (events, lines) == ([], [])
    else:
        assert events == [("would_fail", {"step": "Docker: swarm", "host": "worker"})]
        assert lines == ["it is in another swarm", "fix: docker swarm leave"]
