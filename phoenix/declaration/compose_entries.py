"""Entries of a compose file's lists that Docker refuses, and keys that exclude each other.

Source: the Compose specification, compose-go's checks, and those of dockerd, named with each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import Any

from phoenix.compose import mounts
from phoenix.compose.scalars import flag
from phoenix.declaration.compose import filled
from phoenix.declaration.compose_values import at
from phoenix.declaration.json_errors import join
from phoenix.site import suggestions

_Problem = tuple[str, str, str]
"""Path, message and fix."""

_CAPABILITIES = (
    "ALL", "AUDIT_CONTROL", "AUDIT_READ", "AUDIT_WRITE", "BLOCK_SUSPEND", "BPF",
    "CHECKPOINT_RESTORE", "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID",
    "IPC_LOCK", "IPC_OWNER", "KILL", "LEASE", "LINUX_IMMUTABLE", "MAC_ADMIN", "MAC_OVERRIDE",
    "MKNOD", "NET_ADMIN", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_RAW", "PERFMON", "SETFCAP",
    "SETGID", "SETPCAP", "SETUID", "SYSLOG", "SYS_ADMIN", "SYS_BOOT", "SYS_CHROOT", "SYS_MODULE",
    "SYS_NICE", "SYS_PACCT", "SYS_PTRACE", "SYS_RAWIO", "SYS_RESOURCE", "SYS_TIME",
    "SYS_TTY_CONFIG", "WAKE_ALARM",
)  # fmt: skip
"""capabilities(7), without CAP_."""
_SECURITY = re.compile(
    r"(?:no-new-privileges(?:[:=](?:true|false))?|(?:apparmor|seccomp|label|credentialspec)[:=].*"
    r"|systempaths[:=]unconfined|writable-cgroups(?:[:=](?:true|false))?)\Z",
    re.DOTALL,
)
"""Options of security (dockerd, daemon/daemon_unix.go: parseSecurityOpt)."""
_DRIVE = re.compile(r"[^\W\d_]:/")
_MOUNTS = ("bind", "cluster", "image", "npipe", "tmpfs", "volume")
_SAME = (
    ("mem_limit", "deploy.resources.limits.memory"),
    ("mem_reservation", "deploy.resources.reservations.memory"),
    ("cpus", "deploy.resources.limits.cpus"),
    ("pids_limit", "deploy.resources.limits.pids"),
    ("scale", "deploy.replicas"),
)
"""Two places for one value, which must not differ (compose-go, loader/validate.go)."""
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?) ?([kmgtp]?)i?b?\Z", re.ASCII | re.IGNORECASE)
_SOURCES = {
    "secrets": ("environment", "external", "file"),
    "configs": ("content", "environment", "external", "file"),
}
_FOREVER = ("always", "unless-stopped")


def check(compose: Mapping[str, Any], values: Mapping[str, str]) -> Iterator[_Problem]:
    """Path, message and fix of each.

    Args:
        compose: the file's content, of the shape that `phoenix.compose.document.read` promises.
        values: the declared variables; a secret's has any text that is not empty.
    """
    for name, service in compose["services"].items():
        for path, message, fix in (
            *_contradictions(service, values),
            *_rights(service, values),
            *_names(service, values),
            *_mounts(service, values),
            *_limits(service),
            *_least(service, values),
            *_endless(service, compose["services"], values),
        ):
            yield f"{join('services', name)}.{path}", message, fix
    yield from _shared(compose)


def _contradictions(service: Mapping[str, Any], values: Mapping[str, str]) -> Iterator[_Problem]:
    """Keys of one service that exclude each other."""
    if service.get("network_mode") and service.get("networks"):
        message = "a service has networks or a network_mode: Compose refuses both"
        yield "network_mode", message, "remove one of the two"
    for key, other in _SAME:
        first, second = (_amount(at(service, path.split(".")), values) for path in (key, other))
        if first is not None and second is not None and first != second:
            message = f"it says something else than {other}: Compose refuses that"
            yield key, message, "remove one of the two"
        holder, _, name = other.rpartition(".")
        body = at(service, holder.split("."))
        if first and holder != "deploy" and isinstance(body, dict) and body and name not in body:
            message = f"stands beside {holder} without {name}: Compose refuses that"
            yield key, message, f"write it as {other}"


def _amount(value: Any, values: Mapping[str, str]) -> float | None:
    """A number, or a size in bytes; None where it is none that is known here."""
    text = None if value is None or isinstance(value, dict | list) else filled(value, values)
    match = _AMOUNT.match(text or "")
    if match is None or len(match[1]) > _DIGITS:
        return None
    scale: int = 1024 ** "_kmgtp".index(match[2].lower() or "_")
    return float(match[1]) * scale


_DIGITS = 40


def _rights(service: Mapping[str, Any], values: Mapping[str, str]) -> Iterator[_Problem]:
    """Capabilities and options of security."""
    for key in ("cap_add", "cap_drop"):
        for position, name in enumerate(service.get(key) or ()):
            capability = filled(name, values) or "ALL"
            if capability.upper().removeprefix("CAP_") not in _CAPABILITIES:
                message = f"{capability[:80]!r} is not a capability: Docker refuses it"
                yield (
                    f"{key}[{position}]",
                    message,
                    suggestions.fix(capability, _CAPABILITIES),
                )
    for position, option in enumerate(service.get("security_opt") or ()):
        text = filled(option, values)
        if text is not None and not _SECURITY.match(text):
            message = f"{text[:80]!r} is refused by Docker"
            fix = "write no-new-privileges:true, or apparmor=, seccomp= or label= with a value"
            yield f"security_opt[{position}]", message, fix


def _names(service: Mapping[str, Any], values: Mapping[str, str]) -> Iterator[_Problem]:
    """Resolvers, and further names that a container knows."""
    servers = service.get("dns")
    for position, server in enumerate(servers if isinstance(servers, list) else [servers]):
        text = filled(server or "", values)
        if text and not _is_address(text):
            path = f"dns[{position}]" if isinstance(servers, list) else "dns"
            yield path, f"{text[:80]!r} is not an IP address", "write the resolver's address"
    for path, text in _extra_hosts(service, values):
        if text != "host-gateway" and not _is_address(text.strip("[]")):
            fix = 'write "NAME=ADDRESS", or host-gateway as the address'
            yield path, f"{text[:80]!r} is not an IP address", fix


def _extra_hosts(
    service: Mapping[str, Any], values: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Place and address of each further name."""
    hosts = service.get("extra_hosts")
    if isinstance(hosts, dict):
        for name, addresses in hosts.items():
            for address in addresses if isinstance(addresses, list) else [addresses]:
                if (text := filled(address or "", values)) is not None:
                    yield join("extra_hosts", name), text
    for position, line in enumerate(hosts if isinstance(hosts, list) else ()):
        text = filled(line, values)
        if text is not None:
            yield f"extra_hosts[{position}]", text.partition("=" if "=" in text else ":")[2]


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _mounts(service: Mapping[str, Any], values: Mapping[str, str]) -> Iterator[_Problem]:
    """Types and targets of mounts, and modes of ports."""
    for position, mount in enumerate(service.get("volumes") or ()):
        place = f"volumes[{position}]"
        text = None if isinstance(mount, dict | list) else filled(mount, values)
        if text is not None and (fault := _fault_of(text)):
            yield place, f"{text[:80]!r} {fault}: Compose refuses it", 'write "SOURCE:TARGET"'
        read_mount = mounts.read(mount, values)
        if read_mount is None:
            continue
        if read_mount.kind not in _MOUNTS:
            fix = "write bind, volume or tmpfs"
            yield f"{place}.type", f"{read_mount.kind[:80]!r} is not a type of mount", fix
        yield from _source(read_mount, place)
        target = read_mount.target
        if not target.startswith("/"):
            message = f"{target[:80]!r} is not a path in the container that Docker takes"
            fix = "write a target that begins with /"
            if _DRIVE.match(target) and text is not None:
                message = f"{target[:80]!r} is a path of Windows for Compose, and names no volume"
                fix = (
                    f"give the volume a name of two letters or more, or write {{type: volume, "
                    f"source: {target[0]}, target: {target[2:]}}}"
                )
            yield place, message, fix
    for position, port in enumerate(service.get("ports") or ()):
        mode = filled(port.get("mode") or "ingress", values) if isinstance(port, dict) else None
        if mode not in ("host", "ingress", None):
            fix = "write host or ingress, or leave it out"
            yield f"ports[{position}].mode", f"{mode[:80]!r} is not a mode of a port", fix


