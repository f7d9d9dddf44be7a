"""Logs of runs: no secret, no colour, a bounded number."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr

from phoenix.runs.logs import KEPT, run_log, state_directory

NOW = datetime(2026, 11, 24, 18, 30, tzinfo=UTC)


def test_secrets_and_colours_stay_out(tmp_path: Path) -> None:
    secrets = [SecretStr("geheim-1234"), SecretStr("geheim-1234-long"), SecretStr("abc")]
    with run_log(tmp_path / "runs", "sync", NOW, secrets) as (path, log):
        log.write("\x1b[31mpassword geheim-1234-long and geheim-1234, abc\x1b[0m\n")
    assert path.read_text() == "password *MASKED* and *MASKED*, abc\n"
    assert path.stat().st_mode & 0o777 == 0o600


def test_old_logs_go(tmp_path: Path) -> None:
    for number in range(KEPT + 5):
        (tmp_path / f"2025-01-01T00-00-{number:02d}Z-sync-1.log").write_text("")
    with run_log(tmp_path, "sync", NOW, ()) as (path, _):
        logs = sorted(tmp_path.glob("*.log"))
    assert len(logs) == KEPT
    assert logs[-1] == path


def test_state_follows_the_xdg_specification(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/x")
    assert state_directory("site") == Path("/x/phoenix/site")
    monkeypatch.delenv("XDG_STATE_HOME")
    assert state_directory("site") == Path.home() / ".local/state/phoenix/site"
