"""What a compose file reaches beyond its own stack: keys and data of others, and their host.

A stack that reads its host's keys, or another stack's, can pass for their services. Docker follows
each of these ways: bind mounts, volumes with a device, configs and secrets from files of the host,
another container's mounts and processes, Docker's own socket, disks, the kernel's own file systems,
and networks that pass the host's guard.

Reference: the Compose specification (https://github.com/compose-spec/compose-spec).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from phoenix.compose import mounts
from phoenix.compose.interpolation import InterpolationError, interpolate
from phoenix.compose.scalars import flag, text_of
from phoenix.derived.certificates import HOST_PAIRS, STACKS, TLS_VARIABLE, stack_directory
from phoenix.site.findings import Report

_PHOENIX = "/etc/phoenix"
_KEYS = (_PHOENIX, "/var/lib/phoenix-acme", "/var/lib/phoenix", "/var/lib/docker", "/etc/ssh",
         "/root", "/var/lib/containerd")  # fmt: skip
"""Directories with keys, secrets and data of the host and of every stack on it."""
_SOCKETS = ("/run/docker.sock", "/run/containerd")
"""What gives root on the host to whoever may write to it."""
_SYSTEM = ("/bin", "/boot", "/etc", "/lib", "/lib32", "/lib64", "/proc", "/sbin", "/sys", "/usr",
           "/var/spool/cron")  # fmt: skip
"""What root on the host runs or obeys: whoever may write there is root."""
_HARMLESS = ("/etc/hosts", "/etc/localtime", "/etc/machine-id", "/etc/resolv.conf", "/etc/timezone",
             "/usr/share/zoneinfo")  # fmt: skip
"""Exceptions: plain data below these places, often mounted without `:ro`."""
_DISKS = re.compile(
    r"/dev(?:/(?:block|disk|mapper|zvol)(?:/.*)?"
    r"|/(?:dm-|hd|loop|md|mmcblk|nbd|nvme|ram|rbd|sd|sr|vd|xvd|zd)[^/]*"
    r"|/(?:k?mem|port))?\Z"
)
"""Devices with the host's file systems or its memory (Linux, admin-guide/devices.txt)."""
_KERNEL = frozenset(
    ("autofs", "binder", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts",
     "devtmpfs", "efivarfs", "fusectl", "mqueue", "nsfs", "proc", "pstore", "resctrl", "securityfs",
     "selinuxfs", "sysfs", "tracefs")
)  # fmt: skip
"""File systems that are the kernel's own (filesystems(5)): a volume has the host's."""
_WITHOUT_THE_HOST = frozenset(("cluster", "image", "tmpfs", "volume"))
"""Types of mounts whose source is not a path of the host."""
_BRIDGE_NAME = "com.docker.network.bridge.name"
"""The name of a network's bridge (Docker's documentation, "Bridge network driver")."""
_SEEN_DRIVERS = ("", "bridge", "default", "null", "none", "overlay")
"""Drivers of networks whose packets pass the host's own rules."""
_CAPABILITIES = ("ALL", "BPF", "DAC_READ_SEARCH", "PERFMON", "SYS_ADMIN", "SYS_MODULE", "SYS_RAWIO")
"""Capabilities with which a process leaves its container (capabilities(7))."""


@dataclass(frozen=True)
class HostAccess:
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
    if host_access and not any(host_accesses(compose, values, project, host_access=False)):
        report.warn(
            label,
            "",
            "no service needs host_access, and a service added later would get it unnoticed",
            'remove "host_access" from the environment of its phoenix.json',
        )
    for way in host_accesses(compose, values, project, host_access=host_access):
        (report.error if way.refused else report.warn)(label, way.path, way.message, way.fix)


def host_accesses(
    compose: Mapping[str, Any], values: Mapping[str, str], project: str, *, host_access: bool
) -> Iterator[HostAccess]:
    """Each way by which a stack reaches what is not its own; see `check`."""
    for path, source, writable in _sources(compose, values):
        way = _of_path(path, source, project, writable=writable, host_access=host_access)
        if way is not None:
            yield way
    if host_access:
        return
    for name, service in compose["services"].items():
        yield from _of_service(f"services.{name}", service, values)
    yield from _of_volumes(compose, values)
    yield from _of_networks(compose, values)


_DECLARE = 'write "host_access": true in the environment of its phoenix.json, if that is wanted'


