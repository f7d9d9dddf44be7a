"""A run that dies after any write: the next ones finish it, on the strict double.

Each run is cut after exactly one more write, so every moment between two writes is one that a run
died in, and the next run starts from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from phoenix.proxmox import apply, guests, power, removal
from phoenix.proxmox.access import PRIVILEGES
from phoenix.proxmox.client import Client
from phoenix.proxmox.plan import Plan
from phoenix.site.model import Site
from tests.proxmox.pve import NODE, Pve, run
from tests.proxmox.test_converge import changed_site

pytestmark = pytest.mark.long
Planned = Callable[..., Plan]
ARCHIVE = "ubuntu-24.04-standard_24.04-2_amd64.tar.zst"
IMAGE = "noble-server-cloudimg-amd64.img"
MAX_WRITES = 300
Cut = Callable[..., int]


@pytest.fixture(params=["between two writes", "before the answer"])
def cut(request: pytest.FixtureRequest, client: Client) -> Cut:
    """Runs work that dies after one more write each time, until it ends; how often it died.

    Or after as many as `writes` say, in turn: a run that begins with a snapshot needs two to come
    any further.

    It dies when it is about to send its next write, or before it has an answer to the first: then
    nobody waits for the task that the write began.
    """
    at_once = request.param == "before the answer"

    def until_done(work: Callable[[], object], writes: tuple[int, ...] = (1,)) -> int:
        real, sent, most = client._send, 0, 1

        def send(method: str, path: str, values: Mapping[str, Any]) -> Any:
            nonlocal sent
            if method == "GET":
                return real(method, path, values)
            sent += 1
            if sent > most:
                raise KeyboardInterrupt
            answer = real(method, path, values)
            if at_once and sent == most:
                raise KeyboardInterrupt
            return answer

        client._send = send  # type: ignore[method-assign]
        try:
            for died in range(MAX_WRITES):
                sent, most = 0, writes[died % len(writes)]
                try:
                    work()
                except KeyboardInterrupt:
                    continue
                return died
        finally:
            client._send = real  # type: ignore[method-assign]
        raise AssertionError(f"not done after {MAX_WRITES} runs of one write each")

    return until_done


@pytest.mark.parametrize("version", ["8.4.1", "9.1.2"])
def test_from_nothing_to_guests_with_images_snapshots_availability_and_replication(
    pve: Pve, client: Client, planned: Planned, cut: Cut, version: str
) -> None:
    pve.fake.version = version
    pve.fake.add_node("second")
    pve.only(*PRIVILEGES, "Sys.Console", "VM.Replicate", "Datastore.Allocate")
    pve.fake.storages["local"]["volumes"].clear()
    image = {"url": "https://images.example/x", "sha256": "ab" * 32}
    mount = {"path": "/data", "storage": "quickOS-lxc-disks", "size_gb": 5}
    plan = planned(
        proxmox_firewall=False,
        proxmox_images={ARCHIVE: image, IMAGE: image},
        proxmox_lifecycle_snapshots=True,
        proxmox_ha_group="main",
        proxmox_ha_nodes=(f"{NODE}:2", "second"),
        proxmox_guests={103: {"replicate_to": ("second",), "mount_points": (mount,)}},
    )
    died = cut(lambda: run(client, plan))
    assert died >= 40, died
    for guest in plan.guests:
        actual = pve.guest(guest.vmid)
        assert actual.template == guest.template
        assert guest.template or (actual.status, list(actual.snapshots)) == (
            "running", ["pre-configured"],
        )  # fmt: skip
    assert [job["target"] for job in pve.fake.replication.values()] == ["second"]
    assert list(pve.fake.ha_resources) == ["ct:103", "ct:101", "ct:102", "vm:1001", "vm:1002"]
    pve.forget()
    assert not run(client, plan)
    assert pve.writes() == []
    assert pve.fake.ha_groups.keys() | pve.fake.ha_rules.keys() == {"main"}


def test_the_firewall_with_rules_of_a_person_in_it(
    pve: Pve, client: Client, planned: Planned, cut: Cut
) -> None:
    """Until every rule is there the cluster's switch is off; a person's refusal stays on top."""
    pve.fake.add_node("second")
    off = planned(proxmox_firewall=False)
    for guest in off.guests:
        guests.make(client, guest, off.settings, lambda _line: None)
    own_rule = {"type": "in", "action": "DROP", "macro": "Telnet", "enable": 1, "comment": "mine"}
    for path in (f"nodes/{NODE}/lxc/103", f"nodes/{NODE}/qemu/1001", f"nodes/{NODE}"):
        client.write("POST", f"{path}/firewall/rules", own_rule)
    scopes = planned(come_from="203.0.113.9").scopes
    few = [scope for scope in scopes if scope.vmid in (None, 103, 1001)]

    def work() -> None:
        options = client.get("cluster/firewall/options")
        rest = [scope for scope in few if scope.path != "cluster/firewall"]
        assert not int(options.get("enable", 0)) or not apply.pending(client, rest)
        apply.apply(client, few, lambda _line: None)

    assert cut(work) > 30
    for kind, where in (("ct", {"vmid": 103}), ("vm", {"vmid": 1001}), ("host", {"node": NODE})):
        rules = pve.fake.firewall_config(kind, **where)["rules"]
        assert rules[0]["comment"] == "mine"
    pve.forget()
    assert not apply.apply(client, few, lambda _line: None)
    assert pve.writes() == []
    fewer = [replace(scope, rules=scope.rules[1:]) for scope in few]
    assert cut(lambda: apply.apply(client, fewer, lambda _line: None)) >= 3
    assert not apply.apply(client, fewer, lambda _line: None)


def test_a_change_with_a_snapshot_before_it(
    site: Site, pve: Pve, client: Client, planned: Planned, cut: Cut
) -> None:
    """No snapshot of ours is left behind, whenever the run died."""
    run(client, planned(proxmox_firewall=False))
    client.write("POST", f"nodes/{NODE}/lxc/101/snapshot", {"snapname": "mine"})
    changed = changed_site(site, 101, memory_mb=6144, disk_gb=48)
    changed = changed_site(changed, 1001, cores=3)
    plan = planned(
        changed,
        proxmox_firewall=False,
        proxmox_snapshot_before_change=True,
        proxmox_guests={102: {"vlan": 7, "tags": ("edge",)}},
    )
    assert cut(lambda: run(client, plan), (1, 2, 3, 1)) >= 5
    assert list(pve.guest(101).snapshots) == ["mine"]
    assert not pve.guest(102).snapshots
    assert not pve.guest(1001).snapshots
    assert all(pve.guest(guest.vmid).status == "running" for guest in site.guests)
    pve.forget()
    assert not run(client, plan)
    assert pve.writes() == []


def test_the_removal_of_a_guest(pve: Pve, client: Client, planned: Planned, cut: Cut) -> None:
    run(client, planned(proxmox_firewall=False))
    assert cut(lambda: removal.remove(client, 103, destroy=True, log=lambda _line: None)) >= 1
    assert pve.guest(103) is None
    assert cut(lambda: removal.remove(client, 1001, destroy=False, log=lambda _line: None)) >= 1
    assert not power.runs(client, 1001)
    assert pve.guest(1001) is not None
