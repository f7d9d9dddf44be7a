"""Several nodes: guests on each of them, and what goes on while one is down."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from phoenix.proxmox import apply, nodes, power
from phoenix.proxmox.client import Client
from phoenix.proxmox.plan import Plan
from phoenix.proxmox.preflight import firewall, preflight
from phoenix.site.model import Site
from tests.proxmox.pve import NODE, Pve, converged, listening, run
from tests.proxmox.test_converge import changed_site

Planned = Callable[..., Plan]
SECOND = "second"


@pytest.fixture
def cluster(pve: Pve) -> Pve:
    """Two nodes that share all storages."""
    pve.fake.add_node(SECOND)
    for store in pve.fake.storages.values():
        store["shared"] = 1
    return pve


def on(*vmids: int, node: str = SECOND) -> dict[str, Any]:
    return {"proxmox_guests": {vmid: {"node": node} for vmid in vmids}}


def run_within_reach(client: Client, plan: Plan) -> bool:
    """A run of the deploy: the guests that wait for a node are left out of it."""
    waiting = nodes.out_of_reach(client, plan.guests)
    own = tuple(guest for guest in plan.guests if guest.vmid not in waiting)
    return run(client, Plan(plan.settings, own, plan.scopes, plan.refused, plan.needed))


def test_a_guest_is_made_and_started_on_its_node(
    cluster: Pve, client: Client, planned: Planned
) -> None:
    plan = planned(**on(103, 1001))
    run(client, plan)
    places = {guest.vmid: cluster.guest(guest.vmid).node for guest in plan.guests}
    assert {vmid for vmid, node in places.items() if node == SECOND} == {103, 1001}, places
    assert cluster.guest(103).status == cluster.guest(1001).status == "running"
    assert f"nodes/{SECOND}/lxc/103/status/start" in [path for _, path, _ in cluster.writes()]
    cluster.forget()
    assert not run(client, plan)
    assert cluster.writes() == []


def test_a_node_that_is_down_is_named_with_its_guests_and_the_rest_goes_on(
    site: Site, cluster: Pve, client: Client, planned: Planned
) -> None:
    converged(cluster, client, planned(**on(103)))
    cluster.fake.set_node_offline(SECOND)
    cluster.forget()
    more = changed_site(changed_site(site, 103, memory_mb=2048), 102, memory_mb=3072)
    plan = planned(more, **on(103))
    (line,) = nodes.warnings(client, plan.guests, plan.settings)
    assert line.startswith(f"node {SECOND} is down: ")
    assert "is not moved there" not in line, "its guest is there, as the cluster knows it"
    waiting = nodes.out_of_reach(client, plan.guests)
    assert list(waiting) == [103]
    assert waiting[103].endswith(f"is on node {SECOND}, which is down")
    assert preflight(client, plan.guests, plan.settings) == ()
    assert firewall(client, plan.scopes, plan.needed, listening(client), plan.settings) == ()
    assert run_within_reach(client, plan)
    assert [path for _, path, _ in cluster.writes()] == [f"nodes/{NODE}/lxc/102/config"]
    asked = [path for _, path, _ in cluster.fake.requests if f"/nodes/{SECOND}/" in path]
    assert asked == [], "a node that is down is asked for nothing"


def test_a_guest_that_is_to_be_made_on_a_node_that_is_down_waits(
    cluster: Pve, client: Client, planned: Planned
) -> None:
    converged(cluster, client, planned())
    for vmid in (103, 1001):
        kind = "cts" if vmid == 103 else "vms"
        getattr(cluster.fake, kind).remove(cluster.guest(vmid))
    cluster.fake.set_node_offline(SECOND)
    plan = planned(**on(103))
    assert nodes.out_of_reach(client, plan.guests) == {
        103: f"container 103 (step-ca) is to be made on node {SECOND}, which is down"
    }
    assert run_within_reach(client, plan)
    assert cluster.guest(103) is None
    assert cluster.guest(1001).status == "running"


def test_what_is_cloned_from_a_guest_of_a_node_that_is_down_waits(
    cluster: Pve, client: Client, planned: Planned
) -> None:
    run(client, planned(proxmox_guests={900: {"node": SECOND}}))
    assert cluster.guest(900).node == SECOND
    cluster.fake.cts.remove(cluster.guest(103))
    cluster.fake.set_node_offline(SECOND)
    plan = planned(proxmox_guests={900: {"node": SECOND}})
    waiting = nodes.out_of_reach(client, plan.guests)
    assert set(waiting) == {900, 103}
    assert "cloned from 900, which is on node second, which is down" in waiting[103]
    assert run_within_reach(client, plan) is False
    cluster.fake.set_node_offline(SECOND, False)
    assert run(client, plan)
    assert cluster.guest(103).status == "running"


def test_rules_of_a_node_that_is_down_wait_and_those_of_the_others_do_not(
    cluster: Pve, client: Client, planned: Planned
) -> None:
    converged(cluster, client, planned())
    cluster.fake.set_node_offline(SECOND)
    flow = {"node": SECOND, "port": "2049", "comment": "NFS"}
    scopes = apply.placed(client, planned(proxmox_node_flows=[flow]).scopes)
    assert not [scope.path for scope in scopes if SECOND in scope.path]
    cluster.fake.set_node_offline(SECOND, False)
    scopes = apply.placed(client, planned(proxmox_node_flows=[flow]).scopes)
    assert f"nodes/{SECOND}/firewall" in [scope.path for scope in scopes]


def test_power_is_asked_of_the_node_that_has_the_guest(
    cluster: Pve, client: Client, planned: Planned
) -> None:
    converged(cluster, client, planned(**on(103)))
    assert power.runs(client, 103)
    asked = [path for _, path, _ in cluster.fake.requests if path.endswith("103/status/current")]
    assert asked[-1] == f"/api2/json/nodes/{SECOND}/lxc/103/status/current"
