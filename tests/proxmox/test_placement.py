"""A guest's node changes: how it moves, what it asks for, and what refuses it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from phoenix.proxmox import guests, placement
from phoenix.proxmox.access import PRIVILEGES
from phoenix.proxmox.client import Client
from phoenix.proxmox.errors import ProxmoxError, RefusedError
from phoenix.proxmox.moving import STOPPING
from phoenix.proxmox.plan import Plan
from phoenix.proxmox.preflight import preflight
from phoenix.site.model import Site
from tests.proxmox.pve import NODE, Pve, converged, run, shut_down
from tests.proxmox.test_converge import changed_site

Planned = Callable[..., Plan]
SECOND = "second"


@pytest.fixture
def cluster(pve: Pve, client: Client, planned: Planned) -> Pve:
    """Two nodes with storages of their own; all guests are on the first one, and run."""
    pve.fake.add_node(SECOND)
    pve.only(*PRIVILEGES, "VM.Migrate", "Sys.Console", "VM.Replicate")
    converged(pve, client, planned())
    pve.forget()
    return pve


@pytest.fixture
def word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STOPPING, "1")


def on(*vmids: int, node: str = SECOND, **more: Any) -> dict[str, Any]:
    return {"proxmox_guests": {vmid: {"node": node, **more} for vmid in vmids}}


def make(client: Client, plan: Plan, vmid: int, log_lines: list[str] | None = None) -> bool:
    """The deploy's step for one guest."""
    (desired,) = (guest for guest in plan.guests if guest.vmid == vmid)
    log = (log_lines if log_lines is not None else []).append
    return guests.make(client, desired, plan.settings, log)


def lines(client: Client, plan: Plan, vmid: int) -> tuple[str, ...]:
    """Its items in a plan."""
    (desired,) = (guest for guest in plan.guests if guest.vmid == vmid)
    return guests.pending(client, desired, plan.settings)


def faults(client: Client, plan: Plan) -> tuple[str, ...]:
    return preflight(client, plan.guests, plan.settings)


def sent(pve: Pve) -> list[tuple[str, dict[str, str]]]:
    return [(path.removeprefix("nodes/"), body) for _, path, body in pve.writes()]


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize("shared", [False, True])
def test_a_vm_moves_while_it_runs(
    cluster: Pve, client: Client, planned: Planned, shared: bool
) -> None:
    for store in cluster.fake.storages.values():
        store["shared"] = int(shared)
    plan = planned(**on(1001))
    log_lines: list[str] = []
    assert faults(client, plan) == ()
    (item,) = lines(client, plan, 1001)
    assert item == f"VM 1001 (portainer) moves from node {NODE} to {SECOND}, while it runs"
    assert placement.moves_to_confirm(client, plan.guests) == ()
    assert make(client, plan, 1001, log_lines)
    local = {} if shared else {"with-local-disks": "1"}
    assert sent(cluster) == [
        (f"{NODE}/qemu/1001/migrate", {"target": SECOND, "online": "1", **local})
    ]
    assert log_lines == [item, f"VM 1001 (portainer) is on node {SECOND}, and runs"]
    assert (cluster.guest(1001).node, cluster.guest(1001).status) == (SECOND, "running")
    cluster.forget()
    assert not run(client, plan)
    assert cluster.writes() == []


def test_a_move_and_other_changes_are_all_in_the_plan(
    site: Site, cluster: Pve, client: Client, planned: Planned
) -> None:
    plan = planned(changed_site(site, 1001, memory_mb=12288), **on(1001))
    first, second = lines(client, plan, 1001)
    assert "moves from node" in first
    assert second.startswith("memory: ")
    assert make(client, plan, 1001)
    assert [path for path, _ in sent(cluster)] == [
        f"{NODE}/qemu/1001/migrate", f"{SECOND}/qemu/1001/config",
    ]  # fmt: skip


