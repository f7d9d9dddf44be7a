"""The hypervisor's networks as a whole: what it is sent, and what it is left alone with."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from phoenix.components.networks.bridges import FILE, LIST, RULES, UNIT
from tests.deploys.recorder import Run, run
from tests.deploys.test_deploys import LOOKED, settled
from tests.unit.site_builder import minimal


def deploy(folder: Path, responses: dict[Any, Any] | None = None, **network: Any) -> Run:
    declaration = minimal()
    inner = {"subnet": "172.16.9.0/24", "bridge": "vmbr9", "nat": True, **network}
    declaration.hypervisor = {"networks": {"internal": inner}}
    declaration.load(folder / "site")
    return run(
        "networks", folder / "secrets.json", site_inventories=str(folder / "site"),
        site_stacks=str(folder / "site/stacks"), responses=responses or {},
    )  # fmt: skip


def params(done: Run) -> str:
    (text,) = (request.files()["params"] for request in done.sent if request.files())
    return text


def test_the_hypervisor_alone_gets_bridge_and_nat_and_proves_a_login(tmp_path: Path) -> None:
    done = deploy(tmp_path)
    steps = ["Networks: packages", "Networks: bridges, forwarding and NAT"]
    assert done.operations == [LOOKED, *steps]
    assert {sent.host for sent in done.sent} == {"phoenix"}
    files = done.files("phoenix")
    assert "iface vmbr9 inet static\n" in files[FILE]
    assert files[LIST] == "vmbr9 172.16.9.1/24 -\n"
    assert "masquerade" in files[RULES]
    assert "/etc/network/interfaces" not in files, "a person's"
    assert f"enable={UNIT}" in params(done)
    assert "\nconfirm=120\n" in params(done), "undone unless a login succeeds"
    commands = [sent.command for sent in done.sent]
    assert commands[-1].endswith(" confirm")
    assert " /var/lib/phoenix/trees/networks " in commands[-1]


def test_a_second_run_changes_nothing(tmp_path: Path) -> None:
    fresh = deploy(tmp_path)
    (lines,) = settled(fresh).values()
    tree = re.compile("config-tree /var/lib/phoenix/trees/networks ")
    interfaces = [f"declared\t{FILE}\tvmbr9", "live\tvmbr9\t172.16.9.1/24 \t"]
    answers = {tree: lambda _: lines, re.compile("interfaces "): lambda _: interfaces}
    again = deploy(tmp_path, answers)
    assert not [sent for sent in again.sent if sent.files()]
    lost = {**answers, tree: lambda _: [*lines, "not in force\tvmbr9 is missing"]}
    again = deploy(tmp_path, lost)
    assert [sent for sent in again.sent if 'apply" load' in sent.command]


def test_a_person_s_bridge_is_left_and_its_difference_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    interfaces = [
        "declared\t/etc/network/interfaces\tvmbr9",
        "live\tvmbr9\t172.16.9.254/24 \t",
    ]
    done = deploy(tmp_path, {re.compile("interfaces "): lambda _: interfaces})
    files = done.files("phoenix")
    assert FILE not in files
    assert files[LIST] == ""
    assert "masquerade" in files[RULES]
    assert "has 172.16.9.254/24, and the site says 172.16.9.1/24" in caplog.text


def test_vlans_on_a_bridge_of_ours_are_undone_as_it_is(tmp_path: Path) -> None:
    done = deploy(tmp_path, bridge="vmbr9.8")
    files = done.files("phoenix")
    assert files[LIST] == "vmbr9 - aware\nvmbr9.8 172.16.9.1/24 -\n"
    assert "iface vmbr9.8 inet static\n" in files[FILE]
    assert "\tvlan-raw-device vmbr9\n" in files[FILE]
    assert 'oifname != "vmbr9.8" masquerade' in files[RULES]
    assert "\nconfirm=120\n" in params(done)


def test_what_a_person_keeps_is_not_touched(tmp_path: Path) -> None:
    assert deploy(tmp_path, managed=False).sent == []
