"""Nodes and storages as people have them: what does not fit is named before the first write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from phoenix.proxmox import values
from phoenix.proxmox.client import Client
from phoenix.proxmox.errors import ProxmoxError
from phoenix.proxmox.plan import Plan
from phoenix.proxmox.preflight import preflight
from tests.proxmox.pve import NODE, Pve, run

Planned = Callable[..., Plan]
DISKS = ("quickOS-lxc-disks", "quickOS-vm-disks")
TYPES: dict[str, dict[str, Any]] = {
    "dir": {"path": "/srv/disks"},
    "nfs": {"path": "/mnt/pve/disks", "server": "10.0.0.9", "export": "/disks"},
    "zfspool": {"pool": "rpool"},
    "lvmthin": {"vgname": "pve", "thinpool": "data"},
}


def faults(client: Client, plan: Plan) -> tuple[str, ...]:
    return preflight(client, plan.guests, plan.settings)


def test_local_without_import_is_told_with_its_command(
    pve: Pve, client: Client, planned: Planned
) -> None:
    """As a new Proxmox VE has it; the image lies there, and the API does not list it."""
    pve.fake.storages["local"]["content"] = "iso,vztmpl,backup"
    image = {"url": "https://images.example/noble.img", "sha256": "ab" * 32}
    for plan in (
        planned(),
        planned(proxmox_images={"noble-server-cloudimg-amd64.img": image}),
    ):
        (fault,) = faults(client, plan)
        assert "pvesm set local --content iso,vztmpl,backup,import" in fault
    assert pve.writes() == []


@pytest.mark.parametrize(
    ("change", "said"),
    [({"disable": 1}, "is disabled on node"), ({"active": 0}, "is not active")],
)
@pytest.mark.parametrize("storage", ["local", "quickOS-lxc-disks"])
def test_a_storage_that_is_off_is_told(
    pve: Pve, client: Client, planned: Planned, storage: str, change: dict[str, int], said: str
) -> None:
    pve.fake.storages[storage].update(change)
    (fault,) = faults(client, planned())
    assert f"storage {storage!r} {said}" in fault.replace(f"of node {NODE} ", "")
    assert pve.writes() == []


def test_a_storage_that_never_takes_archives_is_told(
    pve: Pve, client: Client, planned: Planned
) -> None:
    (fault,) = faults(client, planned(proxmox_template_storage="quickOS-lxc-disks"))
    assert "of type zfspool, which never takes vztmpl" in fault
    assert "proxmox_template_storage" in fault


def test_a_storage_that_is_not_there_is_told(pve: Pve, client: Client, planned: Planned) -> None:
    (fault,) = faults(client, planned(proxmox_image_storage="nope"))
    assert "no storage 'nope' (it has local" in fault
    assert "proxmox_image_storage" in fault
    mounts = {103: {"mount_points": ({"path": "/data", "storage": "gone", "size_gb": 5},)}}
    (fault,) = faults(client, planned(proxmox_guests=mounts))
    assert "change proxmox_guests[103].mount_points" in fault
    with pytest.raises(ProxmoxError, match="pvesm status"):
        client.get(f"nodes/{NODE}/storage/nope/content")


def test_a_node_that_is_not_there_is_told_with_those_that_are(
    pve: Pve, client: Client, planned: Planned
) -> None:
    pve.fake.add_node("second")
    (fault,) = faults(client, planned(proxmox_node="pve"))
    assert f"the cluster has no node 'pve': its nodes are {NODE}, second" in fault
    assert "fix: set proxmox_node" in fault
    with pytest.raises(ProxmoxError, match=r"no node 'pve'.*pvecm nodes"):
        client.get("nodes/pve/storage")
    fault, privilege = faults(client, planned(proxmox_guests={103: {"replicate_to": ("third",)}}))
    assert "VM.Replicate" in privilege
    assert "fix: set proxmox_guests[103].replicate_to" in fault
    pve.fake.set_node_offline("second")
    (fault,) = faults(client, planned(proxmox_guests={103: {"node": "second"}}))
    assert "node 'second' is down" in fault
    assert pve.writes() == []


@pytest.mark.parametrize("setting", ["lifecycle_snapshots", "snapshot_before_change"])
@pytest.mark.parametrize("kind", ["dir", "nfs"])
def test_snapshots_where_a_storage_has_none_are_refused_before_the_first_write(
    pve: Pve, client: Client, planned: Planned, kind: str, setting: str
) -> None:
    if setting == "snapshot_before_change":
        run(client, planned())
        pve.forget()
    pve.fake.storages["quickOS-lxc-disks"].update(type=kind, **TYPES[kind])
    (fault,) = faults(client, planned(**{f"proxmox_{setting}": True}))
    assert f"of type {kind}, where a container has no snapshots" in fault
    assert setting in fault
    assert pve.writes() == []


def test_a_raw_disk_on_a_directory_has_no_snapshot(
    pve: Pve, client: Client, planned: Planned
) -> None:
    for name in DISKS:
        pve.fake.storages[name].update(type="dir", **TYPES["dir"])
    run(client, planned())
    pve.fake.storages["quickOS-lxc-disks"].update(type="zfspool", **TYPES["zfspool"])
    before = planned(proxmox_snapshot_before_change=True)
    assert faults(client, before) == ()
    config = pve.guest(1001).config
    config["scsi0"] = config["scsi0"].replace(".qcow2", ".raw")
    pve.forget()
    (fault,) = faults(client, before)
    assert "guest 1001 (portainer) is not qcow2" in fault
    assert pve.writes() == []


@pytest.mark.parametrize("kind", TYPES)
def test_guests_are_made_on_every_kind_of_storage(
    pve: Pve, client: Client, planned: Planned, kind: str
) -> None:
    for name in DISKS:
        pve.fake.storages[name].update(type=kind, **TYPES[kind])
    run(client, planned())
    pve.forget()
    assert not run(client, planned())
    assert pve.writes() == []
    volume = values.parse(pve.guest(1001).config["scsi0"], "volume")["volume"]
    assert volume.endswith(".qcow2") == (kind in ("dir", "nfs")), volume
    client.write("POST", f"nodes/{NODE}/qemu/1001/snapshot", {"snapname": "one"})
    assert list(pve.guest(1001).snapshots) == ["one"], "a VM has snapshots on each of them"
