"""Writing firewall scopes, one safe write at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from phoenix.proxmox.client import Client
from phoenix.proxmox.errors import ChangedError, LostAnswerError, ProxmoxError
from phoenix.proxmox.firewall import (
    IPFILTER,
    Scope,
    Write,
    address_write,
    differences,
    next_write,
    options_write,
)
from phoenix.proxmox.nodes import down
from phoenix.proxmox.observe import guests_by_id

_MAX_FAILURES = 3  # lost answers, and changes by others, before we give up
_MAX_WRITES = 2000  # writes to one scope: far more than any site has rules


def placed(client: Client, scopes: Iterable[Scope]) -> tuple[Scope, ...]:
    """Scopes with their nodes filled in; absent guests are left out, and nodes that are down.

    A node's rules are in /etc/pve, but each node alone writes its own.

    Raises:
        ProxmoxError: the cluster can't be read.
    """
    scopes = tuple(scopes)
    locations = guests_by_id(client)
    off = down(client)
    up = [str(row["node"]) for row in client.get("nodes") if row["node"] not in off]
    named = {scope.path.split("/")[1] for scope in scopes if scope.path.startswith("nodes/")}
    scopes_placed = []
    for scope in scopes:
        if "{other}" in scope.path:
            others = sorted(name for name in up if name not in named)
            scopes_placed += [
                replace(scope, name=f"node {name}", path=scope.path.format(other=name))
                for name in others
            ]
        elif scope.vmid is None:
            if scope.path.split("/")[1] not in off:
                scopes_placed.append(scope)
        elif scope.vmid in locations and locations[scope.vmid].node not in off:
            scopes_placed.append(
                replace(scope, path=scope.path.format(node=locations[scope.vmid].node))
            )
    return tuple(scopes_placed)


def next_of(client: Client, scope: Scope) -> Write | None:
    """The next write to a scope, its options when all else is right; None when all is.

    A scope without rules of its own (`enable` off, the cluster) keeps what rules it has.
    """
    if scope.rules and (write := next_write(scope, client.get(f"{scope.path}/rules"))):
        return write
    if scope.rules and scope.vmid is not None and (write := _addresses(client, scope)):
        return write
    return options_write(scope, client.get(f"{scope.path}/options"))


def _addresses(client: Client, scope: Scope) -> Write | None:
    sets = [str(row.get("name")) for row in client.get(f"{scope.path}/ipset")]
    entries = client.get(f"{scope.path}/ipset/{IPFILTER}") if IPFILTER in sets else []
    return address_write(scope, sets, entries)


def apply(client: Client, scopes: Iterable[Scope], log: Callable[[str], None]) -> bool:
    """Bring all scopes to their desired state, in their order; whether anything was written.

    The order of `scopes` makes it safe to stop anywhere: what switches filtering on comes after
    the rules that keep the operator's SSH and all flows open.

    Raises:
        ProxmoxError: with the reason; the next run continues from the observed state.
    """
    changed, failures = False, 0
    for scope in placed(client, scopes):
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
    for scope in placed(client, scopes):
        if scope.rules:
            lines += differences(scope, client.get(f"{scope.path}/rules"))
        if scope.rules and scope.vmid is not None and (write := _addresses(client, scope)):
            lines.append(write.summary)
        if write := options_write(scope, client.get(f"{scope.path}/options")):
            lines.append(write.summary)
    return tuple(lines)
