"""Bring one guest to its declared state, with the snapshots that settings ask for."""

from __future__ import annotations

from collections.abc import Callable

from phoenix.declaration.settings import ProxmoxSettings
from phoenix.proxmox.client import Client
from phoenix.proxmox.converge import Options, converge, next_step
from phoenix.proxmox.desired import DesiredGuest
from phoenix.proxmox.observe import observe
from phoenix.proxmox.power import lifecycle_snapshot, restore_point


def options(settings: ProxmoxSettings) -> Options:
    """The part of the settings that converging needs."""
    return Options(frozenset(settings.adopt), settings.images)


def make(
    client: Client, desired: DesiredGuest, settings: ProxmoxSettings, log: Callable[[str], None]
) -> bool:
    """Make one guest as declared, without starting or stopping it; whether anything was written.

    With `snapshot_before_change`, an existing guest is rolled back where its change fails. With
    `lifecycle_snapshots`, a new one gets its first snapshot.

    Raises:
        ProxmoxError: with the reason; the next run continues from the observed state.
    """
    before = observe(client, desired.vmid)
    if next_step(client, desired, options(settings)) is None:
        return False
    if settings.snapshot_before_change and before is not None and not desired.template:
        with restore_point(client, desired.vmid, log):
            changed = converge(client, desired, options(settings), log)
    else:
        changed = converge(client, desired, options(settings), log)
    if settings.lifecycle_snapshots and before is None and not desired.template:
        lifecycle_snapshot(client, desired.vmid)
    after = observe(client, desired.vmid)
    if after is not None and after.running and after.pending:
        keys = ", ".join(after.pending)
        log(f"{desired.label}: {keys} will take effect when it is started the next time")
    return changed