def _of_path(
    path: str, source: str, project: str, *, writable: bool, host_access: bool
) -> HostAccess | None:
    place = posixpath.normpath(source)
    place = f"/{place.lstrip('/')}"
    if place.startswith("/var/run/") or place == "/var/run":
        place = place.removeprefix("/var")  # a link on every Debian
    own = f"{STACKS}/{project}"
    if _within(place, own):
        if not writable or not _within(place, stack_directory(project)):
            return None
        return HostAccess(
            path,
            f"{shown(source)} is mounted writable, and root on the host trusts its content",
            "mount it read-only (:ro)",
            refused=True,
        )
    if _within(place, _PHOENIX):
        content = "the host's own key" if _within(place, HOST_PAIRS) else "what is not this stack's"
        return HostAccess(
            path,
            f"{shown(source)} has {content}: with it the stack could pass for another",
            f'mount "${{{TLS_VARIABLE}}}", which has fullchain.pem and privkey.pem of this stack '
            f"alone, remove the variable {TLS_VARIABLE} from its phoenix.json, and say there with "
            '"tls" who reads the key',
            refused=True,
        )
    if host_access:
        return None
    return _of_host(path, source, place, writable=writable)


def _of_host(path: str, source: str, place: str, *, writable: bool) -> HostAccess | None:
    for keys in _KEYS:
        if _within(place, keys) or _within(keys, place):
            return HostAccess(
                path,
                f"{shown(source)} has keys and data of the host and of other stacks ({keys})",
                f"mount only the directory that the stack needs; or {_DECLARE}",
                refused=True,
            )
    if _DISKS.match(place):
        return HostAccess(
            path,
            f"{shown(source)} has the host's disks or memory, and so every key on it",
            f"leave it out; or {_DECLARE}",
            refused=True,
        )
    for socket in _SOCKETS:
        if _within(place, socket) or _within(socket, place):
            return HostAccess(
                path,
                f"{shown(source)} gives whoever is in the container root on its Docker host",
                f"leave it out; or {_DECLARE}",
                refused=False,
            )
    obeyed = any(_within(place, directory) for directory in _SYSTEM)
    if writable and obeyed and not any(_within(place, directory) for directory in _HARMLESS):
        return HostAccess(
            path,
            f"{shown(source)} is mounted writable, and the host runs or obeys its content",
            f"mount it read-only (:ro); or {_DECLARE}",
            refused=False,
        )
    return None


def shown(source: str) -> str:
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
            mounted
            for name, service in compose["services"].items()
            for mounted in _sources_of_service(f"services.{name}", service, values)
        ),
        *_sources_of_the_whole(compose, values),
    ):
        if source.startswith("/"):
            yield place, source, writable


def _sources_of_service(
    place: str, service: Mapping[str, Any], values: Mapping[str, str]
) -> Iterator[tuple[str, str, bool]]:
    for position, mount in enumerate(service.get("volumes") or ()):
        read_mount = mounts.read(mount, values, blank=True)
        if read_mount and read_mount.kind not in _WITHOUT_THE_HOST:
            source = read_mount.source.strip()
            yield f"{place}.volumes[{position}]", source, not read_mount.read_only
    for position, device in enumerate(service.get("devices") or ()):
        source = _text(device.get("source", "") if isinstance(device, dict) else device, values)
        yield f"{place}.devices[{position}]", source.partition(":")[0], True


def _sources_of_the_whole(
    compose: Mapping[str, Any], values: Mapping[str, str]
) -> Iterator[tuple[str, str, bool]]:
    for name, volume in (compose.get("volumes") or {}).items():
        options = volume.get("driver_opts") if isinstance(volume, dict) else None
        if isinstance(options, dict):
            place = f"volumes.{name}.driver_opts"
            yield f"{place}.device", _text(options.get("device", ""), values), True
            # Of an overlay the directories are here: lowerdir=A:B,upperdir=C (mount(8)).
            for path in re.findall(r"(?<=[=:,])/[^,:]*", _text(options.get("o", ""), values)):
                yield f"{place}.o", path, True
    for kind in ("configs", "secrets"):
        for name, item in (compose.get(kind) or {}).items():
            if isinstance(item, dict):
                yield f"{kind}.{name}.file", _text(item.get("file", ""), values), False


def _text(value: object, values: Mapping[str, str]) -> str:
    """A scalar with its variables filled in; empty where that is not possible, which is told."""
    try:
        return interpolate(text_of(value), values)[0].strip()
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
) -> Iterator[HostAccess]:
    out = f"leave it out; or {_DECLARE}"
    for key, value, refused, message in _MODES:
        mode = _text(service.get(key, ""), values)
        is_on = value == "true" and flag(mode) is True
        if is_on or mode.lower() == value or (value.endswith(":") and mode.startswith(value)):
            yield HostAccess(f"{place}.{key}", message, out, refused)
    if "provider" in service:
        message = "it runs a program of the server that deploys the stack, as that server"
        yield HostAccess(f"{place}.provider", message, out, refused=True)
    for key, find in _LISTS.items():
        for position, entry in enumerate(service.get(key) or ()):
            message, refused = find(entry, values)
            if message:
                yield HostAccess(f"{place}.{key}[{position}]", message, out, refused)


