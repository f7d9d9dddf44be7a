"""`deploys/observe.py`: few commands, no changes; a silent program hides no other's answer."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from phoenix.runs.reporter import CHANNEL
from tests.deploys.recorder import Run, run

HOSTS = {"phoenix", "step-ca", "nginx-phoenix", "traefik-internal", "portainer", "drphoenix"}
PROBES, JUNK = re.compile(r"for check; do"), "what is this"


def observed(
    tmp_path: Path, patch: pytest.MonkeyPatch, responses: dict[Any, Any], **data: Any
) -> tuple[Run, dict[str, dict[str, Any]]]:
    """A run, and the values that it told by kind and host."""
    read, write = os.pipe()
    patch.setenv(CHANNEL, str(write))
    result = run("observe", tmp_path / "secrets.json", responses=responses, execute=False, **data)
    os.close(write)
    with os.fdopen(read) as stream:
        events = [json.loads(line) for line in stream]
    values: dict[str, dict[str, Any]] = {}
    for event in events:
        values.setdefault(event["name"], {})[event["host"]] = event["data"]
    return result, values


def test_facts_alone_and_few_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result, values = observed(tmp_path, monkeypatch, {})
    assert result.operations == []
    assert set(Counter(sent.host for sent in result.sent).values()) == {1}
    assert values["checks"].keys() == HOSTS
    assert values["portainer"] == {"portainer": None}
    assert values["containers"] == {key: [] for key in HOSTS}
    assert values["renewals"].keys() >= {"nginx-phoenix", "portainer", "drphoenix"}


def test_output_that_nobody_expects_hides_only_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = '["volume","shop-production","shop-production_data","/var/lib/docker/volumes/d",null]'
    result, values = observed(
        tmp_path, monkeypatch, {PROBES: JUNK, "systemctl show --property": JUNK,
                                "s_client": JUNK, "docker ps": listed},
    )  # fmt: skip
    assert result.failed == set()
    assert values["checks"] == {host: [] for host in HOSTS}
    assert values["unread"].keys() == HOSTS
    assert set(map(len, values["renewals"].values())) == {0}
    assert values["containers"]["drphoenix"][0]["name"] == "shop-production"


def test_what_is_asked_is_chosen_by_the_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result, values = observed(tmp_path, monkeypatch, {}, observe=["checks"])
    assert values.keys() == {"checks"}
    assert set(Counter(sent.host for sent in result.sent).values()) == {1}


def test_no_secret_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result, _ = observed(tmp_path, monkeypatch, {})
    assert not (tmp_path / "secrets.json").exists()
    assert [sent.stdin for sent in result.sent if sent.stdin] == []
