"""The difference of the observed and the desired state, and from it the smallest write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import ceil
from typing import NamedTuple

from phoenix.proxmox import values
from phoenix.proxmox.desired import DECLARED, MARK, TAG, DesiredGuest, Kind
from phoenix.proxmox.keys import Flag, Key, Nic, Note, SshKeys, Tags

GIB = 1024**3


@dataclass(frozen=True)
class Observed:
    """One guest as the API shows it. `config` has changes that wait for a restart applied.

    `pending` are the keys whose change waits for a restart; `lock` is who holds the guest.
    """

    vmid: int
    kind: Kind
    node: str
    name: str
    running: bool
    template: bool
    lock: str | None
    config: Mapping[str, str]
    pending: tuple[str, ...] = ()
    digest: str | None = None
    idmap: tuple[str, ...] = ()
    low_level: tuple[tuple[str, str], ...] = ()

    @property
    def managed(self) -> bool:
        """Whether Phoenix made or adopted it: by tag, or by the start of its description."""
        marked = self.config.get("description", "").strip().startswith(MARK)
        return marked or TAG in values.tags(self.config.get("tags", ""))


class Change(NamedTuple):
    """One key that is to be written; `before` is None where it's absent, `after` where it goes."""

    key: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        """The text for the operator."""
        before, after = (
            ", ".join(values.ssh_keys(text)) if text and self.key == "sshkeys" else text
            for text in (self.before, self.after)
        )
        shown = ("(absent)" if text is None else text for text in (before, after))
        return f"{self.key}: {' -> '.join(shown)}"


class Growth(NamedTuple):
    """A disk that is to grow; sizes in GiB."""

    disk: str
    before_gb: float
    after_gb: int

    def __str__(self) -> str:
        """The text for the operator."""
        return f"{self.disk}: {self.before_gb:g} GiB -> {self.after_gb} GiB"


@dataclass(frozen=True)
class Difference:
    """What to write, what can't be written (`refusals`), and what only to report (`remarks`)."""

    changes: tuple[Change, ...] = ()
    growths: tuple[Growth, ...] = ()
    refusals: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether anything is to be written."""
        return bool(self.changes or self.growths)

    @property
    def lines(self) -> tuple[str, ...]:
        """Each difference on a line of its own."""
        return tuple(map(str, (*self.changes, *self.growths)))

    @property
    def substantial(self) -> tuple[str, ...]:
        """The differences apart from our tag and description."""
        changes = [c for c in self.changes if c.key not in ("tags", "description")]
        return tuple(map(str, (*changes, *self.growths)))


def compare(desired: DesiredGuest, observed: Observed) -> Difference:
    """The difference of the keys that we own; a template is never changed once it is one."""
    if desired.kind != observed.kind:
        reason = (
            f"there is a {observed.kind} guest {observed.vmid} ({observed.name}) on "
            f"{observed.node}, and {desired.declared_in} declares a {desired.kind} guest"
        )
        return Difference(refusals=(reason,))
    if desired.template and (observed.template or not observed.managed):
        return Difference()
    refusals = [
        f"{key} is {observed.config.get(key, '0')} and can't be changed after creation; "
        f"declared: {want.written(None)}"
        for key, want in desired.fixed.items()
        if not want.holds(observed.config.get(key))
    ]
    changes = [
        Change(key, observed.config.get(key), want.written(observed.config.get(key)))
        for key, want in _keys(desired, observed).items()
        if not want.holds(observed.config.get(key)) and not _was_for_its_making(want, observed)
    ]
    changes += _mounts(desired, observed)
    changes += _removed_cards(desired, observed)
    growths, remarks = _disk(desired, observed)
    return Difference(tuple(changes), tuple(growths), tuple(refusals), tuple(remarks))


def declared_before(observed: Observed) -> frozenset[str]:
    """What was declared of a guest when Phoenix last wrote its description; see `DECLARED`."""
    first, *lines = observed.config.get("description", "").strip().splitlines() or [""]
    if not first.startswith(MARK):
        return frozenset()
    tokens_by_line = (
        line.removeprefix(DECLARED).split() for line in lines if line.startswith(DECLARED)
    )
    return frozenset(token for tokens in tokens_by_line for token in tokens)


def _keys(desired: DesiredGuest, observed: Observed) -> Mapping[str, Key]:
    """The desired keys, without what left the declaration since the description was written."""
    left = declared_before(observed) - desired.declared
    keys = dict(desired.keys)
    for key, card in desired.keys.items():
        if f"{key}.tag" in left and isinstance(card, Nic):
            keys[key] = replace(card, drop=frozenset({"tag"}))
    if "protection" in left:
        keys["protection"] = Flag(False)
    if isinstance(tags := keys["tags"], Tags):
        own = frozenset(token.removeprefix("tags.") for token in left if token.startswith("tags."))
        keys["tags"] = replace(tags, owned=tags.owned | own)
    return keys


def _was_for_its_making(want: Key, observed: Observed) -> bool:
    """Whether it is a new guest's alone, and this one has been started."""
    return isinstance(want, SshKeys) and want.only_new and observed.running