def _fault_of(text: str) -> str:
    """What is wrong with the short form of a mount; empty: nothing."""
    try:
        mounts.of_text(text)
    except mounts.MountError as error:
        return str(error)
    return ""


def _source(mount: mounts.Mount, place: str) -> Iterator[_Problem]:
    """A bind mount has a source, and what is in memory has none (moby, linux_parser.go)."""
    if mount.kind == "bind" and not mount.source:
        yield place, "a bind mount needs a source: Docker refuses it", "write the path of the host"
    if mount.kind == "tmpfs" and mount.source:
        yield f"{place}.source", "a tmpfs has no source: Docker refuses it", "remove it"


def _least(service: Mapping[str, Any], values: Mapping[str, str]) -> Iterator[_Problem]:
    """Memory below what Docker takes (moby, daemon_unix.go: linuxMinMemory)."""
    for path in ("mem_limit", "deploy.resources.limits.memory"):
        amount = _amount(at(service, path.split(".")), values)
        if amount is not None and 0 < amount < _LEAST_MEMORY:
            yield path, "is less than 6 MiB, the least that Docker takes", 'write more, as "64m"'


_LEAST_MEMORY = 6 * 1024 * 1024


def _limits(service: Mapping[str, Any]) -> Iterator[_Problem]:
    """Mappings that lack a key without which Compose refuses them."""
    limits = service.get("ulimits")
    for name, limit in limits.items() if isinstance(limits, dict) else ():
        if isinstance(limit, dict) and not {"hard", "soft"} <= limit.keys():
            message = "needs `soft` and `hard`: Compose refuses it"
            yield join("ulimits", name), message, "write both, or one number"
    path = "deploy.resources.reservations.devices"
    devices = at(service, path.split("."))
    for position, device in enumerate(devices if isinstance(devices, list) else ()):
        if isinstance(device, dict) and not device.get("capabilities"):
            message = "needs `capabilities`: Compose refuses it"
            yield f"{path}[{position}]", message, "write capabilities: [gpu]"
        if isinstance(device, dict) and device.get("count") and device.get("device_ids"):
            message = "has `count` and `device_ids`: Compose refuses both"
            yield f"{path}[{position}]", message, "remove one of the two"
    for key, needed, fix in _NEEDED:
        for position, entry in enumerate(service.get(key) or ()):
            if isinstance(entry, dict) and needed not in entry:
                yield f"{key}[{position}]", f"needs `{needed}`: Compose refuses it", fix