def test_a_running_container_is_stopped_only_by_the_word(
    cluster: Pve, client: Client, planned: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(**on(103))
    (fault,) = faults(client, plan)
    sentence = f"container 103 (step-ca) moves from node {NODE} to {SECOND}"
    assert fault.startswith(f"{sentence}, and would stop meanwhile: a running container moves by")
    assert "`phoenix sync --move`" in fault
    assert f"{STOPPING}=1" in fault
    assert f"node {NODE} in proxmox_guests[103].node" in fault
    assert placement.moves_to_confirm(client, plan.guests) == (f"{sentence}, and stops meanwhile",)
    with pytest.raises(RefusedError, match="would stop meanwhile"):
        make(client, plan, 103)
    assert cluster.writes() == []
    monkeypatch.setenv(STOPPING, "1")
    assert faults(client, plan) == ()
    assert lines(client, plan, 103) == (f"{sentence}, by a restart",)
    assert make(client, plan, 103)
    assert sent(cluster) == [(f"{NODE}/lxc/103/migrate", {"target": SECOND, "restart": "1"})]
    assert (cluster.guest(103).node, cluster.guest(103).status) == (SECOND, "running")


def test_a_stopped_guest_moves_without_a_word(
    cluster: Pve, client: Client, planned: Planned
) -> None:
    shut_down(client, 103)
    cluster.forget()
    plan = planned(**on(103))
    assert faults(client, plan) == ()
    assert make(client, plan, 103)
    assert sent(cluster) == [(f"{NODE}/lxc/103/migrate", {"target": SECOND})]
    assert cluster.guest(103).status == "stopped", "making a guest starts none"


def test_a_vm_whose_snapshots_stay_behind_is_shut_down_by_the_word(
    cluster: Pve, client: Client, planned: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.write("POST", f"nodes/{NODE}/qemu/1001/snapshot", {"snapname": "mine"})
    cluster.forget()
    plan = planned(**on(1001))
    (fault,) = faults(client, plan)
    assert "has snapshots on a storage that the nodes do not share" in fault
    assert "`phoenix sync --move`" in fault
    assert cluster.writes() == []
    monkeypatch.setenv(STOPPING, "1")
    assert faults(client, plan) == ()
    assert make(client, plan, 1001)
    assert [path for path, _ in sent(cluster)] == [
        f"{NODE}/qemu/1001/status/shutdown",
        f"{NODE}/qemu/1001/migrate",
        f"{SECOND}/qemu/1001/status/start",
    ]
    assert "forceStop" not in str(cluster.writes()), "no VM is forced to stop"
    assert cluster.guest(1001).status == "running"


def test_a_move_that_died_after_the_shutdown_is_finished(
    cluster: Pve, client: Client, planned: Planned, word: None
) -> None:
    client.write("POST", f"nodes/{NODE}/qemu/1001/snapshot", {"snapname": "mine"})
    cluster.fake.fail("POST", f"/nodes/{NODE}/qemu/1001/migrate", 500, "no route", times=1)
    plan = planned(**on(1001))
    with pytest.raises(ProxmoxError, match="no route"):
        make(client, plan, 1001)
    assert cluster.guest(1001).status == "stopped"
    assert run(client, plan)
    assert (cluster.guest(1001).node, cluster.guest(1001).status) == (SECOND, "running")


def test_a_guest_that_does_not_run_after_its_move_is_told(
    cluster: Pve, client: Client, planned: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guests, "start", lambda *_: True)
    monkeypatch.setattr(guests, "runs", lambda *_: False)
    with pytest.raises(ProxmoxError, match=r"has moved from node .* and does not run there"):
        make(client, planned(**on(1001)), 1001)


def test_storages_of_the_new_node_are_checked_before_anything_is_touched(
    cluster: Pve, client: Client, planned: Planned, word: None
) -> None:
    cluster.fake.storages["quickOS-lxc-disks"]["nodes"] = NODE
    (fault,) = faults(client, planned(**on(103)))
    assert fault.startswith(f"storage 'quickOS-lxc-disks' is disabled on node {SECOND}")
    assert f"see that its nodes include {SECOND}" in fault
    del cluster.fake.storages["quickOS-lxc-disks"]["nodes"]
    cluster.fake.storages["quickOS-vm-disks"]["avail"] = 2**30
    (fault,) = faults(client, planned(**on(1001)))
    assert f"'quickOS-vm-disks' of node {SECOND} has 1.0 GiB free" in fault
    cluster.fake.storages["quickOS-vm-disks"]["shared"] = 1
    assert faults(client, planned(**on(1001))) == (), "what is shared is not copied"
    assert cluster.writes() == []


@pytest.mark.parametrize(
    ("vmid", "key", "value", "reason"),
    [
        (103, "mp0", "/tank/media,mp=/media", f"mp0 is /tank/media of node {NODE}"),
        (1001, "hostpci0", "0000:01:00.0", f"hostpci0 is a device of node {NODE}"),
        (1001, "usb0", "host=1-2", "usb0 is a device"),
        (1001, "ide3", "local:iso/a.iso,media=cdrom", "ide3 holds a CD image"),
    ],
)
def test_what_one_node_alone_has_refuses_a_move(
    cluster: Pve,
    client: Client,
    planned: Planned,
    word: None,
    vmid: int,
    key: str,
    value: str,
    reason: str,
) -> None:
    cluster.guest(vmid).config[key] = value
    plan = planned(**on(vmid))
    refusals = [fault for fault in faults(client, plan) if "would refuse it" in fault]
    assert len(refusals) == 1, refusals
    assert reason in refusals[0]
    assert "fix: " in refusals[0]
    assert placement.moves_to_confirm(client, plan.guests) == (), "no word helps"
    assert cluster.writes() == []


@pytest.mark.parametrize(
    ("vmid", "key", "value"),
    [
        (103, "mp0", "/tank/media,mp=/media,shared=1"),
        (1001, "hostpci0", "mapping=gpu"),
        (1001, "usb0", "spice"),
        (1001, "ide3", "none,media=cdrom"),
    ],
)
def test_what_every_node_has_refuses_no_move(
    cluster: Pve, client: Client, planned: Planned, word: None, vmid: int, key: str, value: str
) -> None:
    cluster.guest(vmid).config[key] = value
    plan = planned(**on(vmid))
    assert faults(client, plan) == ()
    assert make(client, plan, vmid)
    assert cluster.guest(vmid).node == SECOND


def test_snapshots_on_lvm_thin_keep_a_container_where_it_is(
    cluster: Pve, client: Client, planned: Planned, word: None
) -> None:
    client.write("POST", f"nodes/{NODE}/lxc/103/snapshot", {"snapname": "mine"})
    cluster.forget()
    cluster.fake.storages["quickOS-lxc-disks"]["type"] = "lvmthin"
    (fault,) = faults(client, planned(**on(103)))
    assert "a storage of type lvmthin copies none to another node" in fault
    cluster.fake.storages["quickOS-lxc-disks"]["type"] = "zfspool"
    assert make(client, planned(**on(103)), 103)


def test_high_availability_decides_about_its_guests(
    cluster: Pve, client: Client, planned: Planned
) -> None:
    cluster.guest(103).stats["ha"] = {"managed": 1}
    cluster.guest(103).ha_state = "started"
    plan = planned(**on(103))
    assert faults(client, plan) == ()
    assert not make(client, plan, 103)
    (line,) = placement.warnings(client, plan.guests)
    assert "stays on node" in line
    assert f"`ha-manager migrate ct:103 {SECOND}`" in line
    assert cluster.writes() == []


def test_a_template_stays_and_is_told(cluster: Pve, client: Client, planned: Planned) -> None:
    plan = planned(**on(900))
    assert faults(client, plan) == ()
    assert not make(client, plan, 900)
    (line,) = placement.warnings(client, plan.guests)
    assert line.endswith("a template is not moved")


def test_a_node_that_is_down_gets_no_guest(cluster: Pve, client: Client, planned: Planned) -> None:
    cluster.fake.set_node_offline(SECOND)
    plan = planned(**on(1001))
    assert faults(client, plan) == ()
    assert not run(client, plan)
    assert cluster.writes() == []


def test_a_guest_of_a_person_is_not_moved_without_leave(
    cluster: Pve, client: Client, planned: Planned
) -> None:
    for key in ("tags", "description"):
        del cluster.guest(1001).config[key]
    (fault,) = faults(client, planned(**on(1001)))
    assert "was not made by Phoenix" in fault
    assert "proxmox_adopt" in fault
    adopting = planned(**on(1001), proxmox_adopt=(1001,))
    assert faults(client, adopting) == ()
    assert make(client, adopting, 1001)
    assert cluster.guest(1001).node == SECOND


def test_a_move_needs_a_privilege_of_its_own(
    cluster: Pve, client: Client, planned: Planned
) -> None:
    cluster.only(*PRIVILEGES)
    (fault,) = faults(client, planned(**on(1001)))
    assert "VM.Migrate on /vms/1001: to move VM 1001 (portainer) to its node" in fault
    assert faults(client, planned()) == ()


def test_a_clone_of_another_nodes_template_is_made_there_and_moves_before_its_first_start(
    pve: Pve, client: Client, planned: Planned
) -> None:
    pve.fake.add_node(SECOND)
    pve.only(*PRIVILEGES, "VM.Migrate")
    run(client, planned(**on(103, 1001)))
    for vmid, kind in ((103, "lxc"), (1001, "qemu")):
        own = [path for path, _ in sent(pve) if f"/{vmid}/" in path and "firewall" not in path]
        assert own[0] == f"{NODE}/{kind}/{vmid}/migrate", own
        assert own[-1] == f"{SECOND}/{kind}/{vmid}/status/start", own
        assert pve.guest(vmid).node == SECOND
    pve.forget()
    assert not run(client, planned(**on(103, 1001)))


def test_without_a_node_of_its_own_a_clone_stays_on_its_templates_node_or_is_refused(
    cluster: Pve, client: Client, planned: Planned
) -> None:
    cluster.fake.cts.remove(cluster.guest(103))
    (fault,) = faults(client, planned(proxmox_node=SECOND))
    assert "is not shared by them" in fault
    assert "fix: name the node in proxmox_guests[103].node" in fault
    assert cluster.writes() == []


def test_a_guest_that_is_replicated_moves_to_its_replica(
    cluster: Pve, client: Client, planned: Planned
) -> None:
    run(client, planned(**on(1001, node=NODE, replicate_to=(SECOND,))))
    after = planned(**on(1001, replicate_to=(NODE,)))
    assert faults(client, after) == ()
    assert run(client, after)
    assert cluster.guest(1001).node == SECOND
    cluster.forget()
    assert not run(client, after), "the job copies back by itself"
