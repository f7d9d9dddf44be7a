"""Guests on the fake: from nothing to the declared state, and nothing more the second time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import pytest

from phoenix.proxmox import guests, power, values
from phoenix.proxmox.client import Client
from phoenix.proxmox.converge import Options, converge
from phoenix.proxmox.errors import ProxmoxError, RefusedError
from phoenix.proxmox.plan import Plan
from phoenix.proxmox.preflight import preflight
from phoenix.site.model import FirewallRule, Site
from tests.proxmox.conftest import KEY
from tests.proxmox.pve import NODE, Pve, converged, run

Planned = Callable[..., Plan]


def changed_site(site: Site, vmid: int, **update: Any) -> Site:
    """The site with one guest's fields changed, wherever a service refers to it."""
    guests = tuple(
        guest.model_copy(update=update) if guest.vmid == vmid else guest for guest in site.guests
    )
    by_name = {guest.name: guest for guest in guests}
    services = tuple(
        service.model_copy(update={"owner": by_name.get(service.owner.name, service.owner)})
        for service in site.services
    )
    return site.model_copy(update={"guests": guests, "services": services})


def test_from_nothing_to_five_guests_and_then_no_write(
    site: Site, pve: Pve, client: Client, planned: Planned
) -> None:
    output: list[str] = []
    assert run(client, planned(), output.append)
    requests = [path for _, path, _ in pve.writes() if path.endswith("/status/start")]
    started = [int(path.split("/")[3]) for path in requests]
    assert started == [guest.vmid for guest in site.guests], requests
    for guest in site.guests:
        actual = pve.guest(guest.vmid)
        observed = (guest.name, actual.status, actual.config)
        net = values.parse_nic(actual.config["net0"])
        assert actual.status == "running", observed
        assert guest.mac in (None, net["hwaddr"]), observed
        assert (net["bridge"], net["firewall"]) == (guest.bridge, "1"), observed
        assert int(actual.config["memory"]) == guest.memory_mb, observed
        assert int(actual.config["cores"]) == guest.cores, observed
        startup = values.parse(actual.config["startup"])
        assert startup == {"order": str(guest.boot_order), "up": str(guest.boot_delay)}, observed
        address = net if guest.kind == "lxc" else values.parse(actual.config["ipconfig0"])
        assert address["ip"] == f"{guest.address}/{guest.prefixlen}", observed
        assert address["gw"] == str(guest.gateway), observed
        disk = actual.config["rootfs" if guest.kind == "lxc" else "scsi0"]
        assert values.parse(disk, "volume")["size"] == f"{guest.disk_gb}G", observed
        assert disk.startswith(f"{guest.storage_pool}:"), observed
        if guest.kind == "vm":
            assert unquote(actual.config["sshkeys"]) == KEY, observed
            assert actual.config["ciuser"] == guest.username, observed
    assert pve.guest(900).template
    assert pve.guest(9000).template
    pve.forget()
    assert not run(client, planned())
    assert pve.writes() == []


def test_keys_are_encoded_once_for_the_form_and_once_for_the_api(
    pve: Pve, client: Client, planned: Planned
) -> None:
    converged(pve, client, planned())
    sent = [body["sshkeys"] for _, _, body in pve.writes() if "sshkeys" in body]
    assert sent
    assert all(text.startswith("ssh-ed25519%20AAAA") for text in sent), sent


