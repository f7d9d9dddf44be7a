"""Guests that nobody declares any more: stopped, or destroyed on demand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from phoenix.proxmox import values
from phoenix.proxmox.client import Client
from phoenix.proxmox.desired import TAG
from phoenix.proxmox.errors import RefusedError
from phoenix.proxmox.observe import base, located, read

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
        client.write(method, path, data)


def _steps(
    client: Client, vmid: int, *, destroy: bool
) -> list[tuple[str, str, str, dict[str, Any]]]:
    location = located(client).get(vmid)
    if location is None:
        return []
    guest = read(client, location)
    if TAG not in values.tags(guest.config.get("tags", "")):
        raise RefusedError(
            f"guest {vmid} ({guest.name}) has not the tag {TAG}: it is not Phoenix' to remove. "
            "fix: remove it in Proxmox VE, or give it the tag"
        )
    path, label = base(guest), f"guest {vmid} ({guest.name})"
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
