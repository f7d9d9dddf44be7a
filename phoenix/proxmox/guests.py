"""Bring one guest to its declared state, with the snapshots that settings ask for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from phoenix.declaration.settings import ProxmoxSettings
from phoenix.proxmox.client import Client
from phoenix.proxmox.converge import Options, converge, pending_steps, step_from
from phoenix.proxmox.desired import MARK, UNFINISHED, DesiredGuest
from phoenix.proxmox.diff import Observed, verdict
from phoenix.proxmox.errors import ProxmoxError
from phoenix.proxmox.keys import Note
from phoenix.proxmox.moving import may_stop
from phoenix.proxmox.observe import api_path, guests_by_id, observe, snapshots
from phoenix.proxmox.placement import moves
from phoenix.proxmox.power import BEFORE, lifecycle_snapshot, restore_point, runs, start

_MOVE_WRITES = 3
"""Writes that one move takes at most: a shutdown, and the move; one is spare."""


def options(settings: ProxmoxSettings) -> Options:
    """The part of the settings that converging needs."""
    return Options(frozenset(settings.adopt), settings.images, may_stop())


def pending(client: Client, desired: DesiredGuest, settings: ProxmoxSettings) -> tuple[str, ...]:
    """What `make` would do, a line each.

    Raises:
        ProxmoxError: as `make`.
    """
    left = _left(client, observe(client, desired.vmid))
    lines = (f"remove snapshot {name}, left by a run that died" for name in left)
    return (*pending_steps(client, desired, options(settings)), *lines)


def remarks(client: Client, desired: DesiredGuest, settings: ProxmoxSettings) -> tuple[str, ...]:
    """What of an existing guest is not as declared and stays so, a line each.

    Raises:
        ProxmoxError: the state cannot be read.
    """
    observed = observe(client, desired.vmid)
    if observed is None:
        return ()
    stays = verdict(desired, observed, desired.vmid in settings.adopt).remarks
    return tuple(f"{desired.label}: {remark}" for remark in stays)


def make(
    client: Client, desired: DesiredGuest, settings: ProxmoxSettings, log: Callable[[str], None]
) -> bool:
    """Make one guest as declared, without starting or stopping it; whether anything was written.

    With `snapshot_before_change`, an existing guest is rolled back where its change fails. With
    `first_snapshot`, a new one gets its first snapshot; until it has, its description says so,
    and the next run takes it. What a run that died has left of snapshots before a change is removed
    once the guest is as declared.

    Raises:
        ProxmoxError: with the reason; the next run continues from the observed state.
    """
    before = observe(client, desired.vmid)
    moved = _moved(client, desired, before, settings, log)
    if moved:
        before = observe(client, desired.vmid)
    new = desired.first_snapshot and (before is None or unfinished(before))
    left = _left(client, before)
    if step_from(client, desired, before, options(settings)) is None:
        _remove(client, desired, left, log)
        return moved or bool(left)
    if new:
        converge(client, marked(desired), options(settings), log)
        log(f"{desired.label}: its first snapshot")
        lifecycle_snapshot(client, desired.vmid)
    if settings.snapshot_before_change and before is not None and not (desired.template or new):
        with restore_point(client, desired.vmid, log):
            changed = converge(client, desired, options(settings), log)
    else:
        changed = converge(client, desired, options(settings), log)
    _remove(client, desired, left, log)
    after = observe(client, desired.vmid)
    if after is not None and after.running and after.pending:
        keys = ", ".join(after.pending)
        log(f"{desired.label}: {keys} will take effect when it is started the next time")
    return changed or moved or new or bool(left)


def _moved(
    client: Client,
    desired: DesiredGuest,
    before: Observed | None,
    settings: ProxmoxSettings,
    log: Callable[[str], None],
) -> bool:
    """Move an existing guest to its node, and see that it is there and runs as before.

    Raises:
        ProxmoxError: it is not there, or does not run; the next run goes on from there.
    """
    if before is None or not moves(client, desired, before):
        return False
    for _ in range(_MOVE_WRITES):
        now = observe(client, desired.vmid)
        if now is None or now.node == desired.node:
            break
        step = step_from(client, desired, now, options(settings))
        if step is None:
            break
        log(step.summary)
        client.write(step.method, step.path, step.data)
    client.wait(
        lambda: guests_by_id(client)[desired.vmid].node == desired.node,
        f"{desired.label} moves to node {desired.node}",
    )
    if before.running:
        start(client, desired.vmid)
    if before.running and not runs(client, desired.vmid):
        raise ProxmoxError(
            f"{desired.label} has moved from node {before.node} to {desired.node} and does not run "
            "there. fix: look at its log in Proxmox VE, and run again"
        )
    log(f"{desired.label} is on node {desired.node}{', and runs' if before.running else ''}")
    return True


def _left(client: Client, observed: Observed | None) -> list[str]:
    """The snapshots before a change that are still there: the runs that took them have died."""
    if observed is None or "parent" not in observed.config:  # it names the latest snapshot
        return []
    return [name for name in snapshots(client, observed) if name.startswith(f"{BEFORE}-")]


def _remove(
    client: Client, desired: DesiredGuest, names: Sequence[str], log: Callable[[str], None]
) -> None:
    guest = observe(client, desired.vmid) if names else None
    if guest is None:
        return
    for name in names:
        log(f"{desired.label}: removing snapshot {name}, left by a run that died")
        client.write("DELETE", f"{api_path(guest)}/snapshot/{name}")


def unfinished(guest: Observed) -> bool:
    """Whether a guest that Phoenix made still lacks its first snapshot."""
    return UNFINISHED in guest.config.get("description", "").splitlines()


def marked(desired: DesiredGuest) -> DesiredGuest:
    """A new guest as it is to be until it has its first snapshot."""
    note = desired.keys["description"].written(None)
    keys = {**desired.keys, "description": Note(f"{note}\n{UNFINISHED}", MARK)}
    return replace(desired, keys=keys)