_NEEDED = (
    ("devices", "source", "write source: and the device of the host"),
    ("post_start", "command", "write command: and what is to run"),
    ("pre_stop", "command", "write command: and what is to run"),
    ("configs", "source", "write source: and the config's name"),
    ("secrets", "source", "write source: and the secret's name"),
)
"""Key of a service, what each mapping in its list must have, and the fix."""


def _endless(
    service: Mapping[str, Any], services: Mapping[str, Any], values: Mapping[str, str]
) -> Iterator[_Problem]:
    """Waits for the end of what Docker starts again whenever it ends."""
    waits = service.get("depends_on")
    for name, how in waits.items() if isinstance(waits, dict) else ():
        condition = how.get("condition") if isinstance(how, dict) else None
        policy = (services.get(name) or {}).get("restart")
        if (
            condition == "service_completed_successfully"
            and policy is not None
            and filled(policy, values) in _FOREVER
        ):
            message = (
                f"{name} never ends, as its `restart` is {policy}: it is waited for without end"
            )
            yield join("depends_on", name), message, f'write restart: "no" in {name}'


def _shared(compose: Mapping[str, Any]) -> Iterator[_Problem]:
    """What services share and is said in two ways, or in none."""
    for kind in ("configs", "networks", "secrets", "volumes"):
        for name, body in (compose.get(kind) or {}).items():
            if str(name).startswith("x-") or not isinstance(body, dict | None):
                continue
            own = body or {}
            place = join(kind, name)
            external = own.get("external")
            if kind == "volumes" and (flag(external) or isinstance(external, dict)):
                for key in ("driver", "driver_opts", "labels"):
                    if own.get(key):
                        message = "cannot stand beside `external`: Compose refuses both"
                        yield join(place, key), message, "remove it, or remove external"
            if isinstance(external, dict) and external.get("name") and own.get("name"):
                message = "has `name` and `external.name`: Compose refuses both"
                yield place, message, "write external: true and name"
            ways = [key for key in _SOURCES.get(kind, ()) if own.get(key) not in (None, False)]
            if kind in _SOURCES and len(ways) != 1:
                fault = f"has {' and '.join(ways)}" if ways else "has no source"
                sources = ", ".join(key for key in _SOURCES[kind] if key != "external")
                yield place, f"{fault}: Compose refuses it", f"write one of {sources}"
