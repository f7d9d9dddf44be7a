"""Making guests as they shall be: look, take the next step, look again, until none is left.

Each step is one write. A run that ended anywhere is finished by the next, since a step comes from
what is there and from nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from phoenix.declaration.settings import Image
from phoenix.proxmox.client import Client
from phoenix.proxmox.desired import Archive, Clone, CloudImage, Wanted
from phoenix.proxmox.diff import Difference, Growth, Observed, verdict
from phoenix.proxmox.errors import ChangedError, LostAnswerError, ProxmoxError, RefusedError
from phoenix.proxmox.observe import (
    base,
    check_images,
    check_quorum,
    check_storages,
    located,
    observe,
    snapshots,
    volume_exists,
)

_ROUNDS = 12
_SURPRISES = 3  # lost answers, and changes by others, before we give up
# A template's own disk, before guests grow theirs; Proxmox VE takes no container without one.
_LXC_DISK_GB = 8
# What a guest that is being made is locked with; what is left over after a crash looks the same.
_MAKING = ("create", "clone", "disk")


@dataclass(frozen=True)
class Step:
    """One write to the API; `what` is for a person."""

    what: str
    method: str
    path: str
    data: Mapping[str, Any]


@dataclass(frozen=True)
class Options:
    """How guests are converged: those to adopt by id, and images the hypervisor may download."""

    adopt: frozenset[int] = frozenset()
    images: Mapping[str, Image] | None = None


def next_step(client: Client, wanted: Wanted, options: Options) -> Step | None:
    """The next write that brings a guest closer; None when it is as declared.

    Raises:
        RefusedError: what is there isn't ours to change, or can't become what is declared.
        ProxmoxError: the state can't be read.
    """
    observed = observe(client, wanted.vmid)
    if observed is None:
        return _creation(client, wanted, options)
    if observed.lock in _MAKING and not observed.ours:
        # Clones carry our description from the first moment: without it, another one is at work.
        raise RefusedError(
            f"{wanted.label} is locked ({observed.lock}): someone makes it right now, or a task of "
            f"theirs was interrupted. mend: wait; or remove what is half-made by hand"
        )
    difference = verdict(wanted, observed, wanted.vmid in options.adopt)
    if difference.refusals:
        raise RefusedError(f"{wanted.label}: " + "\n".join(difference.refusals))
    if step := _change(difference, observed):
        return step
    if wanted.template and observed.ours and not observed.template:
        return Step(f"make {wanted.label} a template", "POST", f"{base(observed)}/template", {})
    return None


def pending_steps(client: Client, wanted: Wanted, options: Options) -> tuple[str, ...]:
    """What converging would do, a line each; nothing is asked about sources that come first.

    Raises:
        ProxmoxError: as `next_step`.
    """
    if observe(client, wanted.vmid) is None and wanted.origin is not None:
        return (f"create {wanted.label}",)
    step = next_step(client, wanted, options)
    if step is None:
        return ()
    observed = observe(client, wanted.vmid)
    if observed is None or step.method == "POST":
        return (step.what,)
    return verdict(wanted, observed, wanted.vmid in options.adopt).lines or (step.what,)


def preflight(client: Client, guests: Sequence[Wanted], options: Options) -> tuple[str, ...]:
    """Everything that would stop a run half-way, asked before its first write: no write at all.

    Raises:
        ProxmoxError: the API can't be read.
    """
    check_quorum(client)
    there = located(client)
    absent = [guest for guest in guests if guest.vmid not in there]
    ids = {guest.vmid for guest in guests}
    faults = []
    for guest in guests:
        if guest.vmid in there:
            try:
                next_step(client, guest, options)
            except RefusedError as error:
                faults.append(str(error))
        elif guest.origin is None:
            faults.append(_nothing_to_make_from(guest))
        elif isinstance(guest.origin, Clone) and guest.origin.source not in {*there, *ids}:
            faults.append(
                f"{guest.label} is cloned from {guest.origin.source}, which is absent and which no "
                "entry declares. mend: add its entry, or change the clone source"
            )
    faults += check_storages(client, absent)
    if not faults:  # the images lie on a storage, too
        faults += check_images(client, absent, options.images or {})
    return tuple(dict.fromkeys(faults))


def _nothing_to_make_from(wanted: Wanted) -> str:
    keys = "template or clone_from_ctid"
    if wanted.kind == "qemu":
        keys = "template_image or clone_from_vmid"
    return (
        f"{wanted.label} is absent, and {wanted.place} names nothing to make it from. mend: write "
        f"{keys}"
    )


def converge(
    client: Client,
    wanted: Wanted,
    options: Options,
    log: Callable[[str], None] = lambda _line: None,
) -> bool:
    """Make one guest as declared, without starting or stopping it; whether anything was written.

    Raises:
        ProxmoxError: with the reason; the next run goes on from what is there.
    """
    changed, lost, last = False, 0, ""
    for _ in range(_ROUNDS):
        step = next_step(client, wanted, options)
        if step is None:
            return changed
        last = step.what
        log(last)
        try:
            client.write(step.method, step.path, step.data)
        except (LostAnswerError, ChangedError) as error:
            lost += 1
            if lost == _SURPRISES:
                raise
            log(f"looking again at what is there: {error}")
        changed = True
    raise ProxmoxError(
        f"{wanted.label} still differs after {_ROUNDS} writes: the last was: {last}. "
        "mend: Proxmox VE keeps a value that we write in another form; report it"
    )


def _change(difference: Difference, observed: Observed) -> Step | None:
    """All changed keys in one write; then each disk that is to grow."""
    path = base(observed)
    if difference.changes:
        data: dict[str, Any] = {change.key: change.after for change in difference.changes}
        if observed.digest:
            data["digest"] = observed.digest  # another's change in between is not overwritten
        shown = ", ".join(change.key for change in difference.changes)
        return Step(
            f"set {shown} of {observed.kind} {observed.vmid}", "PUT", f"{path}/config", data
        )
    if difference.growths:
        growth: Growth = difference.growths[0]
        return Step(
            f"grow {growth} of {observed.kind} {observed.vmid}",
            "PUT",
            f"{path}/resize",
            {"disk": growth.disk, "size": f"{growth.after_gb}G"},
        )
    return None


def _creation(client: Client, wanted: Wanted, options: Options) -> Step:
    origin = wanted.origin
    if origin is None:
        raise RefusedError(_nothing_to_make_from(wanted))
    if isinstance(origin, Clone):
        return _clone(client, wanted, origin)
    if not volume_exists(client, wanted.node, origin.volume):
        return _download(wanted, origin, options.images or {})
    if wanted.storage is None:
        raise RefusedError(
            f"{wanted.label} is absent, and {wanted.place} names no storage. mend: write "
            "storage_pool"
        )
    make = _new_container if isinstance(origin, Archive) else _new_vm
    return Step(
        f"create {wanted.label} from {origin.volume}",
        "POST",
        f"nodes/{wanted.node}/{wanted.kind}",
        make(wanted, origin.volume, wanted.storage),
    )


def _download(wanted: Wanted, origin: Archive | CloudImage, images: Mapping[str, Image]) -> Step:
    image = images.get(origin.file)
    if image is None:
        raise RefusedError(
            f"{wanted.label} can't be made: {origin.volume} is not there. mend: put it there, or "
            f"give proxmox_images[{origin.file!r}] a url and a sha256 in group_data"
        )
    storage, _, name = origin.volume.partition(":")
    content, _, file = name.partition("/")
    return Step(
        f"download {origin.volume} on {wanted.node}",
        "POST",
        f"nodes/{wanted.node}/storage/{storage}/download-url",
        {
            "content": content,
            "filename": file,
            "url": image.url,
            "checksum": image.sha256,
            "checksum-algorithm": "sha256",
        },
    )


def _clone(client: Client, wanted: Wanted, origin: Clone) -> Step:
    """A full clone: it lives on when its template is made anew."""
    source = observe(client, origin.source)
    if source is None:
        raise RefusedError(
            f"{wanted.label} is cloned from {origin.source}, which is absent and which no entry "
            "declares as a template. mend: add its entry, or change the clone source"
        )
    if source.kind != wanted.kind:
        raise RefusedError(
            f"{wanted.label} is cloned from {origin.source}, which is a {source.kind} guest"
        )
    data: dict[str, Any] = {
        "newid": wanted.vmid,
        "hostname" if wanted.kind == "lxc" else "name": wanted.name,
        "description": wanted.keys["description"].written(None),
        "full": 1,
    }
    if wanted.storage:
        data["storage"] = wanted.storage
    if wanted.node != source.node:
        data["target"] = wanted.node
    if not source.template and origin.snapshot in snapshots(client, source):
        data["snapname"] = origin.snapshot
    elif not source.template and source.running:
        raise RefusedError(
            f"{wanted.label} is cloned from {origin.source}, which runs, is no template and has no "
            f"snapshot {origin.snapshot!r}. mend: stop it, or take that snapshot"
        )
    return Step(
        f"create {wanted.label} as a clone of {origin.source}",
        "POST",
        f"{base(source)}/clone",
        data,
    )


def _written(wanted: Wanted) -> dict[str, Any]:
    keys = {**wanted.keys, **wanted.fixed}
    return {key: want.written(None) for key, want in keys.items()}


def _new_container(wanted: Wanted, volume: str, storage: str) -> dict[str, Any]:
    data = _written(wanted) | {
        "vmid": wanted.vmid,
        "ostemplate": volume,
        "storage": storage,
        "rootfs": f"{storage}:{wanted.disk_gb or _LXC_DISK_GB}",
    }
    if wanted.ssh_keys:
        data["ssh-public-keys"] = "\n".join(wanted.ssh_keys)
    return data


def _new_vm(wanted: Wanted, volume: str, storage: str) -> dict[str, Any]:
    """What a cloud image needs: a virtio disk, a cloud-init drive and a serial console."""
    return _written(wanted) | {
        "vmid": wanted.vmid,
        "ostype": "l26",
        "scsihw": "virtio-scsi-single",
        "scsi0": f"{storage}:0,import-from={volume},discard=on",
        "ide2": f"{storage}:cloudinit",
        "boot": "order=scsi0",
        "serial0": "socket",
        "vga": "serial0",
    }
