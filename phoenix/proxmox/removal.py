"""Guests that are no longer declared, and firewall rules of scopes that a sync no longer keeps."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from phoenix.proxmox import values
from phoenix.proxmox.apply import placed
from phoenix.proxmox.client import Client
from phoenix.proxmox.desired import TAG
from phoenix.proxmox.errors import AlreadyError, RefusedError
from phoenix.proxmox.firewall import CLUSTER, Scope, Write, next_write, options_write
from phoenix.proxmox.observe import api_path, guests_by_id, read
from phoenix.proxmox.power import runs

_SECONDS = 60
"""How long a guest may take to shut down before it is stopped."""


def pending(client: Client, vmid: int, *, destroy: bool) -> tuple[str, ...]:
    """What is to be done with a guest, in words; empty where nothing is.

    Raises:
        RefusedError: it has not our tag.
    """
    return tuple(words for words, *_ in _steps(client, vmid, destroy=destroy))


def remove(client: Client, vmid: int, *, destroy: bool, log: Callable[[str], None]) -> None:
    """Shut a guest down for good, and with `destroy` delete it with its disks and snapshots.

    Without `destroy` its disks stay, and it is not started with the hypervisor.

    Raises:
        RefusedError: it has not our tag.
        ProxmoxError: the hypervisor refuses; a guest that is protected is one reason.
    """
    while steps := _steps(client, vmid, destroy=destroy):
        words, method, path, data = steps[0]
        log(words)
        with contextlib.suppress(AlreadyError):  # it stopped meanwhile, by itself or another's hand
            client.write(method, path, data)
        if path.endswith("/shutdown"):  # of high availability the task only asks for it
            client.wait(lambda: not runs(client, vmid), f"guest {vmid} shuts down")


def _steps(
    client: Client, vmid: int, *, destroy: bool
) -> list[tuple[str, str, str, dict[str, Any]]]:
    location = guests_by_id(client).get(vmid)
    if location is None:
        return []
    guest = read(client, location)
    if TAG not in values.tags(guest.config.get("tags", "")):
        raise RefusedError(
            f"guest {vmid} ({guest.name}) has not the tag {TAG}: it is not Phoenix' to remove. "
            "fix: remove it in Proxmox VE, or give it the tag"
        )
    path, label = api_path(guest), f"guest {vmid} ({guest.name})"
    steps: list[tuple[str, str, str, dict[str, Any]]] = []
    if values.boolean(guest.config.get("onboot")) and not destroy:
        data: dict[str, Any] = {"onboot": 0}
        steps.append((f"{label}: not started at boot", "PUT", f"{path}/config", data))
    if guest.running:
        shutdown = {"timeout": _SECONDS, "forceStop": 1}
        steps.append((f"{label}: shut down", "POST", f"{path}/status/shutdown", shutdown))
    if destroy:
        purge = {"purge": 1, "destroy-unreferenced-disks": 1}
        steps.append((f"{label}: destroyed with its disks", "DELETE", path, purge))
    return steps


def scopes_to_clear(scopes: Iterable[Scope], *, firewall: bool) -> tuple[Scope, ...]:
    """Scopes of guests and the node that a sync no longer keeps, as they are to be: off, empty.

    Args:
        scopes: of `firewall.scopes`.
        firewall: whether a sync keeps the firewall; then those with rules are kept.
    """
    return tuple(
        replace(scope, options={"enable": "0"}, rules=(), addresses=())
        for scope in scopes
        if scope.name != CLUSTER and not (firewall and scope.rules)
    )


def rules_left(client: Client, scopes: Iterable[Scope]) -> tuple[str, ...]:
    """Describes the writes that take our rules out of `unkept` scopes; empty where there are none.

    A scope is turned off before its first rule goes, so that connections go on. A scope without
    our rules is left as it is.
    """
    return tuple(write.summary for write in _rule_writes(client, scopes))


def remove_rules(client: Client, scopes: Iterable[Scope], log: Callable[[str], None]) -> None:
    """Write that, one write at a time, each decided anew.

    Raises:
        ProxmoxError: the hypervisor refuses.
    """
    scopes = tuple(scopes)
    while write := next(iter(_rule_writes(client, scopes)), None):
        log(write.summary)
        client.write(write.method, write.path, write.data)


def _rule_writes(client: Client, scopes: Iterable[Scope]) -> Iterator[Write]:
    for scope in placed(client, scopes):
        rows = client.get(f"{scope.path}/rules")
        if write := next_write(scope, rows):
            off = options_write(scope, client.get(f"{scope.path}/options"))
            yield from filter(None, (off, write))
