"""Checks of what a machine may lack for the lab, before anything is built.

One lack is put right here: the kernel's limit of inotify instances.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from docker import DockerClient, from_env  # type: ignore[import-untyped]
from docker.errors import DockerException  # type: ignore[import-untyped]

from lab.progress import say
from lab.settings import LABEL, LabError, Settings

GIB = 1024**3
DISK_FOR_IMAGES = 5 * GIB
DISK_FOR_HOSTS = 2 * GIB
MEMORY = 2 * GIB
INOTIFY_INSTANCES = 40  # six guests' systemd and nested Docker (measured: 38)
LABS_AT_ONCE = 3  # this one and those that the tests bring up in the same moment
MORE_INOTIFY_INSTANCES = 1024
INOTIFY_LIMIT = Path("/proc/sys/fs/inotify/max_user_instances")
# Numbers of linux/capability.h. What Docker gives by default is not repeated here.
CAPABILITIES = {"NET_ADMIN": 12, "SYS_PTRACE": 19, "SYS_ADMIN": 21}


def connect() -> DockerClient:
    """A client of this machine's Docker Engine.

    Raises:
        LabError: no Docker Engine answers, or it is another machine's.
    """
    try:
        client = from_env(timeout=600)
        client.ping()
    except DockerException as error:
        raise LabError(f"The Docker Engine does not answer: {error}") from None
    if not client.api.base_url.startswith(("http+docker://", "http+unix://")):
        raise LabError(
            f"DOCKER_HOST points at another machine ({client.api.base_url}). The lab mounts local "
            "files and reaches its containers by address: unset DOCKER_HOST."
        )
    return client


def check(client: DockerClient, settings: Settings, *, images_present: bool) -> None:
    """Raise one LabError that lists everything that this machine lacks."""
    info: dict[str, Any] = client.info()
    space = DISK_FOR_HOSTS if images_present else DISK_FOR_HOSTS + DISK_FOR_IMAGES
    problems = [
        disk_problem(Path(info["DockerRootDir"]), space),
        memory_problem(Path("/proc/meminfo").read_text(), MEMORY),
        cgroup_problem(Path("/sys/fs/cgroup")),
        capability_problem(_daemon_status()),
        subnet_problem(client, settings),
    ]
    own = {"label": f"{LABEL}={settings.name}"}
    if not client.containers.list(filters=own):
        problems.append(inotify_problem(inotify_instances(Path("/proc")), INOTIFY_LIMIT))
    faults = [problem for problem in problems if problem]
    if faults:
        raise LabError("This machine cannot carry the lab:\n- " + "\n- ".join(faults))


def disk_problem(directory: Path, needed: int) -> str | None:
    """Too little disk under Docker's directory; `needed` in bytes."""
    while not directory.exists():  # a daemon in another mount namespace
        directory = directory.parent
    free = shutil.disk_usage(directory).free
    if free >= needed:
        return None
    return (
        f"{directory} has {free / GIB:.1f} GiB free, the lab needs {needed / GIB:.0f}: "
        "free some, for instance with `docker image prune`."
    )


def memory_problem(meminfo: str, needed: int) -> str | None:
    """Too little memory by the text of /proc/meminfo; `needed` in bytes."""
    fields = dict(line.split(":", 1) for line in meminfo.splitlines() if ":" in line)
    available = int(fields["MemAvailable"].split()[0]) * 1024
    if available >= needed:
        return None
    return (
        f"{available / GIB:.1f} GiB of memory are available, the lab needs {needed / GIB:.0f}: "
        "end something, or give the machine more."
    )


def cgroup_problem(root: Path) -> str | None:
    """No cgroup hierarchy in which systemd can run, under the mount point `root`."""
    if (root / "cgroup.controllers").exists():
        return None  # version 2
    if not (root / "systemd").is_dir():
        return (
            f"{root} has neither cgroup v2 nor v1's systemd hierarchy, so systemd cannot boot in a "
            f"container. As root: mkdir -p {root}/systemd && "
            f"mount -t cgroup -o none,name=systemd systemd {root}/systemd"
        )
    return None


