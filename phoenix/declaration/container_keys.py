"""What a container's entry says to Proxmox VE alone: features, folders, volumes, devices, ids."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from phoenix.declaration import lxc_lines
from phoenix.declaration.json_keys import PVE_FEATURE_PATTERN, PVE_FEATURES, RawIdMap, RawLxc
from phoenix.site.findings import Report
from phoenix.site.model import BindMount, ContainerSettings, GuestVolume, Source

FIRST_HOST_ID, IDS = 100_000, 65_536
"""How Proxmox VE maps the ids of an unprivileged container (pct(1), "Unprivileged Containers")."""
_GPU_NODES = ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools")
"""Nodes that each process needs beside its GPU's own (NVIDIA Container Toolkit, "Devices")."""


_OWN = ("/bin", "/boot", "/dev", "/etc", "/etc/phoenix", "/etc/systemd", "/lib", "/lib32",
        "/lib64", "/proc", "/run", "/sbin", "/sys", "/usr", "/usr/bin", "/usr/lib", "/usr/local",
        "/usr/sbin", "/var", "/var/lib", "/var/lib/docker", "/var/lib/dpkg",
        "/var/lib/phoenix")  # fmt: skip
"""Directories that a guest needs whole (hier(7)), and those of Phoenix and Docker."""
_KERNEL = ("/proc", "/sys")


def hides_guest_files(path: str) -> bool:
    """Whether a mount at a path would hide what the guest itself runs on."""
    return path in _OWN or any(path.startswith(f"{system_path}/") for system_path in _KERNEL)


def is_of_proxmox(feature: str) -> bool:
    """Whether a word of `features` is a feature of Proxmox VE, in whatever form."""
    return feature.partition("=")[0] in PVE_FEATURES


def software(features: Iterable[str]) -> tuple[str, ...]:
    """The words of `features` that are of the guest's software."""
    return tuple(feature for feature in features if not is_of_proxmox(feature))


def settings(raw: RawLxc, source: Source, report: Report) -> ContainerSettings:
    """What Proxmox VE is to have of a container; what is wrong or stays with a person is told.

    Args:
        raw: the container's entry, which stands at `source`.
        source: see `raw`.
        report: takes the findings.
    """
    _check_features(raw, source, report)
    _check_ports(raw, source, report)
    _check_paths(raw, source, report)
    idmap = tuple(_idmap(raw, source, report))
    for position in range(len(raw.mount_points)):
        _tell_owner(raw, position, source, report)
    words = [word for word in raw.features if re.match(PVE_FEATURE_PATTERN, word)]
    gpus = [f"/dev/nvidia{number}" for number in raw.gpu_assignment]
    return ContainerSettings(
        features=tuple(
            (name, value or "1") for name, _, value in (w.partition("=") for w in words)
        ),
        volumes=tuple(
            GuestVolume(path=volume.mount_point, storage=volume.pool, size_gb=volume.size_gb)
            for volume in raw.zfs_volumes
        ),
        bind_mounts=tuple(
            BindMount(
                path=mount.container_path, host_path=mount.host_path, read_only=mount.read_only
            )
            for mount in raw.mount_points
        ),
        devices=(*gpus, *_GPU_NODES) if gpus else (),
        idmap=idmap,
        low_level=lxc_lines.lines(raw, source, report),
    )


def _check_features(raw: RawLxc, source: Source, report: Report) -> None:
    first: dict[str, str] = {}
    for position, word in enumerate(raw.features):
        if is_of_proxmox(word) and not re.match(PVE_FEATURE_PATTERN, word):
            report.error(
                source.file,
                f"{source.path}.features[{position}]",
                f"{word[:80]!r} is not how Proxmox VE writes this feature",
                "write nesting=1, keyctl=1, fuse=1, mknod=1, force_rw_sys=1 or mount=nfs;cifs",
            )
        name, _, value = word.partition("=")
        if is_of_proxmox(word) and first.setdefault(name, value or "1") != (value or "1"):
            report.error(
                source.file,
                f"{source.path}.features[{position}]",
                f"{word[:80]!r} contradicts {name}={first[name][:80]}",
                "keep one of the two",
            )


