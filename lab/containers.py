"""One guest as a container: its plan, and how to create, check and remove it."""

from __future__ import annotations

import hashlib
import json
import socket
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from docker import DockerClient  # type: ignore[import-untyped]
from docker.errors import APIError, NotFound  # type: ignore[import-untyped]

from lab import keys, networks
from lab.artifacts import MOUNT
from lab.guests import Guest
from lab.image import Images, pack
from lab.progress import say
from lab.settings import CLIENT, CLIENT_HOST_PART, LABEL, SPEC_LABEL, LabError, Settings

BOOT_DEADLINE = 120.0
JOURNAL_LINES = 25
FAILED_UNITS = ["systemctl", "--failed", "--no-legend", "--plain"]
# In a guest once it has come up whole: until then an `up` that failed fails again.
READY_MARK = "/var/lib/phoenix-lab-ready"


@dataclass(frozen=True)
class Plan:
    """A container to be: Docker's HostConfig, and the files to put in before it starts.

    `place`: its networks, where the site has several.
    """

    host: str
    address: str
    image: str
    host_config: dict[str, Any]
    files: dict[str, tuple[bytes, int]]
    place: networks.Place = networks.ALONE

    @property
    def digest(self) -> str:
        """A hash of everything that would need a new container if it changed."""
        files = {
            path: [hashlib.sha256(data).hexdigest(), mode]
            for path, (data, mode) in self.files.items()
        }
        parts = [self.address, self.image, self.host_config, files]
        parts += [str(self.place)] if self.place.gateway else []
        text = json.dumps(parts, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def guest_plan(
    guest: Guest,
    images: Images,
    settings: Settings,
    more: Mapping[str, tuple[bytes, int]] | None = None,
) -> Plan:
    """How a guest is run: real systemd, sshd with the lab's keys, Docker's rights if nested.

    Args:
        more: further files to put in, path -> content and mode.
    """
    volumes = [
        "/sys/fs/cgroup:/sys/fs/cgroup:rw",
        f"{settings.directory / 'artifacts'}:{MOUNT}:ro",
    ]
    # Named capabilities only: --privileged fails where the machine itself lacks one of them.
    capabilities = ["SYS_ADMIN", "NET_ADMIN"]
    options = ["seccomp=unconfined"]
    if guest.nested:
        volumes.append(f"{settings.container(guest.name)}-docker:/var/lib/docker")
        capabilities.append("SYS_PTRACE")
        options.append("apparmor=unconfined")
    host_config: dict[str, Any] = {
        "CgroupnsMode": "host",
        "CapAdd": capabilities,
        "SecurityOpt": options,
        "Binds": volumes,
        # A guest may run programs from /tmp, which Docker would forbid.
        "Tmpfs": {"/run": "", "/run/lock": "", "/tmp": "exec,mode=1777"},  # noqa: S108
    }
    if guest.nested or any(card.bridge for card in guest.place.cards):
        # What the command line calls systempaths=unconfined: runc inside mounts its own /proc, and
        # a router sets forwarding in it.
        host_config |= {"MaskedPaths": [], "ReadonlyPaths": []}
    files = login_files(guest.name, settings) | networks.files(guest.place) | dict(more or {})
    booted = images.older if guest.name in settings.debian_12 else images.base
    return Plan(guest.name, str(guest.address), booted, host_config, files, guest.place)


def client_plan(guests: Iterable[Guest], images: Images, settings: Settings) -> Plan:
    """The client: a machine of the network that is none of the site's hosts, with its DNS."""
    address = str(settings.subnet[CLIENT_HOST_PART])
    resolvers = [str(guest.address) for guest in guests if guest.serves_dns]
    return Plan(CLIENT, address, images.client, {"Init": True, "Dns": resolvers}, {})


def login_files(host: str, settings: Settings) -> dict[str, tuple[bytes, int]]:
    """Host keys, and the lab's own key as one that may log in: path -> content and mode."""
    host_key = keys.host_key(settings, host)
    client_key = settings.directory / keys.CLIENT_KEY
    return {
        "/etc/ssh/ssh_host_ed25519_key": (host_key.read_bytes(), 0o600),
        "/etc/ssh/ssh_host_ed25519_key.pub": (f"{keys.public(host_key)}\n".encode(), 0o644),
        "/root/.ssh/authorized_keys": (f"{keys.public(client_key)}\n".encode(), 0o600),
    }


def discard_outdated(client: DockerClient, plan: Plan, settings: Settings, network_id: str) -> None:
    """Remove a host's container where its plan, image or network has changed.

    For all hosts before any is made: an old one may hold an address that a new one needs.
    """
    name = settings.container(plan.host)
    try:
        existing = client.containers.get(name)
    except NotFound:
        return
    if existing.labels.get(LABEL) != settings.name:
        raise LabError(
            f"A container {name!r} exists that no lab made: remove it, or give this lab another "
            "PHOENIX_LAB_NAME."
        )
    same = existing.labels.get(SPEC_LABEL) == _spec(client, plan, network_id)
    if not same or existing.status not in ("running", "exited"):
        existing.remove(force=True, v=True)


def ensure(client: DockerClient, plan: Plan, settings: Settings, network_id: str) -> str:
    """Keep, start or make a container; return which it was: "kept", "started", "created"."""
    try:
        existing = client.containers.get(settings.container(plan.host))
    except NotFound:
        _create(client, plan, settings, _spec(client, plan, network_id))
        return "created"
    if existing.status == "running":
        return "kept"
    existing.start()
    return "started"


def _spec(client: DockerClient, plan: Plan, network_id: str) -> str:
    return f"{plan.digest}-{network_id[:12]}-{_image_id(client, plan)}"


def _image_id(client: DockerClient, plan: Plan) -> str:
    image_id: str = client.images.get(plan.image).id
    return image_id.removeprefix("sha256:")[:12]


def _create(client: DockerClient, plan: Plan, settings: Settings, digest: str) -> None:
    labels = {LABEL: settings.name, SPEC_LABEL: digest}
    for volume in plan.host_config.get("Binds", []):
        source = volume.split(":")[0]
        if not source.startswith("/"):
            # A new guest starts from nothing. A volume outlives its container where "down" was cut.
            with suppress(NotFound):
                client.volumes.get(source).remove(force=True)
            client.volumes.create(source, labels={LABEL: settings.name})
    network = networks.docker_name(settings, plan.place.network)
    endpoint = client.api.create_endpoint_config(ipv4_address=plan.address)
    try:
        # The low-level call: the high-level one knows neither MaskedPaths nor a fixed address.
        created = client.api.create_container(
            plan.image,
            name=settings.container(plan.host),
            hostname=plan.host,
            labels=labels,
            host_config=plan.host_config | {"NetworkMode": network},
            networking_config=client.api.create_networking_config({network: endpoint}),
        )
        container = client.containers.get(created["Id"])
        networks.connect(client, container, settings, plan.place.cards)
        if plan.files:
            container.put_archive("/", pack(plan.files))
        container.start()
    except APIError as error:
        raise LabError(f"{plan.host}: Docker refused the container: {error.explanation}") from None


def wait_until_ready(client: DockerClient, plan: Plan, settings: Settings) -> None:
    """Wait until systemd is up and sshd answers, or say what failed.

    The first time, no unit may have failed. Later a failed unit is only reported: the next deploy
    may fix it.

    Raises:
        LabError: not ready within BOOT_DEADLINE seconds; with the host's journal.
    """
    container = client.containers.get(settings.container(plan.host))
    deadline = time.monotonic() + BOOT_DEADLINE
    state = "no answer"
    first = True
    while time.monotonic() < deadline:
        container.reload()
        if container.status != "running":
            state = f"container {container.status}"
            break
        state = _output(container, ["systemctl", "is-system-running"])
        first = container.exec_run(["test", "-e", READY_MARK]).exit_code != 0
        if state == "degraded" and first:
            break
        if state in ("running", "degraded") and banner(plan.address).startswith(b"SSH-2.0"):
            if state == "degraded":
                say(f"  {plan.host}: units have failed:\n{_output(container, FAILED_UNITS)}")
            if first:
                container.exec_run(["touch", READY_MARK])
            return
        time.sleep(0.4)
    raise LabError(f"{plan.host} did not come up ({state}).\n{_diagnosis(container)}")


def banner(address: str) -> bytes:
    """What answers at port 22 of an address; empty where nothing does."""
    try:
        with socket.create_connection((address, 22), timeout=2) as connection:
            return connection.recv(64)
    except OSError:
        return b""


def _output(container: Any, command: list[str]) -> str:
    output: bytes = container.exec_run(command).output
    return output.decode(errors="replace").rstrip()


def _diagnosis(container: Any) -> str:
    parts = []
    for command in (
        FAILED_UNITS,
        ["journalctl", "--no-pager", "-b", "-n", str(JOURNAL_LINES)],
    ):
        try:
            parts.append(_output(container, command))
        except APIError:
            parts.append(container.logs(tail=JOURNAL_LINES).decode(errors="replace"))
            break
    more = f"More: docker exec {container.name} journalctl -b. Anew: python3 lab down, then up."
    return "\n".join([*parts, more])


def remove_all(client: DockerClient, settings: Settings) -> list[str]:
    """Remove every container, volume and network of this lab, and nothing else; return names."""
    own = {"label": f"{LABEL}={settings.name}"}
    removed = []

    def remove(container: Any) -> None:
        container.remove(force=True, v=True)
        removed.append(str(container.name))

    own_containers = client.containers.list(all=True, filters=own)
    with ThreadPoolExecutor(max_workers=8) as pool:
        list(pool.map(remove, own_containers))
    for volume in client.volumes.list(filters=own):
        volume.remove(force=True)
        removed.append(str(volume.name))
    for network in client.networks.list(filters=own):
        network.remove()
        removed.append(str(network.name))
    return removed


def announce(plan: Plan, action: str) -> None:
    """One progress line on a host."""
    say(f"  {plan.host:<18} {plan.address:<15} {action}")
