"""What a compose file reaches beyond its own stack: keys and data of others, and their host.

A stack that reads its host's keys, or another stack's, can pass for their services. Docker follows
each of these ways: bind mounts, volumes with a device, configs and secrets from files of the host,
another container's mounts and processes, Docker's own socket.

Reference: the Compose specification (https://github.com/compose-spec/compose-spec).
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from phoenix.compose.interpolation import InterpolationError, interpolate
from phoenix.derived.certificates import HOST_PAIRS, STACKS, TLS_VARIABLE, stack_directory
from phoenix.site.findings import Report

_PHOENIX = "/etc/phoenix"
_KEYS = (_PHOENIX, "/var/lib/phoenix-acme", "/var/lib/phoenix", "/var/lib/docker", "/etc/ssh",
         "/root", "/var/lib/containerd")  # fmt: skip
"""Directories with keys, secrets and data of the host and of every stack on it."""
_SOCKETS = ("/run/docker.sock", "/run/containerd")
"""What gives root on the host to whoever may write to it."""
_CAPABILITIES = ("ALL", "BPF", "DAC_READ_SEARCH", "PERFMON", "SYS_ADMIN", "SYS_MODULE", "SYS_RAWIO")
"""Capabilities with which a process leaves its container (capabilities(7))."""


@dataclass(frozen=True)
class Reach:
    """One way out of a stack. `refused`: it must not be; else the operator may want it."""

    path: str
    message: str
    fix: str
    refused: bool


def check(
    compose: Mapping[str, Any],
    values: Mapping[str, str],
    project: str,
    label: str,
    report: Report,
    *,
    host_access: bool,
) -> None:
    """Report each way by which a stack reaches what is not its own.

    Args:
        compose: the file's content, of the shape that `phoenix.compose.document.read` promises.
        values: the variables; a secret's has any text that is not empty.
        project: the stack's name on its host.
        label: what findings call the compose file.
        report: takes the errors and the warnings.
        host_access: the manifest says that the stack may do as it likes on its host.
    """
    for way in ways(compose, values, project, host_access=host_access):
        (report.error if way.refused else report.warn)(label, way.path, way.message, way.fix)


def ways(
    compose: Mapping[str, Any], values: Mapping[str, str], project: str, *, host_access: bool
) -> Iterator[Reach]:
    """Each way by which a stack reaches what is not its own; see `check`."""
    for path, source, writable in _sources(compose, values):
        way = _of_path(path, source, project, writable=writable, host_access=host_access)
        if way is not None:
            yield way
    if host_access:
        return
    for name, service in compose["services"].items():
        yield from _of_service(f"services.{name}", service, values)


_DECLARE = 'write "host_access": true in the environment of its phoenix.json, if that is wanted'


def _of_path(
    path: str, source: str, project: str, *, writable: bool, host_access: bool
) -> Reach | None:
    place = posixpath.normpath(source)
    place = f"/{place.lstrip('/')}"
    if place.startswith("/var/run/") or place == "/var/run":
        place = place.removeprefix("/var")  # a link on every Debian
    own = f"{STACKS}/{project}"
    if _within(place, own):
        if not writable or not _within(place, stack_directory(project)):
            return None
        return Reach(
            path,
            f"{told(source)} is mounted with leave to write: root on the host trusts what is there",
            "mount it read-only (:ro)",
            refused=True,
        )
    if _within(place, _PHOENIX):
        what = "the host's own key" if _within(place, HOST_PAIRS) else "what is not this stack's"
        return Reach(
            path,
            f"{told(source)} has {what}: with it the stack could pass for another",
            f'mount "${{{TLS_VARIABLE}}}", which has fullchain.pem and privkey.pem of this stack '
            f"alone, remove the variable {TLS_VARIABLE} from its phoenix.json, and say there with "
            '"tls" who reads the key',
            refused=True,
        )
    if host_access:
        return None
    for keys in _KEYS:
        if _within(place, keys) or _within(keys, place):
            return Reach(
                path,
                f"{told(source)} has keys and data of the host and of other stacks ({keys})",
                f"mount only the directory that the stack needs; or {_DECLARE}",
                refused=True,
            )
    for socket in _SOCKETS:
        if _within(place, socket) or _within(socket, place):
            return Reach(
                path,
                f"{told(source)} gives whoever is in the container root on its Docker host",
                f"leave it out; or {_DECLARE}",
                refused=False,
            )
    return None


def told(source: str) -> str:
    """A path of a compose file, as a finding shows it."""
    return repr(source[:80])


def _within(place: str, directory: str) -> bool:
    return place == directory or place.startswith(f"{directory.rstrip('/')}/")


def _sources(
    compose: Mapping[str, Any], values: Mapping[str, str]
) -> Iterator[tuple[str, str, bool]]:
    """Place in the file, path on the host, and whether it can be written to."""
    for place, source, writable in (
        *(
            found
            for name, service in compose["services"].items()
            for found in _sources_of_service(f"services.{name}", service, values)
        ),
        *_sources_of_the_whole(compose, values),
    ):
        if source.startswith("/"):
            yield place, source, writable


def _sources_of_service(
    place: str, service: Mapping[str, Any], values: Mapping[str, str]
) -> Iterator[tuple[str, str, bool]]:
    for position, mount in enumerate(service.get("volumes") or ()):
        yield f"{place}.volumes[{position}]", *_bound(mount, values)
    for position, device in enumerate(service.get("devices") or ()):
        source = _text(device.get("source", "") if isinstance(device, dict) else device, values)
        yield f"{place}.devices[{position}]", source.partition(":")[0], True


def _sources_of_the_whole(
    compose: Mapping[str, Any], values: Mapping[str, str]
) -> Iterator[tuple[str, str, bool]]:
    for name, volume in (compose.get("volumes") or {}).items():
        options = volume.get("driver_opts") if isinstance(volume, dict) else None
        if isinstance(options, dict):
            place = f"volumes.{name}.driver_opts.device"
            yield place, _text(options.get("device", ""), values), True
    for kind in ("configs", "secrets"):
        for name, item in (compose.get(kind) or {}).items():
            if isinstance(item, dict):
                yield f"{kind}.{name}.file", _text(item.get("file", ""), values), False


def _bound(mount: Any, values: Mapping[str, str]) -> tuple[str, bool]:
    """The source of one entry of `volumes`, and whether it is writable."""
    if isinstance(mount, dict):
        if mount.get("type") != "bind":
            return "", False
        read_only = str(mount.get("read_only", "")).lower() == "true"
        return _text(mount.get("source", ""), values), not read_only
    source, _, rest = _text(mount, values).partition(":")
    options = rest.partition(":")[2].split(",") if rest else []
    return (source if rest else ""), "ro" not in options


def _text(value: object, values: Mapping[str, str]) -> str:
    """A scalar with its variables filled in; empty where that is not possible, which is told."""
    try:
        return interpolate(str(value), values)[0].strip()
    except InterpolationError:
        return ""


_MODES = (
    ("pid", "container:", True, "it sees into another stack's container"),
    ("ipc", "container:", True, "it sees into another stack's container"),
    ("pid", "host", False, "it sees every process of its Docker host"),
    ("ipc", "host", False, "it shares memory with its Docker host"),
    ("network_mode", "container:", False, "it shares the network of another stack's container"),
    ("network_mode", "host", False,
     "it may take every port of its Docker host, that of certificate orders too"),
    ("privileged", "true", False, "whoever is in the container is root on its Docker host"),
    ("use_api_socket", "true", False, "whoever is in the container is root on its Docker host"),
)  # fmt: skip
"""Key of a service, what its value is or begins with, whether that is refused, and why."""


def _of_service(
    place: str, service: Mapping[str, Any], values: Mapping[str, str]
) -> Iterator[Reach]:
    out = f"leave it out; or {_DECLARE}"
    for key, value, refused, message in _MODES:
        mode = _text(service.get(key, ""), values)
        if mode.lower() == value or (value.endswith(":") and mode.startswith(value)):
            yield Reach(f"{place}.{key}", message, out, refused)
    for position, other in enumerate(service.get("volumes_from") or ()):
        if _text(other, values).startswith("container:"):
            message = "it mounts all that another stack's container mounts"
            yield Reach(f"{place}.volumes_from[{position}]", message, out, refused=True)
    for position, capability in enumerate(service.get("cap_add") or ()):
        name = _text(capability, values).upper().removeprefix("CAP_")
        if name in _CAPABILITIES:
            message = f"{name} leads out of the container"
            yield Reach(f"{place}.cap_add[{position}]", message, out, refused=False)
