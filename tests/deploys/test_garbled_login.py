"""One `echo` in a start file of the shell: that host stops with the cause, before any change."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from facts.host_fact import BEGIN
from phoenix.site.secret_names import ISSUANCE_KEY
from tests.deploys.recorder import run


@pytest.mark.parametrize("deploy", ["base", "step_ca", "docker"])
@pytest.mark.parametrize("execute", [True, False])
def test_nothing_is_decided_on_a_default(
    deploy: str, execute: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    garbled = {"step-ca": "hello", "drphoenix": "hello"}
    store = tmp_path / "secrets.json"  # without it, whether the CA's guest has the key is asked
    store.write_text(json.dumps({ISSUANCE_KEY: "k" * 43}))
    store.chmod(0o600)
    result = run(deploy, store, execute=execute, noise=garbled)
    concerned = {"step_ca": {"step-ca"}, "docker": {"drphoenix"}}.get(deploy, set(garbled))
    assert result.failed == concerned
    assert "the log-in prints text" in caplog.text
    assert "'hello'" in caplog.text
    changing = [s for s in result.sent if s.host in concerned and BEGIN not in s.command]
    assert changing == []
