"""How long checks may wait is what the limits in checks.sh add up to."""

from __future__ import annotations

import pytest

from phoenix.health import check_timeouts


def test_the_longest_wait_follows_the_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_timeouts.longest_wait() == 21
    monkeypatch.setattr(
        check_timeouts,
        "text",
        lambda _: "request_seconds=7 # x\npause_seconds=2\nconnect_seconds=3\n",
    )
    assert check_timeouts.longest_wait() == 12