@pytest.mark.fast_cases(3)
@pytest.mark.parametrize(
    ("vmid", "update", "expected"),
    [
        (101, {"memory_mb": 6144}, ("PUT", "lxc/101/config", {"memory": "6144"})),
        (102, {"cores": 3}, ("PUT", "lxc/102/config", {"cores": "3"})),
        (103, {"swap_mb": 0}, ("PUT", "lxc/103/config", {"swap": "0"})),
        (101, {"disk_gb": 40}, ("PUT", "lxc/101/resize", {"disk": "rootfs", "size": "40G"})),
        (1001, {"disk_gb": 48}, ("PUT", "qemu/1001/resize", {"disk": "scsi0", "size": "48G"})),
        (1002, {"memory_mb": 8192}, ("PUT", "qemu/1002/config", {"memory": "8192"})),
        (103, {"boot_order": 9}, ("PUT", "lxc/103/config", {"startup": "order=9,up=5"})),
        (1002, {"start_at_boot": False}, ("PUT", "qemu/1002/config", {"onboot": "0"})),
    ],
)
def test_one_change_is_the_smallest_write(
    site: Site,
    pve: Pve,
    client: Client,
    planned: Planned,
    vmid: int,
    update: dict[str, Any],
    expected: tuple[str, str, dict[str, str]],
) -> None:
    converged(pve, client, planned())
    pve.forget()
    after = planned(changed_site(site, vmid, **update))
    assert run(client, after)
    sent = [
        (
            method,
            path.removeprefix(f"nodes/{NODE}/"),
            {k: v for k, v in body.items() if k != "digest"},
        )
        for method, path, body in pve.writes()
    ]
    assert sent == [expected]
    pve.forget()
    assert not run(client, after)
    assert pve.writes() == []


def test_one_tag_and_one_rule_are_one_write_each(
    site: Site, pve: Pve, client: Client, planned: Planned
) -> None:
    converged(pve, client, planned())
    pve.forget()
    run(client, planned(proxmox_guests={"101": {"tags": ("edge",)}}))
    assert [(m, p, b["tags"]) for m, p, b in pve.writes()] == [
        ("PUT", f"nodes/{NODE}/lxc/101/config", "edge;nginx;phoenix")
    ]
    pve.forget()
    rule = FirewallRule(
        direction="in", action="ACCEPT", proto="tcp", ports="9100", source=site.network,
        destination=None, comment="metrics",
    )  # fmt: skip
    with_rule = changed_site(site, 103, firewall_rules=(rule,))
    tags = {"proxmox_guests": {"101": {"tags": ("edge",)}}}
    run(client, planned(with_rule, **tags))
    sent = {"type": "in", "action": "ACCEPT", "enable": "1", "comment": "phoenix: metrics"}
    sent |= {"proto": "tcp", "dport": "9100", "source": "10.0.0.0/24"}
    assert pve.writes() == [("POST", f"nodes/{NODE}/lxc/103/firewall/rules", sent)]


def test_what_a_person_set_elsewhere_stays(pve: Pve, client: Client, planned: Planned) -> None:
    converged(pve, client, planned())
    config = pve.guest(101).config
    config["net0"] += ",rate=20"
    config["tags"] += ";important"
    config["features"] = "keyctl=1,nesting=1"
    config["description"] = "a person's words"
    config["cpulimit"] = 3
    pve.forget()
    assert not run(client, planned()), pve.writes()
    config["features"] = "keyctl=1"
    run(client, planned(proxmox_guests={101: {"vlan": 7}}))
    after = pve.guest(101).config | pve.guest(101).pending  # features wait for a restart
    assert values.parse_nic(after["net0"])["rate"] == "20", after
    assert values.parse_nic(after["net0"])["tag"] == "7", after
    features = values.parse(after["features"])
    assert features == {"keyctl": "1", "nesting": "1"}, after
    assert after["description"] == "a person's words"
    assert "important" in after["tags"]


def test_a_guest_that_is_as_declared_is_read_once(
    pve: Pve, client: Client, planned: Planned
) -> None:
    converged(pve, client, planned())
    plan = planned()
    desired = next(guest for guest in plan.guests if guest.vmid == 103)
    pve.forget()
    assert not guests.make(client, desired, plan.settings, lambda _: None)
    of_guest = f"nodes/{NODE}/lxc/103"
    asked = [path.removeprefix("/api2/json/").partition("?")[0] for _, path, _ in pve.fake.requests]
    assert asked == [
        "cluster/resources", *(f"{of_guest}/{part}" for part in ("config", "pending")),
        f"{of_guest}/status/current",
    ]  # fmt: skip


