"""Converge guests: observe, take the next step, observe again, until no step is left.

Each step is one write, and follows from the observed state alone. So the next run finishes what an
interrupted run began.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from phoenix.declaration.settings import Image
from phoenix.proxmox import values
from phoenix.proxmox.client import Client
from phoenix.proxmox.desired import Archive, Clone, CloudImage, DesiredGuest
from phoenix.proxmox.diff import Difference, Growth, Observed, verdict
from phoenix.proxmox.errors import (
    AlreadyError,
    ChangedError,
    LostAnswerError,
    ProxmoxError,
    RefusedError,
)
from phoenix.proxmox.observe import (
    api_path,
    observe,
    snapshots,
    volume_exists,
)
from phoenix.proxmox.placement import moves, next_move, sentence
from phoenix.proxmox.storages import is_shared, vm_format, volumes

_MAX_WRITES = 12
_MAX_FAILURES = 3  # lost answers, and changes by others, before we give up
# A template's own disk, before guests grow theirs; Proxmox VE takes no container without one.
_LXC_DISK_GB = 8
# Locks of a guest that is being created; a crash leaves the same locks.
_CREATION_LOCKS = ("create", "clone", "disk")


_FOLLOW = "FOLLOW"


@dataclass(frozen=True)
class Step:
    """One write to the API, or a task to wait for (`_FOLLOW`); `summary` is for a person."""

    summary: str
    method: str
    path: str
    data: Mapping[str, Any]


@dataclass(frozen=True)
class Options:
    """How guests are converged: those to adopt by id, and images the hypervisor may download.

    `stop`: a guest that cannot move to its node while it runs may be stopped for it.
    """

    adopt: frozenset[int] = frozenset()
    images: Mapping[str, Image] | None = None
    stop: bool = False


def next_step(client: Client, desired: DesiredGuest, options: Options) -> Step | None:
    """The next write that brings a guest closer; None when it is as declared.

    Raises:
        RefusedError: Phoenix must not change the guest, or it can't become what is declared.
        ProxmoxError: the state can't be read.
    """
    return step_from(client, desired, observe(client, desired.vmid), options)


def step_from(
    client: Client, desired: DesiredGuest, observed: Observed | None, options: Options
) -> Step | None:
    """`next_step` of a guest that has just been observed; None where there is none.

    Raises:
        ProxmoxError: as `next_step`.
    """
    if observed is None:
        return _creation(client, desired, options)
    if observed.lock in _CREATION_LOCKS and not observed.managed:
        # Our clones have our description from the first moment; any other clone is a person's.
        for upid, status in _tasks(client, observed, "vzcreate", "qmcreate").items():
            if status is None:  # of a run that was ended, it may be: what comes of it is compared
                return Step(f"wait until {desired.label} is created", _FOLLOW, upid, {})
        raise RefusedError(
            f"{desired.label} is locked ({observed.lock}): another task is creating it, or such a "
            "task was interrupted. fix: wait; or remove the incomplete guest by hand"
        )
    difference = verdict(desired, observed, desired.vmid in options.adopt)
    if difference.refusals:
        raise RefusedError(f"{desired.label}: " + "\n".join(difference.refusals))
    if step := _move(client, desired, observed, options):
        return step
    if step := _change(difference, observed):
        return step
    if desired.template and observed.managed and not observed.template:
        return Step(
            f"make {desired.label} a template", "POST", f"{api_path(observed)}/template", {}
        )
    return None


def _move(
    client: Client, desired: DesiredGuest, observed: Observed, options: Options
) -> Step | None:
    move = next_move(client, desired, observed, stop=options.stop)
    if move is None:
        return None
    if not observed.managed and desired.vmid not in options.adopt:
        raise RefusedError(
            f"{sentence(desired, observed)}, and it was not made by Phoenix. fix: move it by hand; "
            f"or add {desired.vmid} to proxmox_adopt in group_data"
        )
    return Step(move.summary, "POST", move.path, move.data)


def pending_steps(client: Client, desired: DesiredGuest, options: Options) -> tuple[str, ...]:
    """What converging would do, a line each; sources that are created first are not checked.

    Raises:
        ProxmoxError: as `next_step`.
    """
    observed = observe(client, desired.vmid)
    if observed is None and desired.origin is not None:
        return (f"create {desired.label}",)
    step = step_from(client, desired, observed, options)
    if step is None:
        return ()
    if observed is None:
        return (step.summary,)
    lines = verdict(desired, observed, desired.vmid in options.adopt).lines
    if moves(client, desired, observed):
        return (step.summary, *lines)
    if step.method in ("POST", _FOLLOW):
        return (step.summary,)
    return lines or (step.summary,)


def nothing_to_make_from(desired: DesiredGuest) -> str:
    """Why an absent guest cannot be made whose entry names no source, with the fix."""
    keys = "template or clone_from_ctid"
    if desired.kind == "qemu":
        keys = "template_image or clone_from_vmid"
    return (
        f"{desired.label} is absent, and {desired.declared_in} names nothing to create it from. "
        f"fix: write {keys}"
    )


def converge(
    client: Client,
    desired: DesiredGuest,
    options: Options,
    log: Callable[[str], None] = lambda _line: None,
) -> bool:
    """Make one guest as declared, without starting or stopping it; whether anything was written.

    Raises:
        ProxmoxError: with the reason; the next run continues from the observed state.
    """
    changed, failures, last = False, 0, ""
    for _ in range(_MAX_WRITES):
        step = next_step(client, desired, options)
        if step is None:
            return changed
        last = step.summary
        log(last)
        try:
            _take(client, step, desired.vmid)
        except (LostAnswerError, ChangedError) as error:
            failures += 1
            if failures == _MAX_FAILURES:
                raise
            log(f"reading the state again: {error}")
        changed = True
    raise ProxmoxError(
        f"{desired.label} still differs after {_MAX_WRITES} writes: the last was: {last}. "
        "fix: Proxmox VE keeps a value that we write in another form; report it"
    )


def _take(client: Client, step: Step, vmid: int) -> None:
    if step.method == _FOLLOW:
        client.follow(step.path)
    elif step.path.endswith("/template"):
        make_template(client, vmid)
    else:
        client.write(step.method, step.path, step.data)


def make_template(client: Client, vmid: int) -> None:
    """Convert a guest to a template, and wait until it is one.

    For a container the API answers null, and works on. A conversion that still goes on, of a run
    that was ended, is waited for.

    Raises:
        ProxmoxError: it did not become one, with the task's log.
    """
    guest = observe(client, vmid)
    if guest is None:
        raise RefusedError(f"there is no guest {vmid}")
    if guest.template:  # meanwhile
        return
    kind = "vztemplate" if guest.kind == "lxc" else "qmtemplate"
    before = _tasks(client, guest, kind)
    ended = {upid for upid, status in before.items() if status is not None}
    if len(ended) == len(before):  # none goes on
        with contextlib.suppress(AlreadyError):
            client.write("POST", f"{api_path(guest)}/template")

    def converted() -> bool:
        for upid in _tasks(client, guest, kind).keys() - ended:
            client.follow(upid)
        now = observe(client, vmid)
        return now is not None and now.template

    client.wait(converted, f"guest {vmid} becomes a template")


def _tasks(client: Client, guest: Observed, *kinds: str) -> dict[str, str | None]:
    """A guest's tasks of these kinds: what each ended with, None while it goes on."""
    rows = client.get(f"nodes/{guest.node}/tasks", vmid=guest.vmid, source="all", limit=50)
    own = [row for row in rows if row.get("type") in kinds]
    statuses = {str(row["upid"]): row.get("status") for row in own}
    return {upid: None if status == "RUNNING" else status for upid, status in statuses.items()}


