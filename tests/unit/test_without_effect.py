"""Keys that are known and well formed, and that nobody carries out where they stand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.site_builder import LXC, VM, Declaration, minimal, problem

GATEWAY, WORKER = "lxc_configs.101", "vms[1]"


def gateway(**more: Any) -> Declaration:
    declared = minimal()
    declared.lxc["lxc_configs"]["101"].update(more)
    return declared


def worker(**more: Any) -> Declaration:
    declared = minimal()
    declared.vm["vms"][1].update(more)
    return declared


def hypervisor(word: str) -> Declaration:
    declared = minimal()
    declared.lxc["site"] = {"hypervisor": {"leave_alone": ["time", word]}}
    return declared


TOLD = [
    *(
        (gateway(leave_alone=["time", word]), LXC, f"{GATEWAY}.leave_alone[1]", "has nothing of")
        for word in ("docker", "start_page", "dashboard", "guest_agent", "watch")
    ),
    *(
        (hypervisor(word), LXC, "site.hypervisor.leave_alone[1]", "has nothing of")
        for word in ("docker", "start_page", "dashboard", "guest_agent", "watch", "proxmox")
    ),
    (worker(leave_alone=["dashboard"]), VM, f"{WORKER}.leave_alone[0]", "has nothing of"),
    (worker(boot_delay=30), VM, f"{WORKER}.boot_delay", "only after guests that it starts"),
    (
        worker(network_bridge="vmbr1", network_config={"ip": "10.0.0.24/24", "bridge": "vmbr0"}),
        *(VM, f"{WORKER}.network_bridge", "not read beside network_config.bridge"),
    ),
]


@pytest.mark.parametrize(("declared", "file", "path", "words"), TOLD)
def test_a_key_without_effect_is_told(
    tmp_path: Path, declared: Declaration, file: str, path: str, words: str
) -> None:
    finding = problem(declared.load(tmp_path).warnings, file, path)
    assert words in finding.message
    assert finding.unread, "an error under --strict"


@pytest.mark.parametrize(("mounts", "is_told"), [([], True), (["/:/host:ro"], False)])
def test_leave_that_no_service_needs(tmp_path: Path, mounts: list[str], *, is_told: bool) -> None:
    declared = minimal()
    declared.stacks["shop"][0]["environments"]["production"]["host_access"] = True
    declared.stacks["shop"][1]["services"]["web"]["volumes"] = mounts
    messages = [warning.message for warning in declared.load(tmp_path).warnings]
    assert any("no service needs host_access" in message for message in messages) is is_told


@pytest.mark.parametrize("key", ["health_path", "health_status"])
def test_a_health_that_nobody_asks_for(tmp_path: Path, key: str) -> None:
    declared = minimal()
    environment = declared.stacks["shop"][0]["environments"]["production"]
    route = environment["services"]["web"]["traefik_service"]
    route.update({"check": "none", key: "/up" if key == "health_path" else 204})
    path = f"environments.production.services.web.traefik_service.{key}"
    finding = problem(declared.load(tmp_path).warnings, "stacks/shop/phoenix.json", path)
    assert finding.message.endswith('is not used: "check" is "none"')


@pytest.mark.parametrize(
    "declared",
    [
        worker(leave_alone=["docker", "guest_agent", "time"]),
        worker(start_at_boot=True, boot_delay=30, boot_order=9),
        worker(network_bridge="vmbr0"),
    ],
)
def test_what_is_carried_out_is_not_told(tmp_path: Path, declared: Declaration) -> None:
    assert [str(warning) for warning in declared.load(tmp_path).warnings] == []


@pytest.mark.parametrize(
    ("port", "proto", "is_told"),
    [("7777", "tcp", True), ("8000", "udp", True), ("8000", "tcp", False), ("7000:9000", "tcp", 0)],
)
def test_a_rule_for_a_port_that_the_stack_does_not_publish(
    tmp_path: Path, port: str, proto: str, *, is_told: bool
) -> None:
    declared = minimal()
    rule = {"type": "in", "action": "ACCEPT", "source": "10.0.0.50", "proto": proto, "port": port,
            "comment": "the indexer"}  # fmt: skip
    declared.stacks["shop"][0]["environments"]["production"]["firewall_rules"] = [rule]
    messages = [warning.message for warning in declared.load(tmp_path).warnings]
    assert any("publishes no port" in message for message in messages) is bool(is_told)
