"""Nodes and storages as people have them: what does not fit is named before the first write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from phoenix.proxmox import availability, guests, storages, values
from phoenix.proxmox.client import Client
from phoenix.proxmox.errors import ProxmoxError
from phoenix.proxmox.plan import Plan
from phoenix.proxmox.preflight import preflight
from phoenix.site.model import Site
from tests.proxmox.conftest import SETTINGS
from tests.proxmox.pve import NODE, Pve, converged, run

Planned = Callable[..., Plan]
DISKS = ("quickOS-lxc-disks", "quickOS-vm-disks")
TYPES: dict[str, dict[str, Any]] = {
    "dir": {"path": "/srv/disks"},
    "nfs": {"path": "/mnt/pve/disks", "server": "10.0.0.9", "export": "/disks"},
    "zfspool": {"pool": "rpool"},
    "lvmthin": {"vgname": "pve", "thinpool": "data"},
}
EVERY: dict[str, dict[str, Any]] = {
    **{kind: {"type": kind, **options} for kind, options in TYPES.items()},
    "lvm": {"type": "lvm", "vgname": "pve"},
    "lvm with chains": {"type": "lvm", "vgname": "pve", "snapshot-as-volume-chain": 1},
}
CONTAINER, CONTAINERS = "quickOS-lxc-disks", "lifecycle_snapshots of containers"
VMS, TEMPLATE = "lifecycle_snapshots of VMs", "a container's template"
COPY, REPLICA = "a VM cloned from a snapshot", "replication"
CANNOT = {
    "dir": {CONTAINERS, REPLICA},
    "nfs": {CONTAINERS, REPLICA},
    "zfspool": {COPY},
    "lvmthin": {REPLICA},
    "lvm": {CONTAINERS, VMS, TEMPLATE, COPY, REPLICA},
    "lvm with chains": {CONTAINERS, TEMPLATE, REPLICA},
}
SAID = {
    CONTAINERS: "where a container has no snapshots",
    VMS: "where a VM has no snapshots",
    TEMPLATE: "where no container becomes a template",
    COPY: "where no VM is cloned from a snapshot",
    REPLICA: "which Proxmox VE does not replicate",
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
    ("change", "message"),
    [({"disable": 1}, "is disabled on node"), ({"active": 0}, "is not active")],
)
@pytest.mark.parametrize("storage", ["local", "quickOS-lxc-disks"])
def test_a_storage_that_is_off_is_told(
    pve: Pve, client: Client, planned: Planned, storage: str, change: dict[str, int], message: str
) -> None:
    pve.fake.storages[storage].update(change)
    (fault,) = faults(client, planned())
    assert f"storage {storage!r} {message}" in fault.replace(f"of node {NODE} ", "")
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
    assert pve.writes() == []


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize("setting", ["lifecycle_snapshots", "snapshot_before_change"])
@pytest.mark.parametrize("kind", ["dir", "nfs"])
def test_snapshots_where_a_storage_has_none_are_refused_before_the_first_write(
    pve: Pve, client: Client, planned: Planned, kind: str, setting: str
) -> None:
    if setting == "snapshot_before_change":
        converged(pve, client, planned())
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
    converged(pve, client, planned())
    pve.fake.storages["quickOS-lxc-disks"].update(type="zfspool", **TYPES["zfspool"])
    before = planned(proxmox_snapshot_before_change=True)
    assert faults(client, before) == ()
    config = pve.guest(1001).config
    config["scsi0"] = config["scsi0"].replace(".qcow2", ".raw")
    pve.forget()
    (fault,) = faults(client, before)
    assert "guest 1001 (portainer) is not qcow2" in fault
    assert pve.writes() == []


@pytest.mark.fast_cases(2)
@pytest.mark.parametrize("kind", TYPES)
def test_guests_are_made_on_every_kind_of_storage(
    pve: Pve, client: Client, planned: Planned, kind: str
) -> None:
    for name in DISKS:
        pve.fake.storages[name].update(type=kind, **TYPES[kind])
    converged(pve, client, planned())
    pve.forget()
    assert not run(client, planned())
    assert pve.writes() == []
    volume = values.parse(pve.guest(1001).config["scsi0"], "volume")["volume"]
    assert volume.endswith(".qcow2") == (kind in ("dir", "nfs")), volume
    client.write("POST", f"nodes/{NODE}/qemu/1001/snapshot", {"snapname": "one"})
    assert list(pve.guest(1001).snapshots) == ["one"], "a VM has snapshots on each of them"


def on(pve: Pve, kind: str, *storages: str) -> None:
    for name in storages or DISKS:
        content = pve.fake.storages[name]["content"]
        pve.fake.storages[name].update(EVERY[kind], content=content)


SNAPSHOT = "initial_clean_state"
CELLS = [(kind, feature) for kind in EVERY for feature in SAID]


def cell(site: Site, pve: Pve, client: Client, planned: Planned, kind: str, feature: str) -> Plan:
    """A plan that asks one thing of storages of one type."""
    pve.fake.add_node("second")
    settings: dict[str, Any] = {}
    if feature in (CONTAINERS, VMS):
        settings["proxmox_lifecycle_snapshots"] = True
    if feature == REPLICA:
        settings["proxmox_guests"] = {1001: {"replicate_to": ("second",)}}
        pve.fake.grant("phoenix@pve", "/", "VM.Replicate")
    on(pve, kind, CONTAINER if feature in (CONTAINERS, TEMPLATE) else "quickOS-vm-disks")
    if feature == COPY:
        a_source_that_is_no_template(pve, client)
    plan = planned(site, **settings)
    pve.forget()
    return plan


@pytest.mark.fast_cases(6)
@pytest.mark.parametrize(
    ("kind", "feature"), [pair for pair in CELLS if pair[1] in CANNOT[pair[0]]]
)
def test_what_a_type_cannot_is_told_before_the_first_write(
    site: Site, pve: Pve, client: Client, planned: Planned, kind: str, feature: str
) -> None:
    """Each "no" in the table of docs/proxmox.md."""
    problems = faults(client, cell(site, pve, client, planned, kind, feature))
    assert any(SAID[feature] in fault for fault in problems), problems
    assert all("fix: " in fault for fault in problems)
    assert pve.writes() == []


@pytest.mark.fast_cases(4)
@pytest.mark.parametrize(
    ("kind", "feature"), [pair for pair in CELLS if pair[1] not in CANNOT[pair[0]]]
)
def test_what_a_type_can_is_done(
    site: Site, pve: Pve, client: Client, planned: Planned, kind: str, feature: str
) -> None:
    """Each "yes" of the table, on the double, which refuses what its type cannot."""
    plan = cell(site, pve, client, planned, kind, feature)
    assert faults(client, plan) == ()
    for guest in plan.guests:
        guests.make(client, guest, plan.settings, lambda _line: None)
    for write in availability.writes(client, plan.guests, plan.settings):
        client.write(write.method, write.path, write.data)
    if feature in (CONTAINERS, VMS):
        vmid = 103 if feature == CONTAINERS else 1001
        assert list(pve.guest(vmid).snapshots) == ["pre-configured"]
    if feature == TEMPLATE:
        assert pve.guest(900).template
    if feature == REPLICA:
        assert [job["target"] for job in pve.fake.replication.values()] == ["second"]
    if feature == COPY:
        sent = [body for _, path, body in pve.writes() if path.endswith("9000/clone")]
        assert [body["snapname"] for body in sent] == [SNAPSHOT] * 2


def a_source_that_is_no_template(pve: Pve, client: Client) -> None:
    """A person's VM 9000 with the snapshot that clones are declared of; it is no template."""
    image = next(name for name in SETTINGS["images"] if ":import/" in name)
    disk_format = storages.vm_format(client, NODE, "quickOS-vm-disks")
    disk = f"quickOS-vm-disks:0,import-from={image}"
    disk += f",format={disk_format}" if disk_format else ""
    client.write("POST", f"nodes/{NODE}/qemu", {"vmid": 9000, "name": "base", "scsi0": disk})
    # LVM without chains refuses snapshots: this one is from before the disk was moved there.
    pve.guest(9000).snapshots[SNAPSHOT] = {**pve.guest(9000).config, "snaptime": 1}