def test_a_disk_never_shrinks(site: Site, pve: Pve, client: Client, planned: Planned) -> None:
    converged(pve, client, planned())
    pve.forget()
    assert not run(client, planned(changed_site(site, 101, disk_gb=20)))
    assert pve.writes() == []


def test_mount_points_are_made_once_and_grown(pve: Pve, client: Client, planned: Planned) -> None:
    mount = {"path": "/data", "storage": "quickOS-lxc-disks", "size_gb": 5}
    run(client, planned(proxmox_guests={103: {"mount_points": (mount,)}}))
    started = values.parse(pve.guest(103).config["mp0"], "volume")
    assert (started["mp"], started["size"], started["backup"]) == ("/data", "5G", "1"), started
    pve.forget()
    assert not run(client, planned(proxmox_guests={103: {"mount_points": (mount,)}}))
    run(client, planned(proxmox_guests={103: {"mount_points": ({**mount, "size_gb": 9},)}}))
    assert [path for _, path, _ in pve.writes()] == [f"nodes/{NODE}/lxc/103/resize"]


def test_a_guest_made_by_hand_is_refused_with_the_difference_or_adopted(
    pve: Pve, client: Client, planned: Planned
) -> None:
    plan = planned()
    config = {
        "hostname": "Step-CA", "memory": 2048, "cores": 2, "swap": 512, "unprivileged": 1,
        "net0": "name=eth0,bridge=vmbr1,hwaddr=52:54:00:AA:BB:CA,ip=dhcp",
        "rootfs": "quickOS-lxc-disks:subvol-103-disk-0,size=16G",
    }  # fmt: skip
    pve.fake.add_ct(103, "Step-CA", node=NODE, status="running", config=config)
    desired = next(guest for guest in plan.guests if guest.vmid == 103)
    faults = preflight(client, plan.guests, plan.settings)
    assert len(faults) == 1, faults
    assert "memory: 2048 -> 1024" in faults[0], faults[0]
    assert "bridge=vmbr1" in faults[0]
    assert "proxmox_adopt" in faults[0]
    with pytest.raises(RefusedError):
        converge(client, desired, Options())
    assert pve.writes() == []
    adopting = Options(adopt=frozenset({103}))
    assert converge(client, desired, adopting)
    assert not [m for m, _, _ in pve.writes() if m in ("POST", "DELETE")], pve.writes()
    after = pve.guest(103)
    assert values.parse_nic(after.config["net0"])["bridge"] == "vmbr0"
    assert (after.status, after.config["memory"]) == ("running", 1024)
    pve.forget()
    assert not converge(client, desired, Options()), "once adopted, it is ours"


def test_an_equal_guest_made_by_hand_needs_no_leave(
    pve: Pve, client: Client, planned: Planned
) -> None:
    plan = planned()
    converged(pve, client, plan)
    for key in ("tags", "description"):
        del pve.guest(103).config[key]
    assert preflight(client, plan.guests, plan.settings) == ()


def test_another_kind_of_guest_is_refused(pve: Pve, client: Client, planned: Planned) -> None:
    pve.fake.add_vm(103, "something-else", node=NODE)
    faults = preflight(client, planned().guests, planned(proxmox_adopt=(103,)).settings)
    assert len(faults) == 1, faults
    assert "qemu guest 103 (something-else)" in faults[0]


def test_a_guest_on_another_node_is_managed_there(
    site: Site, pve: Pve, client: Client, planned: Planned
) -> None:
    pve.fake.add_node("second")
    converged(pve, client, planned())
    pve.guest(102).node = "second"
    pve.forget()
    assert not run(client, planned()), pve.writes()
    run(client, planned(changed_site(site, 102, memory_mb=3072)))
    assert [path for _, path, _ in pve.writes()] == ["nodes/second/lxc/102/config"]


