"""Writing firewall scopes, one safe write at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from phoenix.proxmox.client import Client
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
