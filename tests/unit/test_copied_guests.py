"""A guest that was copied under a new id is one error, which hides no other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.project_copy import changed, phoenix
from tests.unit.project_copy import project as project
from tests.unit.site_builder import LXC, VM


def copy_container(data: Any) -> None:
    data["lxc_configs"]["150"] = data["lxc_configs"]["101"]


def copy_vm(data: Any) -> None:
    data["vms"].append({**data["vms"][1], "vmid": 1050})


COPIES = [
    (LXC, copy_container, "lxc_configs.150", "lxc_configs.101 (nginx-phoenix)"),
    (VM, copy_vm, "vms[3]", "vms[1] (portainer)"),
]


def findings(project: Path) -> list[dict[str, Any]]:
    result = phoenix("validate", "--json", "-i", project / "inventories" / "phoenix.py")
    found: list[dict[str, Any]] = json.loads(result.stdout)["findings"]
    return found


@pytest.mark.parametrize(("file", "copy", "path", "of"), COPIES)
def test_a_copied_guest_is_one_error(
    project: Path, file: str, copy: Any, path: str, of: str
) -> None:
    changed(project / "inventories" / file, copy)
    (finding,) = findings(project)
    assert (finding["file"], finding["path"], finding["severity"]) == (file, path, "error")
    assert f"is a copy of {file}: {of}" in finding["message"]
    assert "a name, an address" in finding["fix"]


@pytest.mark.parametrize(("file", "copy", "path", "of"), COPIES)
def test_another_fault_is_told_beside_it(
    project: Path, file: str, copy: Any, path: str, of: str
) -> None:
    changed(project / "inventories" / file, copy)
    changed(project / "inventories" / LXC, lambda data: data["lxc_configs"]["102"][
        "network_config"].update(ip="10.0.0.153/24"))  # fmt: skip
    assert {finding["path"] for finding in findings(project)} == {
        path, "lxc_configs.102.network_config.ip",
    }  # fmt: skip
