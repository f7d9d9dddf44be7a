"""Everything that would stop a run half-way, checked before its first write. Writes nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from phoenix.declaration.settings import ProxmoxSettings
from phoenix.proxmox import apply, availability, listeners, nodes, placement, storages, values
from phoenix.proxmox.client import Client
from phoenix.proxmox.connections import Connection, hidden
from phoenix.proxmox.converge import next_step, nothing_to_make_from
from phoenix.proxmox.desired import Archive, Clone, CloudImage, DesiredGuest
from phoenix.proxmox.diff import Observed
from phoenix.proxmox.errors import RefusedError
from phoenix.proxmox.firewall import NODE, Scope
from phoenix.proxmox.guests import options
from phoenix.proxmox.listeners import Listener
from phoenix.proxmox.observe import (
    Located,
    check_quorum,
    guests_by_id,
    observe,
    snapshots,
    volume_exists,
)
from phoenix.proxmox.refusals import grant_command


class Privilege(NamedTuple):
    """One privilege that a run needs: where, and for what."""

    name: str
    path: str
    why: str


def preflight(
    client: Client, guests: Sequence[DesiredGuest], settings: ProxmoxSettings
) -> tuple[str, ...]:
    """What would stop this run, each with its fix; empty where nothing would.

    A node that is down stops no run: what is not on it goes on (`phoenix.proxmox.nodes`).

    Args:
        client: reads alone.
        guests: the desired guests.
        settings: what is asked beside guests: firewall, snapshots, availability.

    Raises:
        ProxmoxError: the API can't be read.
    """
    check_quorum(client)
    faults = [*_nodes(client, guests, settings), *_missing(client, guests, settings)]
    if faults:  # without these nothing else can be read, or is told wrong
        return tuple(dict.fromkeys(faults))
    off, waiting = nodes.down(client), nodes.out_of_reach(client, guests)
    guests = [guest for guest in guests if guest.vmid not in waiting]
    present = guests_by_id(client)
    absent = [guest for guest in guests if guest.vmid not in present]
    faults += _guests(client, guests, settings)
    running = [guest for guest in guests if not guest.template]
    existing = {
        guest.vmid: observed
        for guest in running
        if guest.vmid in present and (observed := observe(client, guest.vmid)) is not None
    }
    changed = existing.values() if settings.snapshot_before_change else ()
    needs = [
        *storages.needs(absent, changed=changed),
        *storages.needs_of_copies(_copied_snapshots(client, absent, guests, settings)),
        *storages.needs_of_replicas(running, existing),
        *storages.needs(_made_beside_their_source(client, absent)),
        *placement.needs(client, guests),
    ]
    unfit = storages.faults(client, [need for need in needs if need.node not in off])
    faults += unfit
    if not unfit:  # the images lie on a storage, too
        faults += _images(client, absent, settings)
    try:
        faults += availability.guests_sharing_a_node(client, guests, settings)
        availability.writes(client, guests, settings)
    except RefusedError as error:
        faults.append(str(error))
    return tuple(dict.fromkeys(faults))


def firewall(
    client: Client,
    scopes: Sequence[Scope],
    needed: Sequence[Connection],
    known: Mapping[str, frozenset[Listener]],
    settings: ProxmoxSettings,
) -> tuple[str, ...]:
    """What speaks against writing the firewall: what it would cut, and what cuts through it.

    Args:
        client: reads alone.
        scopes: of `phoenix.proxmox.firewall.scopes`; empty where no sync keeps the firewall.
        needed: connections that have to work, the operator's own among them.
        known: what the nodes listen on (`phoenix.proxmox.listeners`).
        settings: what is declared of the nodes.

    Raises:
        ProxmoxError: the firewall can't be read.
    """
    if not scopes:
        return ()
    placed = apply.placed(client, scopes)
    faults: list[str] = []
    for scope in placed:
        if scope.rules and scope.host is not None:
            rows = client.get(f"{scope.path}/rules")
            faults += hidden(scope, rows, needed, listeners.groups(client, rows))
    node = next(scope.path.split("/")[1] for scope in scopes if scope.name == NODE)
    faults += listeners.faults(client, placed, known, settings, node)
    return tuple(faults)


def _guests(
    client: Client, guests: Sequence[DesiredGuest], settings: ProxmoxSettings
) -> Iterator[str]:
    present = guests_by_id(client)
    ids = {guest.vmid for guest in guests}
    for guest in guests:
        if guest.vmid in present:
            try:
                next_step(client, guest, options(settings))
            except RefusedError as error:
                yield str(error)
        elif guest.origin is None:
            yield nothing_to_make_from(guest)
        elif isinstance(guest.origin, Clone) and guest.origin.source not in {*present, *ids}:
            yield (
                f"{guest.label} is cloned from {guest.origin.source}, which is absent and which no "
                "entry declares. fix: add its entry, or change the clone source"
            )
        elif _source(client, guest, guests, settings):
            try:
                next_step(client, guest, options(settings))
            except RefusedError as error:
                yield str(error)


def _source(
    client: Client,
    guest: DesiredGuest,
    guests: Sequence[DesiredGuest],
    settings: ProxmoxSettings,
) -> Observed | None:
    """What a new guest is cloned from, where it is there and this run will not make it another."""
    if not isinstance(guest.origin, Clone):
        return None
    source = observe(client, guest.origin.source)
    if source is None or source.template:
        return source
    declared = any(guest.vmid == source.vmid for guest in guests)
    is_ours = source.managed or source.vmid in settings.adopt
    return None if declared and is_ours else source


def _copied_snapshots(
    client: Client,
    new_guests: Iterable[DesiredGuest],
    guests: Sequence[DesiredGuest],
    settings: ProxmoxSettings,
) -> Iterator[tuple[DesiredGuest, Observed]]:
    """New guests to clone from a snapshot of an ordinary guest, each with that guest."""
    for guest in new_guests:
        source = _source(client, guest, guests, settings)
        if source is None or source.template or not isinstance(guest.origin, Clone):
            continue
        if guest.origin.snapshot in snapshots(client, source):
            yield guest, source


def _made_beside_their_source(
    client: Client, new_guests: Iterable[DesiredGuest]
) -> Iterator[DesiredGuest]:
    """New guests whose source is on another node: as they are made there, before they move."""
    present = guests_by_id(client)
    for guest in new_guests:
        source = present.get(guest.origin.source) if isinstance(guest.origin, Clone) else None
        if source is not None and source.node != guest.node:
            yield replace(guest, node=source.node)


def _images(
    client: Client, new_guests: Iterable[DesiredGuest], settings: ProxmoxSettings
) -> Iterator[str]:
    """Images that neither are on their storage nor can be downloaded by setting."""
    for guest in new_guests:
        origin = guest.origin
        if not isinstance(origin, Archive | CloudImage) or origin.file in settings.images:
            continue
        if not volume_exists(client, guest.node, origin.volume):
            yield (
                f"{guest.declared_in}: {origin.volume} is not there. fix: put it there (in Proxmox "
                f"VE: the storage's content), or give proxmox_images[{origin.file!r}] a url and a "
                "sha256 in group_data, and the hypervisor downloads it"
            )


def _nodes(
    client: Client, guests: Sequence[DesiredGuest], settings: ProxmoxSettings
) -> Iterator[str]:
    """Nodes in the settings that the cluster lacks. Its nodes that are down are left out."""
    names = sorted(str(row["node"]) for row in client.get("nodes"))
    present = guests_by_id(client)
    setting_by_node: dict[str, str] = {
        guest.node: _node_setting(guest, settings) for guest in guests
    }
    for guest in guests:
        for target in guest.replicate_to:
            setting_by_node.setdefault(target, f"proxmox_guests[{guest.vmid}].replicate_to")
            stays = guest.vmid in present and not guest.placed
            if target == (present[guest.vmid].node if stays else guest.node):
                yield (
                    f"{guest.label} is on node {target}, and is to be replicated there. fix: name "
                    f"another node in proxmox_guests[{guest.vmid}].replicate_to"
                )
    for entry in settings.ha_nodes:
        setting_by_node.setdefault(entry.partition(":")[0], "proxmox_ha_nodes")
    for flow in settings.node_flows if settings.firewall else ():
        if flow.node:
            setting_by_node.setdefault(flow.node, "the node of proxmox_node_flows")
    for name, setting in setting_by_node.items():
        if name not in names:
            yield (
                f"the cluster has no node {name!r}: its nodes are {', '.join(names)}. "
                f"fix: set {setting}"
            )


def _node_setting(guest: DesiredGuest, settings: ProxmoxSettings) -> str:
    own = settings.guest(guest.vmid).node
    return f"proxmox_guests[{guest.vmid}].node" if own else "proxmox_node"


def _missing(
    client: Client, guests: Sequence[DesiredGuest], settings: ProxmoxSettings
) -> Iterator[str]:
    """The privileges that this run needs and the token lacks, as one fault."""
    needs = privileges(client, guests, settings)
    granted = {path: _held(client, path) for path in dict.fromkeys(need.path for need in needs)}
    lacking = [need for need in needs if need.name not in granted[need.path]]
    if not lacking:
        return
    lines = []
    for name in dict.fromkeys(need.name for need in lacking):
        own = [need for need in lacking if need.name == name]
        paths = ", ".join(dict.fromkeys(need.path for need in own))
        lines.append(f"  {name} on {paths}: {own[0].why}")
    names = " ".join(dict.fromkeys(need.name for need in lacking))
    hint = ""
    if not any(client.get("access/permissions").values()):
        hint = (
            ". It has none at all: a token with privilege separation, the default of the web "
            "interface, has none of its user's: `pveum user token modify USER ID --privsep 0`"
        )
    yield (
        "the token of proxmox_api_token lacks privileges:\n"
        + "\n".join(lines)
        + f"\n  fix: on the hypervisor, `{grant_command(names)}`{hint}"
    )


def _held(client: Client, path: str) -> frozenset[str]:
    """What the token holds there, inherited as well, as the API itself tells."""
    answer = client.get("access/permissions", path=path)
    return frozenset(name for privileges in answer.values() for name in privileges)


def privileges(
    client: Client, guests: Sequence[DesiredGuest], settings: ProxmoxSettings
) -> tuple[Privilege, ...]:
    """What this run may need, each as the API's own `permissions` ask for it.

    Source: `permissions` of each method in pve-manager, qemu-server, pve-container, pve-firewall
    and pve-ha-manager.
    """
    present = guests_by_id(client)
    required = [
        Privilege("Sys.Audit", "/", "the cluster's state"),
        *(need for guest in guests for need in _of_guest(guest, guest.vmid in present)),
        *(
            Privilege("VM.Migrate", _path(guest), f"to move {guest.label} to its node")
            for guest in guests
            if _changes_its_node(guest, present)
        ),
    ]
    for guest in guests:
        if guest.vmid not in present:
            required += _of_making(guest, settings)
    if settings.firewall:
        required.append(Privilege("Sys.Modify", "/", "the firewall"))
        nodes = dict.fromkeys(guest.node for guest in guests)
        required += [Privilege("Sys.Modify", f"/nodes/{node}", "the firewall") for node in nodes]
    running = [guest for guest in guests if not guest.template]
    required += [
        Privilege("VM.Snapshot", _path(guest), "its snapshots")
        for guest in running
        if settings.snapshot_before_change or guest.first_snapshot
    ]
    if settings.snapshot_before_change:
        why = "proxmox_snapshot_before_change"
        required += [Privilege("VM.Snapshot.Rollback", _path(guest), why) for guest in running]
    if settings.ha_group or settings.apart:
        why = "proxmox_ha_group" if settings.ha_group else "proxmox_apart"
        required.append(Privilege("Sys.Console", "/", why))
    replicated = [guest for guest in running if guest.replicate_to]
    if replicated:
        required += _of_replication(client, replicated)
    return tuple(dict.fromkeys(required))


def _changes_its_node(guest: DesiredGuest, present: Mapping[int, Located]) -> bool:
    """Whether it moves: from where it is, or from the node of what it is cloned from."""
    source = guest.origin.source if isinstance(guest.origin, Clone) else None
    origin = present.get(guest.vmid) or (present.get(source) if source else None)
    return guest.placed and origin is not None and origin.node != guest.node


def _path(guest: DesiredGuest) -> str:
    return f"/vms/{guest.vmid}"


def _of_guest(guest: DesiredGuest, present: bool) -> Iterator[Privilege]:
    names = ["VM.Audit", "VM.Config.CPU", "VM.Config.Disk", "VM.Config.Memory"]
    names += ["VM.Config.Network", "VM.Config.Options"]
    if not guest.template:
        names.append("VM.PowerMgmt")
    if guest.kind == "qemu":
        names.append("VM.Config.Cloudinit")
    if not present:
        names.append("VM.Allocate")
        if guest.kind == "qemu":
            names += ["VM.Config.CDROM", "VM.Config.HWType"]
    for name in names:
        yield Privilege(name, _path(guest), guest.label)
    cards = [key for name, key in guest.keys.items() if re.fullmatch(r"net\d+", name)]
    for card in (values.parse_nic(key.written(None)) for key in cards):
        # A VLAN is below its bridge (`check_vnet_access` of pve-guest-common).
        place = "/".join(word for word in (card.get("bridge"), card.get("tag")) if word)
        if place:
            yield Privilege("SDN.Use", f"/sdn/zones/localnetwork/{place}", f"bridge {place}")
    if guest.kind == "qemu" and "startup" in guest.keys:
        yield Privilege("Sys.Modify", "/", f"the boot order of {guest.label}")


def _of_making(guest: DesiredGuest, settings: ProxmoxSettings) -> Iterator[Privilege]:
    why = f"to make {guest.label}"
    if isinstance(guest.origin, Clone):
        yield Privilege("VM.Clone", f"/vms/{guest.origin.source}", why)
    for need in storages.needs([guest]):
        yield Privilege("Datastore.Audit", f"/storage/{need.storage}", why)
        if need.content in ("rootdir", "images"):
            yield Privilege("Datastore.AllocateSpace", f"/storage/{need.storage}", why)
        elif (
            isinstance(guest.origin, Archive | CloudImage) and guest.origin.file in settings.images
        ):
            download = f"to download {guest.origin.file}"
            yield Privilege("Datastore.AllocateTemplate", f"/storage/{need.storage}", download)
            yield Privilege("Sys.AccessNetwork", f"/nodes/{guest.node}", download)
    if "unprivileged" in guest.fixed and guest.fixed["unprivileged"].written(None) == "0":
        yield Privilege("Sys.Modify", "/", f"{guest.label} is a privileged container")


def _of_replication(client: Client, guests: Iterable[DesiredGuest]) -> Iterator[Privilege]:
    """VM.Replicate from version 9 on; before, Datastore.Allocate of the guest's storages."""
    release = str(client.get("version").get("version", "9"))
    for guest in guests:
        why = f"to replicate {guest.label}"
        if int(release.partition(".")[0]) >= 9:
            yield Privilege("VM.Replicate", _path(guest), why)
        elif guest.storage:
            yield Privilege("Datastore.Allocate", f"/storage/{guest.storage}", why)
