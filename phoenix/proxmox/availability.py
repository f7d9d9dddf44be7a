"""High availability and replication: groups of Proxmox VE 8, rules of 9, jobs.

None is ever removed. Sources: pve-ha-manager, src/PVE/API2/HA; a group that was migrated is the
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

_RESOURCES, _GROUPS, _RULES = "cluster/ha/resources", "cluster/ha/groups", "cluster/ha/rules"
_MIGRATED = "migrated to rules"
_AFFINITY = "node-affinity"


def writes(
    client: Client, guests: Sequence[DesiredGuest], settings: ProxmoxSettings
) -> tuple[Write, ...]:
    """What is declared and absent, in the order to write it.

    Raises:
        RefusedError: the group, or rule, is absent and no nodes are declared to make it of.
    """
    running = [guest for guest in guests if not guest.template]
    return (*_availability(client, running, settings), *_replication(client, running, settings))


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
