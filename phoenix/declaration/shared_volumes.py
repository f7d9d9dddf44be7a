"""`shared_volumes` of the hypervisor's file: one folder of the hypervisor in several containers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from phoenix.declaration.guests import Entry
from phoenix.declaration.json_errors import join
from phoenix.declaration.json_keys import RawLxc, RawMountPoint, RawSharedVolume
from phoenix.site.findings import Report


def with_mounts(
    entries: Sequence[Entry], volumes: Mapping[str, RawSharedVolume], file: str, report: Report
) -> tuple[Entry, ...]:
    """The entries, each with the folders that it shares beside its own.

    Args:
        entries: all guests.
        volumes: as `file` declares them at `shared_volumes`.
        file: see above.
        report: takes what is wrong: no such container, or another folder at the same place.
    """
    by_id = {str(entry.vmid): entry for entry in entries}
    for name, volume in volumes.items():
        if not volume.mounts:
            report.warn(
                file, join("shared_volumes", name), "no container has it, so nothing is mounted",
                'write "mounts": {"ID": "/PATH"}, or remove it',
            )  # fmt: skip
        for vmid, path in volume.mounts.items():
            where = join("shared_volumes", name, "mounts", vmid)
            entry = by_id.get(vmid)
            if entry is None or not isinstance(entry.raw, RawLxc):
                report.warn(
                    file, where, "no container has this id, so nothing is mounted",
                    "correct the id, or remove the line",
                )  # fmt: skip
                continue
            raw = entry.raw
            present = [mounted for mounted in raw.mount_points if mounted.container_path == path]
            if present and present[0].host_path != volume.host_path:
                report.error(
                    file, where,
                    f"{path} of container {vmid} is {present[0].host_path} by its mount_points",
                    "write another path, or keep one of the two",
                )  # fmt: skip
            if not present:
                mount = RawMountPoint(host_path=volume.host_path, container_path=path)
                more = raw.model_copy(update={"mount_points": (*raw.mount_points, mount)})
                by_id[vmid] = replace(entry, raw=more)
    # Of two guests with one id, which is refused, both stay.
    changed = {entry.source: entry for entry in by_id.values()}
    return tuple(changed.get(entry.source, entry) for entry in entries)