def _removed_cards(desired: DesiredGuest, observed: Observed) -> Iterator[Change]:
    """Network cards that Phoenix gave the guest, and that have left the declaration."""
    left = declared_before(observed) - desired.declared
    for token in sorted(left):
        if not token.startswith("net") or "." in token:
            continue
        for key in (token, f"ipconfig{token.removeprefix('net')}"):
            if key in observed.config:
                yield Change(key, observed.config[key], None)


def _mounts(desired: DesiredGuest, observed: Observed) -> Iterator[Change]:
    """Mount points by their path inside; a new one gets the first free index."""
    mounts = {
        key: values.parse(value, "volume")
        for key, value in observed.config.items()
        if key.startswith("mp") and key[2:].isdigit()
    }
    paths = {properties.get("mp", "").rstrip("/") for properties in mounts.values()}
    used = set(mounts)
    for mount in desired.mount_points:
        if mount.path.rstrip("/") in paths:
            continue
        key = next(f"mp{n}" for n in range(256) if f"mp{n}" not in used)
        used.add(key)
        text = f"{mount.storage}:{mount.size_gb},mp={mount.path},backup={int(mount.backup)}"
        yield Change(key, None, text)


def disk_key(observed: Observed) -> str | None:
    """The key of the disk that the guest boots from; None where it has none."""
    if observed.kind == "lxc":
        return "rootfs" if "rootfs" in observed.config else None
    order = values.parse(observed.config.get("boot", "")).get("order", "")
    disks = [
        key
        for key, value in sorted(observed.config.items())
        if key.rstrip("0123456789") in ("scsi", "virtio", "sata", "ide")
        and key[-1].isdigit()
        and "media=cdrom" not in value
    ]
    return next((key for key in order.split(";") if key in disks), disks[0] if disks else None)


def _disk(desired: DesiredGuest, observed: Observed) -> tuple[list[Growth], list[str]]:
    disks: list[tuple[str | None, int | None]] = [(disk_key(observed), desired.disk_gb)]
    for mount in desired.mount_points:
        for key, value in observed.config.items():
            properties = values.parse(value, "volume") if key.startswith("mp") else {}
            if properties.get("mp", "").rstrip("/") == mount.path.rstrip("/"):
                disks.append((key, mount.size_gb))
    growths: list[Growth] = []
    remarks: list[str] = []
    for disk, size in disks:
        text = values.parse(observed.config.get(disk or "", ""), "volume").get("size")
        if disk is None or size is None or text is None:
            continue
        current = values.size_bytes(text)
        if current < size * GIB:
            growths.append(Growth(disk, current / GIB, size))
        elif current > size * GIB:
            remarks.append(
                f"{disk} has {current / GIB:g} GiB, {size} GiB are declared: a disk is never "
                f"shrunk. fix: declare {ceil(current / GIB)}; or make a smaller guest beside it, "
                "and move"
            )
    return growths, remarks


def verdict(desired: DesiredGuest, observed: Observed, adopt: bool) -> Difference:
    """`compare`, with the refusals for a guest that a person made.

    A guest that isn't ours is adopted if `adopt` says so, or if it differs in our marks alone. A
    guest of another name is another guest: it is touched after adoption by its id alone.
    """
    difference = compare(desired, observed)
    if observed.managed or adopt or desired.template or difference.refusals:
        return difference
    differing = difference.substantial
    if not differing:
        return difference
    lines = "\n".join(f"  {line}" for line in differing)
    reason = (
        f"it was not made by Phoenix and differs from {desired.declared_in}:\n{lines}\n"
        f"  fix: change the entry or the guest; or add {desired.vmid} to proxmox_adopt in "
        "group_data, and Phoenix makes exactly these changes"
    )
    return Difference(refusals=(reason,), remarks=difference.remarks)


__all__ = ["Change", "Difference", "Growth", "Note", "Observed", "Tags", "compare", "verdict"]