def _check_order(raw: RawLxc, source: Source, report: Report) -> None:
    """Proxmox VE mounts by number, and volumes have lower ones than folders of the hypervisor."""
    folders = [mount.container_path for mount in raw.mount_points]
    places = [f"mount_points[{i}].container_path" for i in range(len(folders))]
    volumes = [volume.mount_point for volume in raw.zfs_volumes]
    places = [*(f"zfs_volumes[{i}].mount_point" for i in range(len(volumes))), *places]
    paths = [*volumes, *folders]
    for position, above in hidden(paths):
        later = position >= len(volumes)
        fix = f"declare what is at {above} before it" if later else "write another path"
        report.warn(
            source.file, f"{source.path}.{places[position]}",
            f"{paths[position]} is hidden by the mount at {above} after it", fix,
        )  # fmt: skip


def _check_ports(raw: RawLxc, source: Source, report: Report) -> None:
    """Tell of a mapping to another number: the container has its own address and ports."""
    for position, text in enumerate(raw.ports):
        outside, _, inside = text.partition("/")[0].rpartition(":")
        if outside and outside.rpartition(":")[2] != inside:
            report.warn(
                source.file,
                f"{source.path}.ports[{position}]",
                f"port {outside[:20]} is not mapped to {inside[:20]}: a container has an address "
                "of its own",
                f"ask it at port {inside[:20]}, and write that number on both sides",
            )