@pytest.mark.long
def test_a_run_that_died_between_any_two_writes_is_finished(
    pve: Pve, client: Client, planned: Planned
) -> None:
    """Cut off after 1, 2, 3, ... writes: the next run ends at the same state."""
    plan, real, runs = planned(), client.write, 0
    budget = iter(range(0))

    def limited(method: str, path: str, data: Any = None) -> None:
        if next(budget, None) is None:
            raise KeyboardInterrupt
        real(method, path, data)

    client.write = limited  # type: ignore[method-assign]
    for runs in range(1, 100):
        budget = iter(range(runs % 4 + 1))
        try:
            run(client, plan)
        except KeyboardInterrupt:
            continue
        break
    assert runs > 20, runs
    client.write = real  # type: ignore[method-assign]
    pve.forget()
    assert not run(client, plan), pve.writes()
    assert {guest.vmid for guest in plan.guests} == {900, 9000, 101, 102, 103, 1001, 1002}


@pytest.mark.long
def test_a_run_that_died_after_any_request_was_sent_is_finished(
    pve: Pve, client: Client, planned: Planned
) -> None:
    """Nobody waited for the task that the last request began."""
    plan, real, runs = planned(), client._send, 0
    budget = iter(range(0))

    def limited(method: str, path: str, values: Any) -> Any:
        answer = real(method, path, values)
        if method != "GET" and next(budget, None) is None:
            raise KeyboardInterrupt
        return answer

    client._send = limited  # type: ignore[method-assign]
    for runs in range(1, 100):
        budget = iter(range(runs % 5))
        try:
            run(client, plan)
        except KeyboardInterrupt:
            continue
        break
    assert runs > 15, runs
    client._send = real  # type: ignore[method-assign]
    pve.forget()
    assert not run(client, plan), pve.writes()
    assert all(pve.guest(guest.vmid).status == "running" for guest in plan.guests[2:])


