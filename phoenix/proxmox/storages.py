"""What a storage of Proxmox VE can hold and do, by its type, known before the first write.

Source: the table of chapter Storage of pve-docs, and each plugin's `plugindata` and
`volume_has_feature` in pve-storage. A type that is not listed, of a plugin by others, is taken to
do everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from phoenix.proxmox import values
from phoenix.proxmox.client import Client
from phoenix.proxmox.desired import Archive, CloudImage, DesiredGuest
from phoenix.proxmox.diff import GIB, Observed

_DISKS = frozenset({"images", "rootdir"})
_FILES = frozenset({"vztmpl", "import", "iso", "backup", "snippets"})


class Type(NamedTuple):
    """One type: its content types, and what guests on it can have.

    `vm_format` is the format that a VM's disk needs for snapshots where raw has none.
    `snapshot_copies`: a VM is cloned in full from a snapshot; a container is from any (by rsync).
    `replicates`: to the storage of the same name on another node.
    """

    contents: frozenset[str]
    container_snapshots: bool
    vm_snapshots: bool
    vm_format: str | None = None
    container_templates: bool = True
    snapshot_copies: bool = True
    replicates: bool = False


_FILE_BASED = Type(_DISKS | _FILES, False, True, "qcow2")
TYPES: Mapping[str, Type] = {
    "dir": _FILE_BASED,
    "nfs": _FILE_BASED,
    "cifs": _FILE_BASED,
    "btrfs": Type(_DISKS | _FILES, True, True),
    "cephfs": Type(_FILES, False, False),
    "zfspool": Type(_DISKS, True, True, snapshot_copies=False, replicates=True),
    "lvmthin": Type(_DISKS, True, True),
    "lvm": Type(_DISKS, False, False, container_templates=False, snapshot_copies=False),
    "rbd": Type(_DISKS, True, True),
    "zfs": Type(frozenset({"images"}), False, True, snapshot_copies=False),
    "iscsi": Type(frozenset({"images"}), False, False, snapshot_copies=False),
    "iscsidirect": Type(frozenset({"images"}), False, False, snapshot_copies=False),
    "pbs": Type(frozenset({"backup"}), False, False),
}
# `snapshot-as-volume-chain` of Proxmox VE 9: snapshots of VMs whose disk is qcow2 on the volume.
LVM_WITH_CHAINS = Type(_DISKS, False, True, "qcow2", container_templates=False)
_ANY = Type(_DISKS | _FILES, True, True, replicates=True)


class Need(NamedTuple):
    """What a run asks of one storage; `size_gb` must be free, `setting` names it for the fix.

    `disk` is the volume of an existing guest that is to have a snapshot, or is copied from one
    (`copied`). `template`: a container becomes a template there.
    """

    node: str
    storage: str
    content: str
    setting: str
    who: str
    size_gb: int = 0
    snapshots: bool = False
    disk: str = ""
    template: bool = False
    copied: bool = False
    replicated: bool = False


def rows(client: Client, node: str) -> dict[str, Mapping[str, Any]]:
    """The storages of a node by name, those that are disabled as well."""
    return {str(row["storage"]): row for row in client.get(f"nodes/{node}/storage")}


def vm_format(client: Client, node: str, storage: str) -> str | None:
    """The format of a new VM disk; None where the storage has one form alone."""
    return ability(client, rows(client, node).get(storage, {})).vm_format


def ability(client: Client, row: Mapping[str, Any]) -> Type:
    """What the storage of a row can do: by its type, and for LVM by its option as well.

    Raises:
        ProxmoxError: the options of storages can't be read.
    """
    kind = str(row.get("type"))
    if kind == "lvm":
        for options in client.get("storage", type="lvm"):
            chains = options.get("snapshot-as-volume-chain", 0)
            if options.get("storage") == row.get("storage") and values.boolean(str(chains)):
                return LVM_WITH_CHAINS
    return TYPES.get(kind, _ANY)


def needs(
    new_guests: Iterable[DesiredGuest], *, changed: Iterable[Observed] = ()
) -> tuple[Need, ...]:
    """What new guests ask of storages, and existing ones that get a snapshot before a change.

    Args:
        new_guests: those to make.
        changed: existing guests of which snapshots are taken.
    """
    required: list[Need] = []
    for guest in new_guests:
        own = "rootdir" if guest.kind == "lxc" else "images"
        snapshot, who = guest.first_snapshot, guest.declared_in
        if guest.storage:
            size = guest.disk_gb or 0
            need = Need(guest.node, guest.storage, own, "storage_pool", who, size, snapshot)
            required.append(need._replace(template=guest.template and guest.kind == "lxc"))
        for mount in guest.mount_points:
            setting = f"proxmox_guests[{guest.vmid}].mount_points"
            size = mount.size_gb
            required.append(Need(guest.node, mount.storage, own, setting, who, size, snapshot))
        if isinstance(guest.origin, Archive | CloudImage):
            archive = isinstance(guest.origin, Archive)
            setting = "proxmox_template_storage" if archive else "proxmox_image_storage"
            content = "vztmpl" if archive else "import"
            storage = guest.origin.volume.partition(":")[0]
            required.append(Need(guest.node, storage, content, setting, who))
    for existing in changed:
        own = "rootdir" if existing.kind == "lxc" else "images"
        who = f"guest {existing.vmid} ({existing.name})"
        for volume in volumes(existing):
            storage, setting = volume.partition(":")[0], "proxmox_snapshot_before_change"
            required.append(
                Need(existing.node, storage, own, setting, who, snapshots=True, disk=volume)
            )
    return tuple(required)


def needs_of_copies(sources: Iterable[tuple[DesiredGuest, Observed]]) -> tuple[Need, ...]:
    """What new VMs ask of the storages of those that they are cloned from, by a snapshot.

    Args:
        sources: each new guest that is a clone of a snapshot, with its source.
    """
    return tuple(
        Need(source.node, volume.partition(":")[0], "images", "storage_pool", guest.declared_in,
             disk=volume, copied=True)
        for guest, source in sources
        for volume in volumes(source)
        if source.kind == "qemu"
    )  # fmt: skip


def needs_of_replicas(
    guests: Iterable[DesiredGuest], existing: Mapping[int, Observed]
) -> tuple[Need, ...]:
    """What replication asks of the storages of a guest, and of those of the same name elsewhere.

    Args:
        guests: the desired guests.
        existing: those that are there, by id.
    """
    required: list[Need] = []
    for guest in guests:
        own = "rootdir" if guest.kind == "lxc" else "images"
        observed = existing.get(guest.vmid)
        names = [volume.partition(":")[0] for volume in volumes(observed)] if observed else []
        if observed is None:
            names = [*filter(None, [guest.storage]), *(m.storage for m in guest.mount_points)]
        node = observed.node if observed else guest.node
        setting = f"proxmox_guests[{guest.vmid}].replicate_to"
        for target in guest.replicate_to:
            for name in dict.fromkeys(names):
                need = Need(node, name, own, setting, guest.declared_in, replicated=True)
                required += [need, need._replace(node=target)]
    return tuple(dict.fromkeys(required))


def volumes(guest: Observed) -> dict[str, int]:
    """The volumes of a guest's disks, without images of CDs, and their sizes in whole GiB."""
    prefixes = ("rootfs", "mp") if guest.kind == "lxc" else ("scsi", "virtio", "sata", "ide")
    sizes: dict[str, int] = {}
    for key, value in guest.config.items():
        is_disk = key.startswith(prefixes) and (key == "rootfs" or key[-1].isdigit())
        if is_disk and ":" in value and not value.startswith("/") and "media=cdrom" not in value:
            size = values.size_bytes(values.parse(value, "volume").get("size", "0"))
            sizes[value.partition(",")[0]] = -(-size // GIB)
    return sizes


def is_shared(client: Client, node: str, storage: str) -> bool:
    """Whether all nodes have the same content in a storage."""
    return values.boolean(rows(client, node).get(storage, {}).get("shared"))


def faults(client: Client, requirements: Iterable[Need]) -> tuple[str, ...]:
    """What is wrong with the storages that are needed: absent, off, unfit or full.

    The largest disk must fit: a run that would fill the storage half-way does not start.

    Raises:
        ProxmoxError: they can't be read.
    """
    by_storage: dict[tuple[str, str], list[Need]] = {}
    for need in requirements:
        by_storage.setdefault((need.node, need.storage), []).append(need)
    problems: list[str] = []
    for (node, storage), own in by_storage.items():
        node_storages = rows(client, node)
        row = node_storages.get(storage)
        if row is None:
            settings = " and ".join(dict.fromkeys(need.setting for need in own))
            problems.append(
                f"node {node} has no storage {storage!r} (it has "
                f"{', '.join(sorted(node_storages))}), "
                f"which {_who(own)} asks for. fix: create it in Proxmox VE (Datacenter, Storage), "
                f"or change {settings}"
            )
        elif not int(row.get("enabled", 1)):
            problems.append(
                f"storage {storage!r} is disabled on node {node}, and {_who(own)} needs it. fix: "
                f"`pvesm set {storage} --disable 0`, and see that its nodes include {node}"
            )
        elif not int(row.get("active", 1)):
            problems.append(
                f"storage {storage!r} of node {node} is not active, and {_who(own)} needs it: is "
                f"it mounted, and its server up? fix: `pvesm status --storage {storage}`"
            )
        else:
            problems += _unfit(node, storage, row, ability(client, row), own)
    return tuple(problems)


def _unfit(
    node: str, storage: str, row: Mapping[str, Any], can: Type, own: Iterable[Need]
) -> Iterable[str]:
    own = list(own)
    kind = str(row.get("type"))
    takes = [part for part in str(row.get("content", "")).split(",") if part and part != "none"]
    contents = dict.fromkeys(need.content for need in own)
    never = [content for content in contents if content not in can.contents]
    missing = [content for content in contents if content not in takes and content not in never]
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
            guest_kind = "container" if content == "rootdir" else "VM"
            yield (
                f"storage {storage!r} of node {node} is of type {kind}, where a {guest_kind} "
                "has no "
                f"snapshots, and {_who(those)} is to have one. fix: name another storage, or set "
                "proxmox_lifecycle_snapshots, enable_lifecycle_snapshots of the guest and "
                "proxmox_snapshot_before_change to False"
            )
    yield from _without_feature(node, storage, kind, can, own)
    # A storage may be thin, so the sum of all sizes may exceed it; one guest's never.
    largest = max((need.size_gb for need in own), default=0)
    free = row.get("avail")
    if isinstance(free, int) and row.get("total") and free < largest * GIB:
        yield (
            f"storage {storage!r} of node {node} has {free / GIB:.1f} GiB free, and one guest of "
            f"{_who(own)} needs {largest} GiB. fix: free space, or change storage_pool"
        )


def _without_feature(
    node: str, storage: str, kind: str, can: Type, own: Iterable[Need]
) -> Iterable[str]:
    """What the type can't do of templates, copies of snapshots, replication; disks of a format."""
    own = list(own)
    where = f"storage {storage!r} of node {node} is of type {kind}"
    if (those := [need for need in own if need.template]) and not can.container_templates:
        yield (
            f"{where}, where no container becomes a template, and {_who(those)} is to. fix: name "
            "another storage in its storage_pool: clones may lie on this one"
        )
    if (those := [need for need in own if need.replicated]) and not can.replicates:
        yield (
            f"{where}, which Proxmox VE does not replicate (ZFS alone), and {_who(those)} is to "
            f"be. fix: move its disks to ZFS, or take {those[0].setting} away"
        )
    for need in own:
        if not need.disk or need.content != "images":
            continue
        if need.copied and not can.snapshot_copies:
            yield (
                f"{where}, where no VM is cloned from a snapshot, and {need.who} is to be, of "
                f"{need.disk}. fix: make its source a template (`qm template`), or remove the "
                "source's snapshot of that name and stop it"
            )
        elif can.vm_format and not need.disk.endswith(f".{can.vm_format}"):
            instead = (
                "make its source a template" if need.copied else f"set {need.setting} to False"
            )
            yield (
                f"disk {need.disk} of {need.who} is not {can.vm_format}, and a storage of type "
                f"{kind} has snapshots of that alone. fix: move the disk to that format (Hardware, "
                f"Disk Action, Move Storage), or {instead}"
            )


def _who(own: Iterable[Need]) -> str:
    return ", ".join(dict.fromkeys(need.who for need in own))
