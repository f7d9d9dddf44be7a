"""Starting guests; snapshots before a change that may go wrong."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from phoenix.proxmox.client import Client
from phoenix.proxmox.errors import AlreadyError, LostAnswerError, ProxmoxError, RefusedError
from phoenix.proxmox.observe import Located, api_path, guests_by_id, read, snapshots, state

BEFORE = "phoenix-before"
LIFECYCLE = "pre-configured"
"""The first lifecycle snapshot: the guest as created, before its software."""


def find(client: Client, vmid: int) -> Located:
    """Where a guest is.

    Raises:
        RefusedError: there is none.
    """
    location = guests_by_id(client).get(vmid)
    if location is None:
        raise RefusedError(f"there is no guest {vmid}")
    return location


def runs(client: Client, vmid: int) -> bool:
    """Whether there is such a guest, and it runs at this moment."""
    guest = guests_by_id(client).get(vmid)
    return guest is not None and state(client, guest).running


def start(client: Client, vmid: int) -> bool:
    """Start a guest that isn't running, and wait for the task; whether it was started.

    One that runs meanwhile, by another's hand or by a start whose answer was lost, is done.

    Raises:
        ProxmoxError: it did not start, with the task's log.
    """
    for attempt in (1, 2, 3):
        guest = find(client, vmid)
        now = state(client, guest)
        if now.running:
            return attempt > 1
        if read(client, guest).template:
            raise RefusedError(f"guest {vmid} is a template, and a template never runs")
        try:
            client.write("POST", f"{api_path(guest)}/status/start")
        except AlreadyError:
            return True
        except LostAnswerError:
            if attempt == 3:
                raise
            continue
        if now.available:  # the task only asks the cluster's high availability for it
            client.wait(lambda: runs(client, vmid), f"high availability starts guest {vmid}")
        return True
    return True


@contextmanager
def restore_point(client: Client, vmid: int, log: Callable[[str], None]) -> Iterator[None]:
    """A snapshot around a change: removed after success, rolled back to after a failure.

    Raises:
        ProxmoxError: the snapshot can't be made (then nothing is changed), or the change failed
            (then the message says whether the guest was rolled back).
    """
    guest = find(client, vmid)
    running = state(client, guest).running
    path = f"{api_path(guest)}/snapshot"
    name = f"{BEFORE}-{time.time_ns() // 1_000_000}"
    client.write("POST", path, {"snapname": name, "description": "before a change by Phoenix"})
    try:
        yield
    except ProxmoxError as failure:
        log(f"guest {vmid}: rolling back to snapshot {name}")
        try:
            client.write("POST", f"{path}/{name}/rollback")
            if running:
                start(client, vmid)
            client.write("DELETE", f"{path}/{name}")
        except ProxmoxError as second:
            raise ProxmoxError(
                f"{failure}\nand guest {vmid} could not be rolled back: {second}\n"
                f"fix: roll back to snapshot {name} by hand"
            ) from failure
        raise type(failure)(f"{failure}\nguest {vmid} was rolled back") from failure
    client.write("DELETE", f"{path}/{name}")


def lifecycle_snapshot(client: Client, vmid: int, name: str = LIFECYCLE) -> bool:
    """Take the snapshot `name` where a guest has none of that name; whether it was taken."""
    guest = find(client, vmid)
    if read(client, guest).template or name in snapshots(client, guest):
        return False
    client.write("POST", f"{api_path(guest)}/snapshot", {"snapname": name})
    return True