def test_a_guest_that_is_still_being_created_is_waited_for(
    pve: Pve, client: Client, planned: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its run was ended while the hypervisor unpacked the archive."""
    plan = planned()
    template = plan.guests[0]
    converge(client, template, Options())
    guest = pve.guest(template.vmid)
    done = dict(guest.config)
    guest.config.clear()
    guest.config.update(lock="create")
    task = next(t for t in pve.fake.tasklog if t["type"] == "vzcreate")
    ended = {key: task.pop(key) for key in ("exitstatus", "endtime")}
    task["status"] = "running"
    lines: list[str] = []
    assert preflight(client, plan.guests, plan.settings) == ()

    def finish(_seconds: float) -> None:
        task.update(ended, status="stopped")
        guest.config.clear()
        guest.config.update(done)

    monkeypatch.setattr(client, "_sleep", finish)
    assert converge(client, template, Options(), lines.append)
    assert lines == [f"wait until {template.label} is created"]


def test_a_failed_change_goes_back_to_the_snapshot(
    pve: Pve, client: Client, planned: Planned
) -> None:
    converged(pve, client, planned())
    before = dict(pve.guest(103).config)

    def change_and_fail() -> None:
        with power.restore_point(client, 103, lambda _line: None):
            client.write("PUT", f"nodes/{NODE}/lxc/103/config", {"memory": 4096})
            raise RefusedError("broken")

    with pytest.raises(RefusedError, match="rolled back"):
        change_and_fail()
    after = pve.guest(103)
    assert (after.config["memory"], after.status) == (before["memory"], "running"), after.config
    assert after.snapshots == {}


def test_a_snapshot_around_a_change_and_one_of_a_new_guest(
    site: Site, pve: Pve, client: Client, planned: Planned
) -> None:
    both = {"proxmox_snapshot_before_change": True, "proxmox_lifecycle_snapshots": True}

    def make(plan: Plan) -> list[bool]:
        return [
            guests.make(client, guest, plan.settings, lambda _line: None) for guest in plan.guests
        ]

    assert all(make(planned(**both)))
    assert list(pve.guest(103).snapshots) == ["pre-configured"]
    assert not pve.guest(900).snapshots
    pve.forget()
    assert not any(make(planned(**both)))
    assert pve.writes() == []
    more = planned(changed_site(site, 103, memory_mb=2048), **both)
    assert make(more).count(True) == 1
    sent = [(method, path.split("/lxc/103/")[1].split("-")[0]) for method, path, _ in pve.writes()]
    assert sent == [
        ("POST", "snapshot"), ("PUT", "config"), ("DELETE", "snapshot/phoenix"),
    ]  # fmt: skip
    power.start(client, 103)
    pve.fake.fail("PUT", f"/nodes/{NODE}/lxc/103/config", 500, "no such device")
    with pytest.raises(ProxmoxError, match=r"no such device(?s:.)*was rolled back"):
        make(planned(**both))
    assert list(pve.guest(103).snapshots) == ["pre-configured"]
    assert pve.guest(103).status == "running"


def test_a_first_snapshot_that_failed_is_taken_by_the_next_run(
    pve: Pve, client: Client, planned: Planned
) -> None:
    plan = planned(proxmox_lifecycle_snapshots=True)

    def make() -> None:
        for guest in plan.guests:
            guests.make(client, guest, plan.settings, lambda _line: None)

    pve.fake.fail("POST", f"/nodes/{NODE}/lxc/103/snapshot", 500, "no space left", times=1)
    with pytest.raises(ProxmoxError, match="no space left"):
        make()
    assert pve.guest(103).snapshots == {}
    make()
    assert list(pve.guest(103).snapshots) == ["pre-configured"]
    assert "snapshot" not in pve.guest(103).config["description"]
    client.write("DELETE", f"nodes/{NODE}/lxc/103/snapshot/pre-configured")
    pve.forget()
    make()
    assert pve.writes() == [], "a snapshot that a person removed is not taken again"


def test_a_source_that_is_no_template_is_cloned_from_its_snapshot(
    pve: Pve, client: Client, planned: Planned
) -> None:
    """As on the original system: 900 is an ordinary container with a snapshot."""
    pve.fake.add_ct(
        900, "copy-base", node=NODE, status="running",
        config={"rootfs": "quickOS-lxc-disks:subvol-900-disk-0,size=16G"},
    )  # fmt: skip
    client.write("POST", f"nodes/{NODE}/lxc/900/snapshot", {"snapname": "final-form"})
    pve.forget()
    run(client, planned())
    clones = [body for _, path, body in pve.writes() if path.endswith("lxc/900/clone")]
    assert [body["snapname"] for body in clones] == ["final-form"] * 3, clones
    assert not pve.guest(900).template


def test_one_guest_gets_a_first_snapshot_by_its_own_entry(
    site: Site, pve: Pve, client: Client, planned: Planned
) -> None:
    plan = planned(changed_site(site, 103, first_snapshot=True))
    for guest in plan.guests:
        guests.make(client, guest, plan.settings, lambda _line: None)
    snapshots = {vmid: list(pve.guest(vmid).snapshots) for vmid in (102, 103)}
    assert snapshots == {102: [], 103: ["pre-configured"]}


def test_a_smaller_disk_is_told_and_nothing_is_written(
    site: Site, pve: Pve, client: Client, planned: Planned
) -> None:
    converged(pve, client, planned())
    pve.forget()
    smaller = planned(changed_site(site, 101, disk_gb=8))
    (guest,) = [candidate for candidate in smaller.guests if candidate.vmid == 101]
    assert not run(client, smaller)
    assert pve.writes() == []
    (remark,) = guests.remarks(client, guest, smaller.settings)
    assert "rootfs has 32 GiB, 8 GiB are declared: a disk is never shrunk" in remark
    assert "fix: declare 32; or make a smaller guest beside it, and move" in remark
    (same,) = [candidate for candidate in planned().guests if candidate.vmid == 101]
    assert guests.remarks(client, same, smaller.settings) == ()