def _change(difference: Difference, observed: Observed) -> Step | None:
    """The writes of a change: all changed keys at once, then each disk that grows."""
    path = api_path(observed)
    if difference.changes:
        data: dict[str, Any] = {
            change.key: change.after for change in difference.changes if change.after is not None
        }
        if removed := [change.key for change in difference.changes if change.after is None]:
            data["delete"] = ",".join(removed)
        if observed.digest:
            data["digest"] = observed.digest  # so a change by someone else is not overwritten
        keys = ", ".join(change.key for change in difference.changes)
        return Step(f"set {keys} of {observed.kind} {observed.vmid}", "PUT", f"{path}/config", data)
    if difference.growths:
        growth: Growth = difference.growths[0]
        return Step(
            f"grow {growth} of {observed.kind} {observed.vmid}",
            "PUT",
            f"{path}/resize",
            {"disk": growth.disk, "size": f"{growth.after_gb}G"},
        )
    return None


def _creation(client: Client, desired: DesiredGuest, options: Options) -> Step:
    origin = desired.origin
    if origin is None:
        raise RefusedError(nothing_to_make_from(desired))
    if isinstance(origin, Clone):
        return _clone(client, desired, origin)
    if not volume_exists(client, desired.node, origin.volume):
        return _download(desired, origin, options.images or {})
    if desired.storage is None:
        raise RefusedError(
            f"{desired.label} is absent, and {desired.declared_in} names no storage. fix: write "
            "storage_pool"
        )
    if isinstance(origin, Archive):
        data = _new_container(desired, origin.volume, desired.storage)
    else:
        data = _new_vm(client, desired, origin.volume, desired.storage)
    return Step(
        f"create {desired.label} from {origin.volume}",
        "POST",
        f"nodes/{desired.node}/{desired.kind}",
        data,
    )


