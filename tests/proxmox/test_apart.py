"""Guests that are to be apart, by rules of Proxmox VE 9 or groups of 8; replication's schedule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from phoenix.declaration.settings import read
from phoenix.proxmox import availability
from phoenix.proxmox.access import PRIVILEGES
from phoenix.proxmox.client import Client
from phoenix.proxmox.errors import RefusedError
from phoenix.proxmox.plan import Plan
from phoenix.proxmox.preflight import preflight
from phoenix.site.findings import ConfigError
from tests.proxmox.pve import NODE, Pve, converged, run
from tests.proxmox.test_cluster import available

Planned = Callable[..., Plan]
SECOND = "second"
APART = {"proxmox_apart": {"dns": (103, 1001)}}
PLACED = {"proxmox_guests": {1001: {"node": SECOND}}}


@pytest.fixture
def cluster(pve: Pve) -> Pve:
    """Two nodes that share all storages."""
    pve.fake.add_node(SECOND)
    for store in pve.fake.storages.values():
        store["shared"] = 1
    pve.only(*PRIVILEGES, "VM.Migrate", "Sys.Console", "VM.Replicate", "Datastore.Allocate")
    return pve


def faults(client: Client, plan: Plan) -> tuple[str, ...]:
    return preflight(client, plan.guests, plan.settings)


def test_version_9_keeps_them_apart_by_a_rule(
    cluster: Pve, client: Client, planned: Planned
) -> None:
    plan = planned(**APART, **PLACED)
    assert converged(cluster, client, plan)
    assert cluster.fake.ha_rules["dns"] == {
        "rule": "dns", "type": "resource-affinity", "affinity": "negative",
        "resources": "ct:103,vm:1001",
    }  # fmt: skip
    assert sorted(cluster.fake.ha_resources) == ["ct:103", "vm:1001"]
    cluster.forget()
    assert not run(client, plan)
    assert cluster.writes() == []


def test_a_guest_that_joins_is_added_to_the_rule(
    cluster: Pve, client: Client, planned: Planned
) -> None:
    cluster.fake.add_node("third")
    converged(cluster, client, planned(**APART, **PLACED))
    cluster.forget()
    three = {"proxmox_apart": {"dns": (103, 1001, 102)}}
    placed = {"proxmox_guests": {1001: {"node": SECOND}, 102: {"node": "third"}}}
    run_moved = planned(**three, **placed)
    cluster.guest(102).node = "third"
    assert available(client, run_moved) == [
        f"let HA manage {next(g.label for g in run_moved.guests if g.vmid == 102)}",
        "HA rule dns: add ct:102",
    ]
    assert cluster.fake.ha_rules["dns"]["resources"] == "ct:103,vm:1001,ct:102"


def test_version_8_prefers_a_node_for_each_by_groups(
    cluster: Pve, client: Client, planned: Planned
) -> None:
    cluster.fake.version = "8.4.1"
    plan = planned(**APART, **PLACED)
    assert converged(cluster, client, plan)
    nodes = {name: row["nodes"] for name, row in cluster.fake.ha_groups.items()}
    assert nodes == {
        f"dns-{NODE}": f"{NODE}:2,{SECOND}:1", f"dns-{SECOND}": f"{SECOND}:2,{NODE}:1",
    }  # fmt: skip
    of = {sid: row["group"] for sid, row in cluster.fake.ha_resources.items()}
    assert of == {"ct:103": f"dns-{NODE}", "vm:1001": f"dns-{SECOND}"}
    cluster.guest(1001).node = NODE  # high availability has moved it: its node was down
    cluster.forget()
    assert availability.writes(client, plan.guests, plan.settings) == ()
    assert list(availability.guests_sharing_a_node(client, plan.guests, plan.settings)) == []


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize("version", ["8.4.1", "9.1.2"])
def test_beside_a_group_of_all_guests(
    cluster: Pve, client: Client, planned: Planned, version: str
) -> None:
    cluster.fake.version = version
    all_of_them = {"proxmox_ha_group": "main", "proxmox_ha_nodes": (NODE, SECOND)}
    converged(cluster, client, planned(**PLACED))
    available(client, planned(**all_of_them, **PLACED))
    available(client, planned(**all_of_them, **APART, **PLACED))
    if version.startswith("9"):
        assert cluster.fake.ha_rules["dns"]["resources"] == "ct:103,vm:1001"
        assert "ct:103" in cluster.fake.ha_rules["main"]["resources"]
    else:
        of = {sid: row["group"] for sid, row in cluster.fake.ha_resources.items()}
        assert of["ct:103"] == f"dns-{NODE}"
        assert of["vm:1001"] == f"dns-{SECOND}"
        assert of["ct:101"] == "main"


def test_guests_that_share_a_node_are_refused_before_the_rule_would_move_one(
    cluster: Pve, client: Client, planned: Planned
) -> None:
    converged(cluster, client, planned())
    cluster.forget()
    (fault,) = faults(client, planned(**APART))
    assert "container 103 (step-ca) and VM 1001 (portainer) are to be on different nodes" in fault
    assert f"(proxmox_apart.dns), and are on {NODE}" in fault
    assert "fix: name another node in proxmox_guests[1001].node" in fault
    assert cluster.writes() == []
    assert faults(client, planned(**APART, **PLACED)) == (), "it moves first"


def test_guests_that_met_while_a_node_was_down_refuse_nothing(
    cluster: Pve, client: Client, planned: Planned
) -> None:
    plan = planned(**APART, **PLACED)
    converged(cluster, client, plan)
    cluster.guest(1001).node = NODE
    for vmid in (103, 1001):
        cluster.guest(vmid).ha_state = "started"
        cluster.guest(vmid).stats["ha"] = {"managed": 1}
    assert faults(client, plan) == ()


def test_a_rule_of_another_kind_is_refused(cluster: Pve, client: Client, planned: Planned) -> None:
    converged(cluster, client, planned(**PLACED))
    cluster.fake.ha_rules["dns"] = {
        "rule": "dns", "type": "node-affinity", "nodes": NODE, "resources": "ct:103",
    }  # fmt: skip
    (fault,) = faults(client, planned(**APART, **PLACED))
    assert "rule 'dns' that keeps nothing apart" in fault
    plan = planned(**APART, **PLACED)
    with pytest.raises(RefusedError):
        availability.writes(client, plan.guests, plan.settings)


def test_it_needs_the_privilege_of_high_availability(
    cluster: Pve, client: Client, planned: Planned
) -> None:
    cluster.only(*PRIVILEGES, "VM.Migrate")
    (fault,) = faults(client, planned(**APART, **PLACED))
    assert "Sys.Console on /: proxmox_apart" in fault


@pytest.mark.parametrize(
    ("members", "message"),
    [((103, 4711), "no guest has the id 4711"), ((103, 103), "103 is named twice")],
)
def test_members_are_guests_of_the_site(
    planned: Planned, members: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        planned(proxmox_apart={"dns": members})
    assert "proxmox_apart.dns" in str(caught.value)


def test_the_same_node_for_two_of_them_is_found_offline(planned: Planned) -> None:
    own = {"proxmox_guests": {103: {"node": SECOND}, 1001: {"node": SECOND}}}
    with pytest.raises(ConfigError, match="two of its guests are declared on second"):
        planned(**APART, **own)


def test_one_guest_alone_is_not_apart() -> None:
    _, (finding,) = read({"proxmox_apart": {"dns": (103,)}})
    assert (finding.severity, finding.path) == ("error", "proxmox_apart.dns")
    assert "write 2 or more" in finding.fix


def test_a_schedule_that_is_declared_is_that_of_each_job(
    cluster: Pve, client: Client, planned: Planned
) -> None:
    converged(cluster, client, planned())
    replicated: dict[str, Any] = {"proxmox_guests": {103: {"replicate_to": (SECOND,)}}}
    available(client, planned(**replicated))
    cluster.fake.replication["103-0"]["schedule"] = "*/5"
    assert available(client, planned(**replicated)) == [], "a person's own schedule stays"
    (line,) = available(client, planned(**replicated, proxmox_replication_schedule="hourly"))
    assert line.endswith("to second at hourly")
    assert cluster.fake.replication["103-0"]["schedule"] == "hourly"


def test_a_job_to_a_node_that_left_the_declaration_is_told(
    cluster: Pve, client: Client, planned: Planned
) -> None:
    cluster.fake.add_node("third")
    converged(cluster, client, planned())
    both = planned(proxmox_guests={103: {"replicate_to": (SECOND, "third")}})
    available(client, both)
    assert availability.warnings(client, both.guests) == ()
    to_third_alone = planned(proxmox_guests={103: {"replicate_to": ("third",)}})
    (line,) = availability.warnings(client, to_third_alone.guests)
    assert f"is replicated to {SECOND} as well" in line
    assert "`pvesr delete 103-0`" in line
