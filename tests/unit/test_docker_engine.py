"""Docker's daemon.json: what must be in it, what must never be.

That dockerd accepts it is seen in the lab, where the deploy validates it before use.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from phoenix.components.docker.daemon_json import daemon_json
from tests.unit.site_builder import minimal


@pytest.fixture
def settings(tmp_path: Path) -> str:
    return daemon_json(minimal().load(tmp_path), log_size="7m", log_files=3)


def test_names_and_logs_come_from_the_site_and_the_settings(settings: str, tmp_path: Path) -> None:
    site = minimal().load(tmp_path / "again")
    data = json.loads(settings)
    assert data["dns"] == [str(site.hypervisor.address)]
    assert data["dns-search"] == [site.domain]
    assert data["log-opts"] == {"max-size": "7m", "max-file": "3"}, "Docker wants strings"
    assert data["live-restore"] is True


def test_the_api_has_no_address(settings: str) -> None:
    assert not {"hosts", "tls", "tlsverify"} & json.loads(settings).keys(), settings
    assert "tcp://" not in settings
