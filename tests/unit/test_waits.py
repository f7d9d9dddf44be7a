"""How long checks may wait is what the limits in checks.sh add up to."""

from __future__ import annotations

import pytest

from phoenix.health import waits


def test_the_longest_wait_follows_the_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    assert waits.longest() == 21
    monkeypatch.setattr(
        waits, "text", lambda _: "request_seconds=7 # x\npause_seconds=2\nconnect_seconds=3\n"
    )
    assert waits.longest() == 12
