"""What a stack has on its old host, and what of it is copied. Pure.

Docker's answers come from `contents.sh`; the fields are those of `docker inspect`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from phoenix.components.answers import unexpected
from phoenix.components.docker.projects import Anonymous, is_anonymous
from phoenix.derived.certificates import STACKS

_OF_THE_HOST = ("/bin", "/boot", "/dev", "/etc", "/lib", "/proc", "/run", "/sbin", "/sys",
                "/usr", "/var/lib/docker", "/var/log", "/var/run")  # fmt: skip
"""Below these every host has its own: what a stack mounts from there is not its data."""

_OWN_PAIR = re.compile(re.escape(STACKS) + r"/[^/]+/tls\Z")
"""The directory of a stack's own certificate and key."""

_Volume = tuple[str, str, Mapping[str, str], Mapping[str, str], str]
"""Name, driver, options, labels, directory."""


class ContentsError(ValueError):
    """Docker's answer is not of the expected form."""


@dataclass(frozen=True)
class Place:
    """A directory whose content is copied.

    Attributes:
        kind: a named volume, or a directory of the host that containers write to.
        name: the volume's name, or the directory.
        directory: where the content is on the old host.
        labels: `NAME=VALUE`, those of the volume.
    """

    kind: str
    name: str
    directory: str
    labels: tuple[str, ...] = ()

    def __str__(self) -> str:
        """The text for the operator."""
        return f"{self.kind} {self.name}"


@dataclass(frozen=True)
class Contents:
    """What is copied; what is not, in words; and why nothing can be."""

    places: tuple[Place, ...]
    notes: tuple[str, ...]
    faults: tuple[str, ...]


def read(lines: Iterable[str]) -> Contents:
    """The contents of a stack, from the lines of `contents.sh`.

    Raises:
        ContentsError: a line is of another form; names it.
    """
    containers: list[tuple[str, list[Mapping[str, Any]]]] = []
    volumes: list[_Volume] = []
    users: list[tuple[str, list[Mapping[str, Any]]]] = []
    for line in lines:
        try:
            kind, *values = json.loads(line)
            if kind == "container":
                containers.append((values[0].removeprefix("/"), values[1] or []))
            elif kind == "user":
                users.append((values[0].removeprefix("/"), values[1] or []))
            else:
                volume, driver, options, labels, directory = values
                volumes.append((volume, driver, options or {}, labels or {}, directory))
        except (ValueError, TypeError, IndexError, AttributeError):
            raise ContentsError(unexpected(line, of="docker")) from None
    places, notes = _volumes(volumes, _mounted(containers))
    folders, more = _folders(containers)
    faults = [
        f"{name} runs and uses the volume {mount['Name']} as well: stop it first"
        for name, mounts in users
        for mount in mounts
        if mount.get("Type") == "volume" and mount.get("Name") in {place.name for place in places}
    ]
    return Contents((*places, *folders), (*notes, *more), tuple(faults))


def _mounted(
    containers: Iterable[tuple[str, list[Mapping[str, Any]]]],
) -> dict[str, tuple[str, str]]:
    """For each volume a container that mounts it, and the mount's path."""
    return {
        str(mount.get("Name")): (name, str(mount.get("Destination", "")))
        for name, mounts in containers
        for mount in mounts
        if mount.get("Type") == "volume"
    }


def _volumes(
    volumes: Iterable[_Volume], mounted: Mapping[str, tuple[str, str]]
) -> tuple[list[Place], list[str]]:
    places, notes = [], []
    for name, driver, options, labels, directory in volumes:
        if is_anonymous(name):
            anonymous = Anonymous(name, *mounted.get(name, ("no container", directory)))
            notes.append(f"{anonymous} is not copied: data that must be kept need a name in the "
                         "compose file")  # fmt: skip
        elif driver != "local" or options.get("type") or options.get("device"):
            notes.append(f"the volume {name} is not copied: its data are elsewhere ({driver}, "
                         f"{json.dumps(options, sort_keys=True)})")  # fmt: skip
        else:
            pairs = tuple(f"{key}={value}" for key, value in sorted(labels.items()))
            places.append(Place("volume", name, directory, pairs))
    return places, notes


def _folders(
    containers: Iterable[tuple[str, list[Mapping[str, Any]]]],
) -> tuple[list[Place], list[str]]:
    places: dict[str, Place] = {}
    notes: dict[str, None] = {}
    for _, mounts in containers:
        for mount in mounts:
            source = str(mount.get("Source", ""))
            if mount.get("Type") == "bind" and _OWN_PAIR.match(source):
                # The CA proves the name where it leads: to the old host, until the move is proven.
                places.setdefault(source, Place("directory", source, source))
                continue
            if mount.get("Type") != "bind" or _is_of_the_host(source):
                continue
            if mount.get("RW"):
                places.setdefault(source, Place("directory", source, source))
            else:
                notes[f"{source} is mounted read-only, and is not copied"] = None
    # A directory within another one is copied with it.
    tops = [place for path, place in places.items()
            if not any(str(up) in places for up in PurePosixPath(path).parents)]  # fmt: skip
    return tops, list(notes)


def _is_of_the_host(path: str) -> bool:
    return path == "/" or any(path == top or path.startswith(f"{top}/") for top in _OF_THE_HOST)
