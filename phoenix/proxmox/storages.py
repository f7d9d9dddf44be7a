"""What a storage of Proxmox VE can hold and do, by its type, known before the first write.

Source: the table of chapter Storage of pve-docs, and each plugin's `plugindata` and
`volume_has_feature` in pve-storage. A type that is not listed, of a plugin by others, is taken to
do everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from phoenix.proxmox.client import Client
from phoenix.proxmox.desired import Archive, CloudImage, DesiredGuest
from phoenix.proxmox.diff import GIB, Observed

_DISKS = frozenset({"images", "rootdir"})
_FILES = frozenset({"vztmpl", "import", "iso", "backup", "snippets"})


class Type(NamedTuple):
    """One type: its content types, and whether guests on it can have snapshots.

    `vm_format` is the format that a VM's disk needs for snapshots where raw has none.
    """

    contents: frozenset[str]
    container_snapshots: bool
    vm_snapshots: bool
    vm_format: str | None = None


TYPES: Mapping[str, Type] = {
    "dir": Type(_DISKS | _FILES, False, True, "qcow2"),
    "nfs": Type(_DISKS | _FILES, False, True, "qcow2"),
    "cifs": Type(_DISKS | _FILES, False, True, "qcow2"),
    "btrfs": Type(_DISKS | _FILES, True, True),
    "cephfs": Type(_FILES, False, False),
    "zfspool": Type(_DISKS, True, True),
    "lvmthin": Type(_DISKS, True, True),
    "lvm": Type(_DISKS, False, False),
    "rbd": Type(_DISKS, True, True),
    "zfs": Type(frozenset({"images"}), False, True),
    "iscsi": Type(frozenset({"images"}), False, False),
    "iscsidirect": Type(frozenset({"images"}), False, False),
    "pbs": Type(frozenset({"backup"}), False, False),
}
_ANY = Type(_DISKS | _FILES, True, True)


class Need(NamedTuple):
    """What a run asks of one storage; `size_gb` must be free, `setting` names it for the fix.

    `disk` is the volume of an existing guest that is to have a snapshot.
    """

    node: str
    storage: str
    content: str
    setting: str
    who: str
    size_gb: int = 0
    snapshots: bool = False
    disk: str = ""


def rows(client: Client, node: str) -> dict[str, Mapping[str, Any]]:
    """The storages of a node by name, those that are disabled as well."""
    return {str(row["storage"]): row for row in client.get(f"nodes/{node}/storage")}


def vm_format(client: Client, node: str, storage: str) -> str | None:
    """The format of a new VM disk; None where the storage has one form alone."""
    row = rows(client, node).get(storage, {})
    return TYPES.get(str(row.get("type")), _ANY).vm_format


def needs(
    new_guests: Iterable[DesiredGuest], *, snapshots: bool, changed: Iterable[Observed] = ()
) -> tuple[Need, ...]:
    """What new guests ask of storages, and existing ones that get a snapshot before a change.

    Args:
        new_guests: those to make.
        snapshots: whether new guests get a snapshot.
        changed: existing guests of which snapshots are taken.
    """
    found: list[Need] = []
    for guest in new_guests:
        own = "rootdir" if guest.kind == "lxc" else "images"
        snapshot, who = snapshots and not guest.template, guest.declared_in
        if guest.storage:
            size = guest.disk_gb or 0
            found.append(Need(guest.node, guest.storage, own, "storage_pool", who, size, snapshot))
        for mount in guest.mount_points:
            setting = f"proxmox_guests[{guest.vmid}].mount_points"
            size = mount.size_gb
            found.append(Need(guest.node, mount.storage, own, setting, who, size, snapshot))
        if isinstance(guest.origin, Archive | CloudImage):
            archive = isinstance(guest.origin, Archive)
            setting = "proxmox_template_storage" if archive else "proxmox_image_storage"
            content = "vztmpl" if archive else "import"
            storage = guest.origin.volume.partition(":")[0]
            found.append(Need(guest.node, storage, content, setting, who))
    for existing in changed:
        own = "rootdir" if existing.kind == "lxc" else "images"
        who = f"guest {existing.vmid} ({existing.name})"
        for volume in _volumes(existing):
            storage, setting = volume.partition(":")[0], "proxmox_snapshot_before_change"
            found.append(
                Need(existing.node, storage, own, setting, who, snapshots=True, disk=volume)
            )
    return tuple(found)


def _volumes(guest: Observed) -> Iterable[str]:
    prefixes = ("rootfs", "mp") if guest.kind == "lxc" else ("scsi", "virtio", "sata", "ide")
    for key, value in guest.config.items():
        is_disk = key.startswith(prefixes) and (key == "rootfs" or key[-1].isdigit())
        if is_disk and ":" in value and not value.startswith("/") and "media=cdrom" not in value:
            yield value.partition(",")[0]


def faults(client: Client, asked: Iterable[Need]) -> tuple[str, ...]:
    """What is wrong with the storages that are needed: absent, off, unfit or full.

    The largest disk must fit: a run that would fill the storage half-way does not start.

    Raises:
        ProxmoxError: they can't be read.
    """
    by_storage: dict[tuple[str, str], list[Need]] = {}
    for need in asked:
        by_storage.setdefault((need.node, need.storage), []).append(need)
    found: list[str] = []
    for (node, storage), own in by_storage.items():
        there = rows(client, node)
        row = there.get(storage)
        if row is None:
            settings = " and ".join(dict.fromkeys(need.setting for need in own))
            found.append(
                f"node {node} has no storage {storage!r} (it has {', '.join(sorted(there))}), "
                f"which {_who(own)} asks for. fix: create it in Proxmox VE (Datacenter, Storage), "
                f"or change {settings}"
            )
        elif not int(row.get("enabled", 1)):
            found.append(
                f"storage {storage!r} is disabled on node {node}, and {_who(own)} needs it. fix: "
                f"`pvesm set {storage} --disable 0`, and see that its nodes include {node}"
            )
        elif not int(row.get("active", 1)):
            found.append(
                f"storage {storage!r} of node {node} is not active, and {_who(own)} needs it: is "
                f"it mounted, and its server up? fix: `pvesm status --storage {storage}`"
            )
        else:
            found += _unfit(node, storage, row, own)
    return tuple(found)


def _unfit(node: str, storage: str, row: Mapping[str, Any], own: Iterable[Need]) -> Iterable[str]:
    own = list(own)
    kind = str(row.get("type"))
    can = TYPES.get(kind, _ANY)
    takes = [part for part in str(row.get("content", "")).split(",") if part and part != "none"]
    wanted = dict.fromkeys(need.content for need in own)
    never = [content for content in wanted if content not in can.contents]
    missing = [content for content in wanted if content not in takes and content not in never]
    for content in never:
        those = [need for need in own if need.content == content]
        yield (
            f"storage {storage!r} of node {node} is of type {kind}, which never takes {content}, "
            f"and {_who(those)} needs that. fix: name another storage in {those[0].setting}"
        )
    if missing:
        those = [need for need in own if need.content in missing]
        yield (
            f"storage {storage!r} of node {node} does not take {' and '.join(missing)}, and "
            f"{_who(those)} needs that. fix: on the hypervisor, `pvesm set {storage} --content "
            f"{','.join([*takes, *missing])}`"
        )
    for content, able in (
        ("rootdir", can.container_snapshots), ("images", can.vm_snapshots)
    ):  # fmt: skip
        those = [need for need in own if need.snapshots and need.content == content]
        if those and not able and content in can.contents:
            what = "container" if content == "rootdir" else "VM"
            yield (
                f"storage {storage!r} of node {node} is of type {kind}, where a {what} has no "
                f"snapshots, and {_who(those)} is to have one. fix: name another storage, or set "
                "proxmox_lifecycle_snapshots and proxmox_snapshot_before_change to False"
            )
    raw = [need for need in own if need.disk and need.content == "images" and can.vm_format]
    for need in raw:
        if not need.disk.endswith(f".{can.vm_format}"):
            yield (
                f"disk {need.disk} of {need.who} is not {can.vm_format}, and a storage of type "
                f"{kind} has snapshots of that alone. fix: move the disk to that format (Hardware, "
                f"Disk Action, Move Storage), or set {need.setting} to False"
            )
    # A storage may be thin, so the sum of all sizes may exceed it; one guest's never.
    largest = max((need.size_gb for need in own), default=0)
    free = row.get("avail")
    if isinstance(free, int) and row.get("total") and free < largest * GIB:
        yield (
            f"storage {storage!r} of node {node} has {free / GIB:.1f} GiB free, and one guest of "
            f"{_who(own)} needs {largest} GiB. fix: free space, or change storage_pool"
        )


def _who(own: Iterable[Need]) -> str:
    return ", ".join(dict.fromkeys(need.who for need in own))
