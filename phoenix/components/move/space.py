"""Whether a host has room for what is copied to it. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

_SPARE = 64 << 20


def fits(sizes: Sequence[int], free: Sequence[str]) -> str:
    """Why the copies do not fit; empty where they do.

    Args:
        sizes: bytes on the disk of the old host, one for each directory.
        free: for each of them "FILE-SYSTEM BYTES" of the new host, as `space.sh free` prints it.
    """
    needed: dict[str, int] = defaultdict(int)
    room: dict[str, int] = {}
    for size, line in zip(sizes, free, strict=True):
        system, _, left = line.rpartition(" ")
        needed[system.strip()] += size
        room[system.strip()] = int(left)
    for system, size in needed.items():
        # Other block sizes, and room for the stack to start.
        size_needed = size + size // 20 + _SPARE
        if size_needed > room[system]:
            return (
                f"{size_needed >> 20} MiB are needed on {system}, and {room[system] >> 20} MiB "
                "are free"
            )
    return ""
