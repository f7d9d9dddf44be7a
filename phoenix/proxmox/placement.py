"""A guest's node: the steps that move it to the one declared for it, and what stands against it.

A guest without a node of its own stays where it is. High availability decides about the guests
that it manages, and templates stay. Sources: `check_local_resources` (src/PVE/QemuServer.pm) and
`scan_local_volumes` (src/PVE/QemuMigrate.pm) of qemu-server, src/PVE/LXC/Migrate.pm of
pve-container.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from phoenix.proxmox import storages, values
from phoenix.proxmox.client import Client
from phoenix.proxmox.desired import DesiredGuest
from phoenix.proxmox.diff import Observed
from phoenix.proxmox.errors import RefusedError
from phoenix.proxmox.moving import STOPPING
from phoenix.proxmox.nodes import down
from phoenix.proxmox.observe import api_path, guests_by_id, observe, snapshots, state

_SHUTDOWN_SECONDS = 180
"""How long a VM may take to shut down; it is not forced to."""
_SNAPSHOTS_MOVE = frozenset({"zfspool", "btrfs"})
"""Types of local storage whose volumes are copied with their snapshots."""


class Move(NamedTuple):
    """One write of a move; `summary` is for a person."""

    summary: str
    path: str
    data: Mapping[str, Any]


def moves(client: Client, desired: DesiredGuest, observed: Observed) -> bool:
    """Whether a guest is to move to the node that is declared for it alone.

    Raises:
        ProxmoxError: the API can't be read.
    """
    return (
        desired.placed
        and observed.node != desired.node
        and observed.kind == desired.kind
        and not observed.template
        and desired.node not in down(client)
        and not state(client, observed).available
    )


def next_move(
    client: Client, desired: DesiredGuest, observed: Observed, *, stop: bool
) -> Move | None:
    """The next write that moves a guest to its node; None where it is there, or stays.

    Args:
        client: reads alone.
        desired: the guest, with its node.
        observed: the guest as it is.
        stop: whether it may be stopped for it.

    Raises:
        RefusedError: it can't be moved, or not while it runs.
    """
    if not moves(client, desired, observed):
        return None
    text = sentence(desired, observed)
    if reasons := tuple(_hindrances(client, observed)):
        raise RefusedError(f"{text}, and Proxmox VE would refuse it: {'; '.join(reasons)}")
    path, data = f"{api_path(observed)}/migrate", {"target": desired.node}
    if not observed.running:
        return Move(text, path, data)
    if observed.kind == "lxc":
        if stop:
            return Move(f"{text}, by a restart", path, {**data, "restart": 1})
        raise RefusedError(_asks(text, "a running container moves by a restart", desired, observed))
    disks = _local_disks(client, observed, desired.node)
    if reason := _not_online(disks):
        if stop:
            shutdown = {"timeout": _SHUTDOWN_SECONDS}
            return Move(
                f"{text}: shut down first", f"{api_path(observed)}/status/shutdown", shutdown
            )
        raise RefusedError(_asks(text, reason, desired, observed))
    local = {"with-local-disks": 1} if disks else {}
    return Move(f"{text}, while it runs", path, {**data, "online": 1, **local})


def sentence(desired: DesiredGuest, observed: Observed) -> str:
    """The one plan item of a move."""
    return f"{desired.label} moves from node {observed.node} to {desired.node}"


def _asks(text: str, reason: str, desired: DesiredGuest, observed: Observed) -> str:
    return (
        f"{text}, and would stop meanwhile: {reason}. fix: `phoenix sync --move` moves it (plain "
        f"pyinfra: {STOPPING}=1); or leave it where it is: node {observed.node} in "
        f"proxmox_guests[{desired.vmid}].node"
    )


def moves_to_confirm(client: Client, guests: Iterable[DesiredGuest]) -> tuple[str, ...]:
    """The sentences of the moves that stop a guest, which need the word of a person.

    Raises:
        ProxmoxError: the API can't be read.
    """
    lines = []
    for guest, observed in _elsewhere(client, guests):
        if (
            moves(client, guest, observed)
            and observed.running
            and not tuple(_hindrances(client, observed))
        ):
            stops = observed.kind == "lxc"
            if stops or _not_online(_local_disks(client, observed, guest.node)):
                lines.append(f"{sentence(guest, observed)}, and stops meanwhile")
    return tuple(lines)


def warnings(client: Client, guests: Iterable[DesiredGuest]) -> tuple[str, ...]:
    """Guests that stay on another node than the declared one though nothing is down, and why.

    Raises:
        ProxmoxError: the API can't be read.
    """
    lines = []
    for guest, observed in _elsewhere(client, guests):
        where = f"{guest.label} stays on node {observed.node}, and {guest.node} is declared"
        if observed.template:
            lines.append(f"{where}: a template is not moved")
        elif state(client, observed).available:
            kind = "ct" if observed.kind == "lxc" else "vm"
            lines.append(
                f"{where}: high availability decides where it runs. To move it, on the hypervisor: "
                f"`ha-manager migrate {kind}:{guest.vmid} {guest.node}`"
            )
    return tuple(lines)


def _elsewhere(
    client: Client, guests: Iterable[DesiredGuest]
) -> Iterator[tuple[DesiredGuest, Observed]]:
    """Guests with a node of their own that are on another one, neither of which is down."""
    present, off = guests_by_id(client), down(client)
    for guest in guests:
        place = present.get(guest.vmid)
        if not guest.placed or place is None or place.node == guest.node:
            continue
        if off & {place.node, guest.node}:
            continue
        observed = observe(client, guest.vmid)
        if observed is not None:
            yield guest, observed


def needs(client: Client, guests: Iterable[DesiredGuest]) -> tuple[storages.Need, ...]:
    """What moves ask of the storages of the new node: each by its name, with room where it is
    no shared one.

    Raises:
        ProxmoxError: the API can't be read.
    """
    required = []
    for guest, observed in _elsewhere(client, guests):
        if not moves(client, guest, observed):
            continue
        content = "rootdir" if guest.kind == "lxc" else "images"
        setting = f"proxmox_guests[{guest.vmid}].node"
        for volume, size in storages.volumes(observed).items():
            name = volume.partition(":")[0]
            room = 0 if storages.is_shared(client, observed.node, name) else size
            required.append(
                storages.Need(guest.node, name, content, setting, guest.declared_in, room)
            )
    return tuple(required)


def _hindrances(client: Client, observed: Observed) -> Iterator[str]:
    """What keeps a guest from any move, whether it runs or not, each with its way out."""
    for key, value in observed.config.items():
        if values.is_of_hypervisor(key, value) and not _is_shared_mount(value):
            folder = value.partition(",")[0]
            yield (
                f"{key} is {folder} of node {observed.node}. fix: take it from its declaration "
                "until it has moved, or `pct set` it with shared=1 where each node has that folder"
            )
        elif key.startswith(("hostpci", "usb")) and _is_local_device(value):
            yield (
                f"{key} is a device of node {observed.node}. fix: take it from the VM (`qm set "
                f"{observed.vmid} --delete {key}`), or map it for all nodes (Datacenter, Resource "
                "Mappings)"
            )
        elif _is_local_image(client, observed.node, value):
            yield (
                f"{key} holds a CD image of node {observed.node}. fix: `qm set {observed.vmid} "
                f"--{key} none,media=cdrom`"
            )
    if "parent" in observed.config and snapshots(client, observed):
        yield from _with_snapshots(client, observed)


def _with_snapshots(client: Client, observed: Observed) -> Iterator[str]:
    by_name = storages.rows(client, observed.node)
    for volume in storages.volumes(observed):
        row = by_name.get(volume.partition(":")[0], {})
        kind = str(row.get("type", ""))
        qcow2 = observed.kind == "qemu" and volume.endswith(".qcow2")
        if not values.boolean(row.get("shared")) and kind not in _SNAPSHOTS_MOVE and not qcow2:
            yield (
                f"{volume} has snapshots, and a storage of type {kind} copies none to another node."
                " fix: remove the snapshots, or move the disk to a shared storage"
            )


def _is_local_image(client: Client, node: str, value: str) -> bool:
    """Whether a drive holds a CD image of one node; the cloud-init drive moves with its VM."""
    is_image = "media=cdrom" in value and ":iso/" in value
    return is_image and not storages.is_shared(client, node, value.partition(":")[0])


def _is_shared_mount(value: str) -> bool:
    return values.boolean(values.parse(value, "volume").get("shared"))


def _is_local_device(value: str) -> bool:
    properties = values.parse(value, "host")
    return "mapping" not in properties and properties.get("host") != "spice"


def _local_disks(client: Client, observed: Observed, target: str) -> Sequence[Mapping[str, Any]]:
    """A VM's disks on storages that the nodes do not share, as Proxmox VE itself tells."""
    answer = client.get(f"{api_path(observed)}/migrate", target=target)
    disks: list[Mapping[str, Any]] = answer.get("local_disks") or []
    return disks


def _not_online(disks: Sequence[Mapping[str, Any]]) -> str:
    """Why a VM cannot move while it runs; empty where it can."""
    staying = [
        str(disk.get("volid"))
        for disk in disks
        if disk.get("referenced_in_snapshot") and not disk.get("cdrom")
    ]
    if not staying:
        return ""
    return (
        f"{', '.join(staying)} has snapshots on a storage that the nodes do not share, and none of "
        "these moves with a VM that runs (remove the snapshots, and it does)"
    )
