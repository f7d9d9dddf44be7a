"""A changed daemon.json is loaded by a reload where dockerd can, and a restart is told."""

from __future__ import annotations

import base64
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from operations.docker import daemon
from phoenix.components.config_tree.tree import FileState, Tree, TreeFile, TreeState, UnitState
from phoenix.components.docker.daemon_json import DAEMON, DaemonState, declared, merge
from phoenix.declaration.settings import read
from tests.operations.test_tree_operations import fixed
from tests.unit.site_builder import minimal

UNIT = "docker.service"
TREE = Tree(
    component="docker", files={"/etc/x": TreeFile("x\n")}, unit=UNIT, action="restart",
    after="systemctl try-reload-or-restart docker.service",
)  # fmt: skip


def commands(
    tmp_path: Path, present: dict[str, Any], *, loaded: str | None = "g", **values: object
) -> list[Any]:
    settings, _ = read(values)
    assert settings is not None
    site = minimal().load(tmp_path)
    desired = declared(site, site.docker_hosts[0], settings)
    text = json.dumps(json.loads(merge(desired, DaemonState()).daemon) | present)
    files = {DAEMON: FileState("644", "root", "root", "0", TREE.link(DAEMON))}
    unit = UnitState("active", "enabled", stale=False)
    tree = TreeState("g", loaded, files, frozenset(files), {UNIT: unit})
    facts: dict[str, Any] = {
        "DockerDaemon": DaemonState(present=text),
        "ConfigTree": tree,
        "FileContents": [],
    }
    here = fixed(diff=True, **facts)
    return here.run(daemon, TREE, desired=desired)


def action(sent: list[Any]) -> str:

    (command,) = sent
    data = base64.b64decode(command.connector_arguments["_stdin"])
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        params = tar.extractfile("params")
        assert params is not None
        return next(
            line.partition("=")[2].strip("'")
            for line in params.read().decode().splitlines()
            if line.startswith("action=")
        )


def test_a_mirror_is_taken_up_by_a_reload(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    assert action(commands(tmp_path, {"registry-mirrors": ["https://m.example"]})) == "reload"
    assert "dockerd reloads its configuration" in caplog.text


def test_a_restart_is_told_with_the_keys_that_need_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    changed = {"dns": ["192.0.2.1"], "registry-mirrors": ["https://m.example"]}
    assert action(commands(tmp_path, changed)) == "restart"
    assert "restarts dockerd, which reads dns only when it starts; containers go on" in caplog.text


def test_what_was_never_loaded_is_loaded_by_a_restart(tmp_path: Path) -> None:
    changed = {"registry-mirrors": ["https://m.example"]}
    assert action(commands(tmp_path, changed, loaded=None)) == "restart"