@pytest.mark.parametrize(
    ("kind", "request_path", "data", "message"),
    [
        ("lvm", "lxc/900/template", {}, "Template feature is not available"),
        ("zfspool", "qemu/9000/clone", {"newid": 1001, "full": 1, "snapname": SNAPSHOT},
         "Full clone feature is not supported for a snapshot"),
        ("lvm", "qemu", {"vmid": 600, "scsi0": "quickOS-vm-disks:8,format=qcow2"},
         "snapshot-as-volume-chain"),
    ],
)  # fmt: skip
def test_the_double_has_the_features_of_each_type(
    pve: Pve, client: Client, kind: str, request_path: str, data: dict[str, Any], message: str
) -> None:
    if "9000" in request_path:
        a_source_that_is_no_template(pve, client)
    pve.fake.add_ct(900, "base", node=NODE, config={"rootfs": f"{CONTAINER}:vm-900-disk-0"})
    on(pve, kind)
    with pytest.raises(ProxmoxError, match=message):
        client.write("POST", f"nodes/{NODE}/{request_path}", data)


def test_the_double_replicates_nothing_but_zfs_and_not_to_the_same_node(
    pve: Pve, client: Client, planned: Planned
) -> None:
    pve.fake.add_node("second")
    pve.fake.grant("phoenix@pve", "/", "VM.Replicate")
    converged(pve, client, planned())
    job = {"id": "103-0", "target": NODE, "type": "local"}
    with pytest.raises(ProxmoxError, match="must not be identical"):
        client.write("POST", "cluster/replication", job)
    on(pve, "lvmthin")
    with pytest.raises(ProxmoxError, match="missing replicate feature"):
        client.write("POST", "cluster/replication", {**job, "target": "second"})
    plan = planned(proxmox_guests={103: {"replicate_to": ("second", NODE)}})
    pve.forget()
    (fault,) = faults(client, plan)
    assert f"is on node {NODE}, and is to be replicated there" in fault
    first, second = faults(client, planned(proxmox_guests={103: {"replicate_to": ("second",)}}))
    assert f"of node {NODE} is of type lvmthin" in first
    assert "of node second is of type lvmthin" in second
    assert pve.writes() == []