def hidden(paths: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Mounts that a later one above them hides: their positions, and the path of that one.

    Args:
        paths: of the mounts, in the order in which they are made.
    """
    for position, path in enumerate(paths):
        above = next(
            (parent for parent in paths[position + 1 :] if path.startswith(f"{parent}/")), None
        )
        if above is not None:
            yield position, above


def _check_paths(raw: RawLxc, source: Source, report: Report) -> None:
    """Refuse two mounts at one place; tell of one that another one hides."""
    _check_order(raw, source, report)
    earlier: set[str] = set()
    places = [
        *((f"mount_points[{i}].container_path", m.container_path)
          for i, m in enumerate(raw.mount_points)),
        *((f"zfs_volumes[{i}].mount_point", v.mount_point)
          for i, v in enumerate(raw.zfs_volumes)),
    ]  # fmt: skip
    for where, path in places:
        if path in earlier:
            report.error(
                source.file, f"{source.path}.{where}", f"something else is mounted at {path}",
                "write another path, or keep one of the two",
            )  # fmt: skip
        earlier.add(path)
        if hides_guest_files(path):
            report.error(
                source.file, f"{source.path}.{where}", f"{path} of the guest itself would be "
                f"hidden by the mount there", "write another path, as /mnt/media",
            )  # fmt: skip


def _tell_owner(raw: RawLxc, position: int, source: Source, report: Report) -> None:
    """Give the command that makes a folder its declared owner's: data keep their owners here."""
    mount = raw.mount_points[position]
    if mount.owner_uid is None and mount.owner_gid is None:
        return
    user = _outside(raw, "uid", mount.owner_uid or 0)
    group = _outside(raw, "gid", mount.owner_gid or 0)
    report.warn(
        source.file,
        f"{source.path}.mount_points[{position}]",
        "the owner of a folder of the hypervisor stays with you",
        f"run `chown -R {user}:{group} {mount.host_path}` there once, and remove owner_uid and "
        "owner_gid",
    )


def _outside(raw: RawLxc, kind: str, number: int) -> int:
    """An id inside the container as the hypervisor has it."""
    for id_map in raw.id_maps:
        if (
            id_map.type == kind
            and id_map.container_id <= number < id_map.container_id + id_map.size
        ):
            return id_map.host_id + number - id_map.container_id
    return number + FIRST_HOST_ID if raw.unprivileged else number


def _idmap(raw: RawLxc, source: Source, report: Report) -> Iterator[str]:
    """The whole map, in lxc.container.conf(5)'s form; nothing where the entry declares none."""
    if not raw.id_maps:
        return
    if not raw.unprivileged:
        report.error(
            source.file, f"{source.path}.id_maps", "a privileged container has no id map",
            'write "unprivileged": true, or remove it',
        )  # fmt: skip
        return
    for kind in ("uid", "gid"):
        id_maps = [id_map for id_map in raw.id_maps if id_map.type == kind]
        lines = _lines(id_maps, kind, raw, source, report) if len(id_maps) <= _MAX_LINES else ()
        if lines is None:
            return
        if (number := max(len(id_maps), len(lines))) > _MAX_LINES:
            message = (
                f"the id map of {kind}s has {number} lines with what lies between, and Linux takes "
                f"{_MAX_LINES}: the container would not start"
            )
            fix = "map ranges by size, or fewer ids"
            report.error(source.file, f"{source.path}.id_maps", message, fix)
            return
        yield from lines


def _lines(
    id_maps: Iterable[RawIdMap], kind: str, raw: RawLxc, source: Source, report: Report
) -> Sequence[str] | None:
    """The map of users or of groups; None with the reason reported."""
    free = 0
    lines: list[str] = []
    for id_map in sorted(id_maps, key=_first):
        if id_map.container_id < free or id_map.container_id + id_map.size > IDS:
            report.error(
                source.file,
                f"{source.path}.id_maps[{raw.id_maps.index(id_map)}]",
                f"{kind}s {id_map.container_id} to {id_map.container_id + id_map.size - 1} "
                f"are mapped twice, or lie above {IDS - 1}",
                "map each id once",
            )
            return None
        if not _is_apart(id_map, kind, raw, source, report):
            return None
        if id_map.container_id > free:
            lines.append(_line(kind, free, FIRST_HOST_ID + free, id_map.container_id - free))
        lines.append(_line(kind, id_map.container_id, id_map.host_id, id_map.size))
        free = id_map.container_id + id_map.size
    if free < IDS:
        lines.append(_line(kind, free, FIRST_HOST_ID + free, IDS - free))
    return lines


_MAX_LINES = 340
"""Of a map of ids in Linux (user_namespaces(7))."""


def _is_apart(id_map: RawIdMap, kind: str, raw: RawLxc, source: Source, report: Report) -> bool:
    """Whether no other id inside is the same one on the hypervisor (user_namespaces(7))."""
    place = f"{source.path}.id_maps[{raw.id_maps.index(id_map)}]"
    last = id_map.host_id + id_map.size - 1
    ends = [
        (other.host_id, other.host_id + other.size - 1)
        for other in raw.id_maps
        if other.type == kind and other is not id_map
    ]
    ends.append((FIRST_HOST_ID, FIRST_HOST_ID + IDS - 1))
    if any(id_map.host_id <= end and begin <= last for begin, end in ends):
        report.error(
            source.file, place,
            f"{kind}s {id_map.host_id} to {last} of the hypervisor are other ids of it, too",
            f"write ids of the hypervisor that no other map has, outside {FIRST_HOST_ID} to "
            f"{FIRST_HOST_ID + IDS - 1}",
        )  # fmt: skip
        return False
    if id_map.host_id == 0:
        report.warn(
            source.file, place,
            f"{kind} {id_map.container_id} of the container is root's on the hypervisor: "
            "whoever has it there owns root's files in each folder that the container has",
            "write an id that no other map uses there",
        )  # fmt: skip
    return True


def _first(id_map: RawIdMap) -> int:
    return id_map.container_id


def _line(kind: str, inside: int, outside: int, count: int) -> str:
    return f"{kind[0]} {inside} {outside} {count}"