def _of_hook(entry: object, values: Mapping[str, str]) -> tuple[str, bool]:
    asked = isinstance(entry, dict) and flag(_text(entry.get("privileged"), values)) is True
    return ("what it runs is root on the stack's Docker host" if asked else ""), False


def _of_device_rule(entry: object, values: Mapping[str, str]) -> tuple[str, bool]:
    of_characters = _text(entry, values).startswith("c ")
    return ("" if of_characters else "with it a container makes itself the host's disks"), True


def _of_option(entry: object, values: Mapping[str, str]) -> tuple[str, bool]:
    opens = re.fullmatch(r"systempaths[=:]unconfined", _text(entry, values))
    message = "it opens files below /proc by which anyone in the container becomes root on its host"
    return (message if opens else ""), False


def _of_mounts(entry: object, values: Mapping[str, str]) -> tuple[str, bool]:
    other = _text(entry, values).startswith("container:")
    return ("it mounts all that another stack's container mounts" if other else ""), True


def _of_capability(entry: object, values: Mapping[str, str]) -> tuple[str, bool]:
    name = _text(entry, values).upper().removeprefix("CAP_")
    return (f"{name} leads out of the container" if name in _CAPABILITIES else ""), False


_LISTS: Mapping[str, Callable[[object, Mapping[str, str]], tuple[str, bool]]] = {
    "post_start": _of_hook,
    "pre_stop": _of_hook,
    "device_cgroup_rules": _of_device_rule,
    "security_opt": _of_option,
    "volumes_from": _of_mounts,
    "cap_add": _of_capability,
}
"""List of a service -> what is wrong with an entry of it (empty: nothing), and if it is refused."""


def _of_volumes(compose: Mapping[str, Any], values: Mapping[str, str]) -> Iterator[HostAccess]:
    for name, volume in (compose.get("volumes") or {}).items():
        options = volume.get("driver_opts") if isinstance(volume, dict) else None
        kind = _text(options.get("type", ""), values) if isinstance(options, dict) else ""
        if kind in _KERNEL:
            message = f"a volume of type {kind} is the host's own, with leave to write"
            fix = f"leave it out: each container then has its own; or {_DECLARE}"
            yield HostAccess(f"volumes.{name}.driver_opts.type", message, fix, refused=True)


def _of_networks(compose: Mapping[str, Any], values: Mapping[str, str]) -> Iterator[HostAccess]:
    """Networks whose packets do not pass the guard of the stack's Docker host.

    Docker's documentation: "Macvlan network driver", "IPvlan network driver".
    """
    for name, network in (compose.get("networks") or {}).items():
        if not isinstance(network, dict):
            continue
        driver, place = _text(network.get("driver") or "", values), f"networks.{name}"
        if driver in ("macvlan", "ipvlan"):
            message = (
                f"by driver {driver} its containers appear as separate machines on the network "
                f"segment: no host's guard filters their traffic"
            )
            fix = f"remove the driver, and publish with `ports` what others need; or {_DECLARE}"
            yield HostAccess(f"{place}.driver", message, fix, refused=True)
        elif driver not in (*_SEEN_DRIVERS, "host"):
            message = f"the host's guard may not see the packets of driver {driver[:40]!r}"
            yield HostAccess(f"{place}.driver", message, f"remove the driver; or {_DECLARE}", False)
        own = _text(network.get("name") or (name if network.get("external") else ""), values)
        if driver == "host" or (network.get("external") and own == "host"):
            message = "it may take every port of its Docker host, that of certificate orders too"
            yield HostAccess(place, message, f"leave it out; or {_DECLARE}", refused=False)
        options = network.get("driver_opts")
        bridge = _text(options.get(_BRIDGE_NAME, ""), values) if isinstance(options, dict) else ""
        if bridge and not bridge.startswith("br-"):
            message = (
                f"the host's guard recognises Docker's bridges by name, and {bridge[:40]!r} is "
                "none: its containers would count as another machine"
            )
            fix = f"remove the option, or begin the name with br-; or {_DECLARE}"
            yield HostAccess(f"{place}.driver_opts.{_BRIDGE_NAME}", message, fix, refused=True)