def test_templates_elsewhere_let_containers_live_on_lvm(
    site: Site, pve: Pve, client: Client, planned: Planned
) -> None:
    """As the fix of the refusal says."""
    on(pve, "lvm")
    (fault,) = faults(client, planned())
    assert "clones may lie on this one" in fault
    pve.fake.storages["templates"] = {
        "type": "dir", "path": "/srv/t", "active": 1, "files": set(), "content": "rootdir"
    }  # fmt: skip
    templates = tuple(
        template.model_copy(update={"storage_pool": "templates"})
        if template.kind == "lxc"
        else template
        for template in site.templates
    )
    run(client, planned(site.model_copy(update={"templates": templates})))
    assert pve.guest(103).config["rootfs"].startswith(CONTAINER)


def test_a_source_with_folders_of_the_hypervisor_is_told_before_the_first_write(
    pve: Pve, client: Client, planned: Planned
) -> None:
    """Proxmox VE clones no container with bind mounts."""
    config = {
        "rootfs": f"{CONTAINER}:vm-900-disk-0,size=8G",
        "mp0": f"{CONTAINER}:vm-900-disk-1,mp=/data,size=1G",
        "mp3": "/tank/media,mp=/media",
    }
    pve.fake.add_ct(900, "base", node=NODE, config=config)
    problems = faults(client, planned())
    assert len(problems) == 3, problems  # one a container that is cloned from it
    assert all("folders or devices of the hypervisor as mp3, and" in fault for fault in problems)
    assert pve.writes() == []


def test_a_source_that_runs_without_a_snapshot_is_told_before_the_first_write(
    pve: Pve, client: Client, planned: Planned
) -> None:
    pve.fake.add_ct(
        900, "base", node=NODE, status="running",
        config={"rootfs": f"{CONTAINER}:vm-900-disk-0,size=8G"},
    )  # fmt: skip
    problems = faults(client, planned())
    reason = "is cloned from 900, which runs, is not a template"
    assert any(reason in fault for fault in problems), problems
    assert pve.writes() == []