def _download(
    desired: DesiredGuest, origin: Archive | CloudImage, images: Mapping[str, Image]
) -> Step:
    image = images.get(origin.file)
    if image is None:
        raise RefusedError(
            f"{desired.label} can't be made: {origin.volume} is not there. fix: put it there, or "
            f"give proxmox_images[{origin.file!r}] a url and a sha256 in group_data"
        )
    storage, _, name = origin.volume.partition(":")
    content, _, file = name.partition("/")
    return Step(
        f"download {origin.volume} on {desired.node}",
        "POST",
        f"nodes/{desired.node}/storage/{storage}/download-url",
        {
            "content": content,
            "filename": file,
            "url": image.url,
            "checksum": image.sha256,
            "checksum-algorithm": "sha256",
        },
    )


def _clone(client: Client, desired: DesiredGuest, origin: Clone) -> Step:
    """A full clone: it does not depend on its template, which may be created again."""
    source = observe(client, origin.source)
    if source is None:
        raise RefusedError(
            f"{desired.label} is cloned from {origin.source}, which is absent and which no entry "
            "declares as a template. fix: add its entry, or change the clone source"
        )
    if source.kind != desired.kind:
        raise RefusedError(
            f"{desired.label} is cloned from {origin.source}, which is a {source.kind} guest"
        )
    folders = [key for key, value in source.config.items() if values.is_of_hypervisor(key, value)]
    if folders:
        raise RefusedError(
            f"{desired.label} is cloned from {origin.source}, which has folders or devices of the "
            f"hypervisor as {', '.join(sorted(folders))}, and Proxmox VE clones no such container. "
            "fix: take them from the source (`pct set --delete`); proxmox_guests gives each clone "
            "its own (bind_mounts)"
        )
    data: dict[str, Any] = {
        "newid": desired.vmid,
        "hostname" if desired.kind == "lxc" else "name": desired.name,
        "description": desired.keys["description"].written(None),
        "full": 1,
    }
    if desired.storage:
        data["storage"] = desired.storage
        disk_format = vm_format(client, desired.node, desired.storage)
        if disk_format and desired.kind == "qemu":
            data["format"] = disk_format
    if desired.node != source.node and _is_cloned_there(client, desired, source):
        data["target"] = desired.node
    if not source.template and origin.snapshot in snapshots(client, source):
        data["snapname"] = origin.snapshot
    elif not source.template and source.running:
        raise RefusedError(
            f"{desired.label} is cloned from {origin.source}, which runs, is not a template and "
            f"has no snapshot {origin.snapshot!r}. fix: stop it, or take that snapshot"
        )
    return Step(
        f"create {desired.label} as a clone of {origin.source}",
        "POST",
        f"{api_path(source)}/clone",
        data,
    )


def _is_cloned_there(client: Client, desired: DesiredGuest, source: Observed) -> bool:
    """Whether a clone is made on another node than its source's at once; else it moves there after.

    Source: "can't clone to non-shared storage" and "VM uses local storage" in clone_vm.
    """
    names = {volume.partition(":")[0] for volume in volumes(source)}
    names |= {desired.storage} if desired.storage else set()
    if all(is_shared(client, source.node, name) for name in names):
        return True
    if desired.placed:
        return False
    raise RefusedError(
        f"{desired.label} is to be made on node {desired.node} as a clone of {source.vmid}, which "
        f"is on node {source.node}, and {', '.join(sorted(names))} is not shared by them. fix: "
        f"name the node in proxmox_guests[{desired.vmid}].node, and it is made there and moved"
    )


def _written(desired: DesiredGuest) -> dict[str, Any]:
    keys = {**desired.keys, **desired.fixed}
    return {name: key.written(None) for name, key in keys.items()}


def _new_container(desired: DesiredGuest, volume: str, storage: str) -> dict[str, Any]:
    data = _written(desired) | {
        "vmid": desired.vmid,
        "ostemplate": volume,
        "storage": storage,
        "rootfs": f"{storage}:{desired.disk_gb or _LXC_DISK_GB}",
    }
    if desired.ssh_keys:
        data["ssh-public-keys"] = "\n".join(desired.ssh_keys)
    return data


def _new_vm(client: Client, desired: DesiredGuest, volume: str, storage: str) -> dict[str, Any]:
    """What a cloud image needs: a virtio disk, a cloud-init drive and a serial console."""
    disk_format = vm_format(client, desired.node, storage)
    form = f",format={disk_format}" if disk_format else ""
    return _written(desired) | {
        "vmid": desired.vmid,
        "ostype": "l26",
        "scsihw": "virtio-scsi-single",
        "scsi0": f"{storage}:0,import-from={volume},discard=on{form}",
        "ide2": f"{storage}:cloudinit",
        "boot": "order=scsi0",
        "serial0": "socket",
        "vga": "serial0",
    }
