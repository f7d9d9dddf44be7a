"""Nodes of the cluster that are down, and the guests that nothing can be done to meanwhile."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from phoenix.declaration.settings import ProxmoxSettings
from phoenix.proxmox.client import Client
from phoenix.proxmox.desired import Clone, DesiredGuest
from phoenix.proxmox.observe import guests_by_id


def down(client: Client) -> frozenset[str]:
    """The names of the nodes that are down, as the others of the cluster see them.

    Raises:
        ProxmoxError: the API can't be read.
    """
    rows = client.get("nodes")
    return frozenset(str(row["node"]) for row in rows if row.get("status") == "offline")


def out_of_reach(client: Client, guests: Sequence[DesiredGuest]) -> dict[int, str]:
    """Guests that a node which is down keeps from being looked at or made: why, by id.

    A guest that high availability has started on another node is there.

    Args:
        client: reads alone.
        guests: the desired guests, each after what it is cloned from.

    Raises:
        ProxmoxError: the API can't be read.
    """
    off = down(client)
    if not off:
        return {}
    present = guests_by_id(client)
    reasons: dict[int, str] = {}
    for guest in guests:
        place = present.get(guest.vmid)
        if place is not None:
            if place.node in off:
                reasons[guest.vmid] = f"{guest.label} is on node {place.node}, which is down"
            continue
        source = guest.origin.source if isinstance(guest.origin, Clone) else None
        origin = present.get(source) if source is not None else None
        if guest.node in off:
            reasons[guest.vmid] = f"{guest.label} is to be made on node {guest.node}, which is down"
        elif origin is not None and origin.node in off:
            reasons[guest.vmid] = (
                f"{guest.label} is to be cloned from {source}, which is on node {origin.node}, "
                "which is down"
            )
        elif source in reasons:
            reasons[guest.vmid] = (
                f"{guest.label} is to be cloned from {source}, which waits for a node that is down"
            )
    return reasons


def warnings(
    client: Client, guests: Iterable[DesiredGuest], settings: ProxmoxSettings
) -> tuple[str, ...]:
    """Each node that is down and what waits for it beside its guests, a sentence each.

    Args:
        client: reads alone.
        guests: the desired guests.
        settings: what is asked of nodes beside guests.

    Raises:
        ProxmoxError: the API can't be read.
    """
    lines = []
    present = guests_by_id(client)
    for name in sorted(down(client)):
        waiting = [
            f"{guest.label} is not moved there"
            for guest in guests
            if guest.placed and guest.node == name
            if guest.vmid in present and present[guest.vmid].node != name
        ]
        if settings.firewall:
            waiting.append("its firewall is not compared")
        rest = f": {'; '.join(waiting)}" if waiting else ""
        lines.append(f"node {name} is down{rest}. The rest goes on")
    return tuple(lines)
