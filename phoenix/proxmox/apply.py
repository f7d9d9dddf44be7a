"""Writing firewall scopes, one safe write at a time, and settings of the cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from phoenix.proxmox.client import Client
from phoenix.proxmox.desired import DesiredGuest
from phoenix.proxmox.errors import ChangedError, LostAnswerError, ProxmoxError
from phoenix.proxmox.firewall import Scope, Write, differences, next_write, options_write
from phoenix.proxmox.observe import Located, located

_MAX_FAILURES = 3  # lost answers, and changes by others, before we give up
_MAX_WRITES = 2000  # writes to one scope: far more than any site has rules


def placed(scopes: Iterable[Scope], locations: dict[int, Located]) -> tuple[Scope, ...]:
    """Scopes with each guest's node filled in; absent guests are left out."""
    placed_scopes = []
    for scope in scopes:
        if scope.vmid is None:
            placed_scopes.append(scope)
        elif scope.vmid in locations:
            path = scope.path.format(node=locations[scope.vmid].node)
            placed_scopes.append(Scope(scope.name, path, scope.options, scope.rules, scope.vmid))
    return tuple(placed_scopes)


def next_of(client: Client, scope: Scope) -> Write | None:
    """The next write to a scope, its options when all rules are right; None when all is.

    A scope without rules of its own (`enable` off, the cluster) keeps what rules it has.
    """
    if scope.rules and (write := next_write(scope, client.get(f"{scope.path}/rules"))):
        return write
    return options_write(scope, client.get(f"{scope.path}/options"))


def apply(client: Client, scopes: Iterable[Scope], log: Callable[[str], None]) -> bool:
    """Bring all scopes to their desired state, in their order; whether anything was written.

    The order of `scopes` makes it safe to stop anywhere: what switches filtering on comes after
    the rules that keep the operator's SSH and all flows open.

    Raises:
        ProxmoxError: with the reason; the next run continues from the observed state.
    """
    changed, failures = False, 0
    for scope in placed(scopes, located(client)):
        for _ in range(_MAX_WRITES):
            write = next_of(client, scope)
            if write is None:
                break
            log(write.summary)
            try:
                client.write(write.method, write.path, write.data)
            except (LostAnswerError, ChangedError):
                failures += 1
                if failures == _MAX_FAILURES:
                    raise
            changed = True
        else:
            raise ProxmoxError(
                f"the firewall of {scope.name} still differs after {_MAX_WRITES} writes"
            )
    return changed


def pending(client: Client, scopes: Iterable[Scope]) -> tuple[str, ...]:
    """Every change that the scopes need: rules that are added, removed or edited, and options."""
    lines: list[str] = []
    for scope in placed(scopes, located(client)):
        if scope.rules:
            lines += differences(scope, client.get(f"{scope.path}/rules"))
        if write := options_write(scope, client.get(f"{scope.path}/options")):
            lines.append(write.summary)
    return tuple(lines)


def cluster_writes(
    client: Client, guests: Sequence[DesiredGuest], ha_group: str | None, schedule: str
) -> tuple[Write, ...]:
    """HA resources and replication jobs that are declared and absent; none is ever removed."""
    writes: list[Write] = []
    running = [guest for guest in guests if not guest.template]
    if ha_group:
        managed_ids = {row.get("sid") for row in client.get("cluster/ha/resources")}
        for guest in running:
            sid = f"{'ct' if guest.kind == 'lxc' else 'vm'}:{guest.vmid}"
            if sid not in managed_ids:
                data = {"sid": sid, "group": ha_group, "state": "started"}
                summary = f"let HA group {ha_group} manage {guest.label}"
                writes.append(Write("POST", "cluster/ha/resources", data, summary))
    if any(guest.replicate_to for guest in running):
        jobs = list(client.get("cluster/replication"))
        for guest in running:
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
                    "schedule": schedule,
                }
                free += 1
                summary = f"replicate {guest.label} to {target}"
                writes.append(Write("POST", "cluster/replication", data, summary))
    return tuple(writes)