def capability_problem(status: str) -> str | None:
    """A capability that Docker cannot hand on, by the text of its /proc/PID/status."""
    line = next(line for line in status.splitlines() if line.startswith("CapBnd:"))
    capabilities = int(line.split()[1], 16)
    missing = [name for name, number in CAPABILITIES.items() if not capabilities >> number & 1]
    if not missing:
        return None
    return (
        f"the Docker Engine lacks CAP_{', CAP_'.join(missing)}, which guests that run systemd or "
        "Docker need: run the lab on a machine (or a container) that has them."
    )


def inotify_problem(used: int, limit: Path) -> str | None:
    """Too few inotify instances left for the guests' systemd, which would fail in odd places.

    Args:
        used: how many are open now.
        limit: the file of the kernel's limit, which is raised until the next boot where this
            process may do so. Debian's is 128, which three labs exceed.
    """
    allowed = int(limit.read_text())
    if used + LABS_AT_ONCE * INOTIFY_INSTANCES <= allowed:
        return None
    try:
        limit.write_text(f"{MORE_INOTIFY_INSTANCES}\n")
    except OSError:
        if used + INOTIFY_INSTANCES <= allowed:
            return None
        return (
            f"{used} of {allowed} inotify instances are in use, and a lab needs "
            f"{INOTIFY_INSTANCES}: as root, sysctl "
            f"fs.inotify.max_user_instances={MORE_INOTIFY_INSTANCES}"
        )
    say(
        f"  fs.inotify.max_user_instances is {MORE_INOTIFY_INSTANCES} until the next boot: of "
        f"{allowed}, {used} were in use"
    )
    return None


def inotify_instances(proc: Path) -> int:
    """How many are open in the processes that this one can look at (inotify(7))."""
    count = 0
    for link in proc.glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):  # it has just ended, or is another user's
            count += str(link.readlink()) == "anon_inode:inotify"
    return count


def subnet_problem(client: DockerClient, settings: Settings) -> str | None:
    """The lab's subnet is in use: by another Docker network, or by a route of this machine."""
    own_bridge = None
    for network in client.networks.list():
        ranges = [
            IPv4Network(entry["Subnet"])
            for entry in (network.attrs["IPAM"]["Config"] or [])
            if ":" not in entry.get("Subnet", ":")
        ]
        if network.name == settings.network:
            own_bridge = f"br-{network.id[:12]}"
            continue
        for subnet in ranges:
            if subnet.overlaps(settings.subnet):
                return _clash(settings, f"the Docker network {network.name!r} ({subnet})")
    for device, route in routes(Path("/proc/net/route").read_text()):
        if device != own_bridge and route.overlaps(settings.subnet):
            return _clash(settings, f"the route {route} through {device}")
    return None


def routes(table: str) -> list[tuple[str, IPv4Network]]:
    """Device and destination of each route in the text of /proc/net/route, bar the default.

    Addresses there are hexadecimal in the machine's byte order (little-endian, as Debian's
    supported machines are).
    """
    networks = []
    for line in table.splitlines()[1:]:
        device, destination, *fields = line.split()
        address = socket.inet_ntoa(bytes.fromhex(destination)[::-1])
        mask = socket.inet_ntoa(bytes.fromhex(fields[5])[::-1])
        network = IPv4Network(f"{address}/{mask}", strict=False)
        if network.prefixlen:
            networks.append((device, network))
    return networks


def _clash(settings: Settings, taken_by: str) -> str:
    return (
        f"the lab's network {settings.subnet} overlaps {taken_by}. Set PHOENIX_LAB_SUBNET to a "
        "free /24, for instance 198.19.90.0/24, or remove the other network."
    )


def _daemon_status() -> str:
    """The status of dockerd's process, or of this one where it cannot be seen."""
    for path in (Path("/run/docker.pid"), Path("/var/run/docker.pid")):
        try:
            pid = int(path.read_text())
            status = Path(f"/proc/{pid}/status").read_text()
        except (OSError, ValueError):
            continue
        if "Name:\tdockerd" in status:
            return status
    return Path("/proc/self/status").read_text()
