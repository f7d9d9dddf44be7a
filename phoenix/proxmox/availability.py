"""High availability and replication: groups of Proxmox VE 8, rules of 9, jobs.

Guests that are to be apart have a negative resource affinity rule in version 9. Version 8 has none:
there each has a group of its own that prefers its node. None is ever removed.
Sources: pve-ha-manager, src/PVE/API2/HA; a group that was migrated is the
rule `ha-group-NAME` (PVE::HA::Groups::migrate_groups_to_rules).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from phoenix.declaration.settings import ProxmoxSettings
from phoenix.proxmox.client import Client
from phoenix.proxmox.desired import DesiredGuest
from phoenix.proxmox.errors import ProxmoxError, RefusedError
from phoenix.proxmox.firewall import Write
from phoenix.proxmox.observe import Located, guests_by_id

_RESOURCES, _GROUPS, _RULES = "cluster/ha/resources", "cluster/ha/groups", "cluster/ha/rules"
_MIGRATED = "migrated to rules"
_AFFINITY, _APART = "node-affinity", "resource-affinity"
_NEGATIVE = {"type": _APART, "affinity": "negative"}


def writes(
    client: Client, guests: Sequence[DesiredGuest], settings: ProxmoxSettings
) -> tuple[Write, ...]:
    """What is declared and absent, in the order to write it.

    Raises:
        RefusedError: the group, or rule, is absent and no nodes are declared to make it of.
    """
    running = [guest for guest in guests if not guest.template]
    return (
        *_availability(client, running, settings),
        *_kept_apart(client, running, settings),
        *_replication(client, running, settings),
    )


def guests_sharing_a_node(
    client: Client, guests: Sequence[DesiredGuest], settings: ProxmoxSettings
) -> Iterator[str]:
    """Guests that are to be apart and would share a node when their rule is made, with the fix.

    High availability would move one at once, and a container by a restart. Where it keeps them
    apart already, it decides.

    Raises:
        ProxmoxError: the cluster can't be read.
    """
    if not settings.apart:
        return
    present = guests_by_id(client)
    by_id = {guest.vmid: guest for guest in guests}
    for name, members in settings.apart.items():
        own = [by_id[vmid] for vmid in members if vmid in by_id]
        if _is_kept(client, name, own):
            continue
        by_node: dict[str, list[DesiredGuest]] = {}
        for guest in own:
            by_node.setdefault(_node(guest, present), []).append(guest)
        for node, those in by_node.items():
            if len(those) > 1:
                labels = " and ".join(guest.label for guest in those)
                yield (
                    f"{labels} are to be on different nodes (proxmox_apart.{name}), and are on "
                    f"{node}. fix: name another node in proxmox_guests[{those[-1].vmid}].node"
                )


def _node(guest: DesiredGuest, present: Mapping[int, Located]) -> str:
    """Where a guest is once this run has made and moved it."""
    stays = guest.vmid in present and not guest.placed
    return present[guest.vmid].node if stays else guest.node


def _is_kept(client: Client, name: str, guests: Sequence[DesiredGuest]) -> bool:
    managed = {row.get("sid"): row for row in client.get(_RESOURCES)}
    if any(_sid(guest) not in managed for guest in guests):
        return False
    if groups(client) is not None:
        return all(_is_own_group(managed[_sid(guest)], name) for guest in guests)
    by_name = {str(row["rule"]): row for row in client.get(_RULES)}
    resources = str(by_name.get(name, {}).get("resources", "")).split(",")
    return all(_sid(guest) in resources for guest in guests)


def _is_own_group(row: Mapping[str, Any], name: str) -> bool:
    return str(row.get("group", "")).startswith(f"{name}-")


def _kept_apart(
    client: Client, guests: Sequence[DesiredGuest], settings: ProxmoxSettings
) -> Iterator[Write]:
    if not settings.apart:
        return
    by_id = {guest.vmid: guest for guest in guests}
    by_name = groups(client)
    managed = {str(row.get("sid")): row for row in client.get(_RESOURCES)}
    if settings.ha_group is not None:  # they are by then
        managed = {_sid(guest): {"group": settings.ha_group} for guest in guests} | managed
    for name, members in settings.apart.items():
        own = [by_id[vmid] for vmid in members if vmid in by_id]
        if by_name is not None:
            yield from _by_groups(client, own, name, managed, by_name, settings)
            continue
        for guest in own:
            if _sid(guest) not in managed:
                managed[_sid(guest)] = {}
                data = {"sid": _sid(guest), "state": "started"}
                yield Write("POST", _RESOURCES, data, f"let HA manage {guest.label}")
        yield from _apart_rule(client, [_sid(guest) for guest in own], name)


def _apart_rule(client: Client, resources: Sequence[str], name: str) -> Iterator[Write]:
    row = next((row for row in client.get(_RULES) if row.get("rule") == name), None)
    if row is None:
        data = {"rule": name, **_NEGATIVE, "resources": ",".join(resources)}
        yield Write("POST", _RULES, data, f"make HA rule {name}: {', '.join(resources)} apart")
        return
    if any(row.get(key) != value for key, value in _NEGATIVE.items()):
        raise RefusedError(
            f"the cluster has an HA rule {name!r} that keeps nothing apart (it is of type "
            f"{row.get('type')}). fix: give that of proxmox_apart another name"
        )
    present = str(row.get("resources", "")).split(",")
    missing = [sid for sid in resources if sid not in present]
    if missing:
        data = {**_NEGATIVE, "resources": ",".join([*filter(None, present), *missing])}
        yield Write("PUT", f"{_RULES}/{name}", data, f"HA rule {name}: add {', '.join(missing)}")


def _by_groups(
    client: Client,
    guests: Sequence[DesiredGuest],
    name: str,
    managed: Mapping[str, Mapping[str, Any]],
    by_name: Mapping[str, Mapping[str, Any]],
    settings: ProxmoxSettings,
) -> Iterator[Write]:
    """A group for each guest, with its own node first; one that it has already stays."""
    present = guests_by_id(client)
    cluster = [str(row["node"]) for row in client.get("nodes")]
    usable = [entry.partition(":")[0] for entry in settings.ha_nodes] or sorted(cluster)
    for guest in guests:
        row = managed.get(_sid(guest))
        if row is not None and _is_own_group(row, name):
            continue
        node = _node(guest, present)
        group = f"{name}-{node}"
        if group not in by_name:
            nodes = [f"{node}:2", *(f"{other}:1" for other in usable if other != node)]
            data = {"group": group, "nodes": ",".join(nodes)}
            yield Write("POST", _GROUPS, data, f"make HA group {group}")
        if row is None:
            data = {"sid": _sid(guest), "state": "started", "group": group}
            yield Write("POST", _RESOURCES, data, f"let HA manage {guest.label} in {group}")
        else:
            path = f"{_RESOURCES}/{_sid(guest)}"
            yield Write("PUT", path, {"group": group}, f"HA group of {guest.label}: {group}")


def groups(client: Client) -> dict[str, Mapping[str, Any]] | None:
    """The groups by name; None where the cluster has rules instead.

    Raises:
        ProxmoxError: they can't be read.
    """
    try:
        return {str(row["group"]): row for row in client.get(_GROUPS)}
    except ProxmoxError as error:
        if _MIGRATED in str(error):
            return None
        raise


def _availability(
    client: Client, guests: Sequence[DesiredGuest], settings: ProxmoxSettings
) -> Iterator[Write]:
    name = settings.ha_group
    if name is None:
        return
    by_name = groups(client)
    if by_name is not None and name not in by_name:
        data = {"group": name, "nodes": _nodes(name, settings, "group")}
        yield Write("POST", _GROUPS, data, f"make HA group {name}")
    managed = {row.get("sid") for row in client.get(_RESOURCES)}
    for guest in guests:
        if _sid(guest) not in managed:
            data = {"sid": _sid(guest), "state": "started"}
            if by_name is not None:
                data["group"] = name
            yield Write("POST", _RESOURCES, data, f"let HA manage {guest.label}")
    if by_name is None:
        yield from _rule(client, [_sid(guest) for guest in guests], name, settings)


def _rule(
    client: Client, resources: Sequence[str], name: str, settings: ProxmoxSettings
) -> Iterator[Write]:
    rules = {str(row["rule"]): row for row in client.get(_RULES)}
    own = next((rule for rule in (name, f"ha-group-{name}") if rule in rules), None)
    if own is None:
        nodes = _nodes(name, settings, "node affinity rule")
        data = {"rule": name, "type": _AFFINITY, "nodes": nodes, "resources": ",".join(resources)}
        yield Write("POST", _RULES, data, f"make HA rule {name}")
        return
    present = str(rules[own].get("resources", "")).split(",")
    missing = [sid for sid in resources if sid not in present]
    if missing:
        union = ",".join([*filter(None, present), *missing])
        data = {"type": str(rules[own].get("type", _AFFINITY)), "resources": union}
        yield Write("PUT", f"{_RULES}/{own}", data, f"HA rule {own}: add {', '.join(missing)}")


def _nodes(name: str, settings: ProxmoxSettings, kind: str) -> str:
    if not settings.ha_nodes:
        raise RefusedError(
            f"the cluster has no {kind} {name!r}, which proxmox_ha_group names. fix: write its "
            'nodes, as proxmox_ha_nodes = ("pve1:2", "pve2:1"), and it is made'
        )
    return ",".join(settings.ha_nodes)


def _sid(guest: DesiredGuest) -> str:
    return f"{'ct' if guest.kind == 'lxc' else 'vm'}:{guest.vmid}"


def _replication(
    client: Client, guests: Sequence[DesiredGuest], settings: ProxmoxSettings
) -> Iterator[Write]:
    if not any(guest.replicate_to for guest in guests):
        return
    jobs = list(client.get("cluster/replication"))
    for guest in guests:
        own = [job for job in jobs if int(job.get("guest", 0)) == guest.vmid]
        targets = {job.get("target") for job in own}
        free = max((int(job.get("jobnum", 0)) for job in own), default=-1) + 1
        for target in guest.replicate_to:
            if target in targets:
                yield from _schedule(own, target, guest, settings)
                continue
            data = {
                "id": f"{guest.vmid}-{free}",
                "target": target,
                "type": "local",
                "schedule": settings.replication_schedule,
            }
            free += 1
            summary = f"replicate {guest.label} to {target}"
            yield Write("POST", "cluster/replication", data, summary)


def _schedule(
    jobs: Sequence[Mapping[str, Any]],
    target: str,
    guest: DesiredGuest,
    settings: ProxmoxSettings,
) -> Iterator[Write]:
    """Sets a declared schedule in each job; without one, the schedules that a person chose stay."""
    if "replication_schedule" not in settings.model_fields_set:
        return
    for job in jobs:
        if job.get("target") == target and job.get("schedule") != settings.replication_schedule:
            data = {"schedule": settings.replication_schedule}
            summary = f"replicate {guest.label} to {target} at {settings.replication_schedule}"
            yield Write("PUT", f"cluster/replication/{job['id']}", data, summary)


def warnings(client: Client, guests: Sequence[DesiredGuest]) -> tuple[str, ...]:
    """Replication jobs of guests that are declared to be replicated, to nodes that are not.

    Raises:
        ProxmoxError: the jobs can't be read.
    """
    declared = {guest.vmid: guest for guest in guests if guest.replicate_to}
    if not declared:
        return ()
    return tuple(
        f"{guest.label} is replicated to {job.get('target')} as well, which "
        f"proxmox_guests[{guest.vmid}].replicate_to does not name. To end it, on the hypervisor: "
        f"`pvesr delete {job['id']}`"
        for job in client.get("cluster/replication")
        if (guest := declared.get(int(job.get("guest", 0)))) is not None
        and job.get("target") not in guest.replicate_to
        and not (guest.placed and job.get("target") == guest.node)  # it moves there, and turns
    )
