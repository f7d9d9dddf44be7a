"""Bring a lab up, take it down, show its status."""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from docker import DockerClient  # type: ignore[import-untyped]
from docker.errors import NotFound  # type: ignore[import-untyped]
from docker.types import IPAMConfig, IPAMPool  # type: ignore[import-untyped]

from lab import artifacts, containers, image, inside, keys, networks, preflight, proxmox, state
from lab.guests import Guest, from_site, lab_site
from lab.progress import say, timed
from lab.settings import (
    BRIDGE_HOST_PART,
    LABEL,
    ROOT,
    SPEC_LABEL,
    LabError,
    Settings,
    cache_directory,
    from_environment,
)
from lab.stacks import images as stack_images
from phoenix.declaration import group_data
from phoenix.site.model import Site


def up(settings: Settings | None = None, guests: Sequence[Guest] | None = None) -> state.LabState:
    """Bring the lab up: keep what is up to date, create the rest.

    Args:
        settings: which lab; by default what the environment says.
        guests: the hosts; by default those of the project's site.

    Raises:
        LabError: says what is wrong and how to fix it.
    """
    settings = settings or from_environment()
    hosts = list(from_site(settings) if guests is None else guests)
    client = preflight.connect()
    with _locked(settings):
        say(f"lab {settings.name!r} on {settings.subnet}, {len(hosts)} hosts and a client")
        preflight.check(client, settings, images_present=_has_images(client))
        with _one_builder():
            image.rootfs(client)  # both branches below begin with it
            with ThreadPoolExecutor() as pool:
                building = pool.submit(artifacts.ensure, client, settings)
                images = image.ensure(client, older=bool(settings.debian_12))
                programs = building.result()
            published = stack_images.ensure(client, settings, images, upstream_images())
        keys.make(settings.directory / keys.CLIENT_KEY, f"phoenix-lab-{settings.name}")
        # Given guests are a test's own and need no hypervisor.
        site = lab_site(settings) if guests is None else None
        network_id = _ensure_networks(client, settings, site)
        api = proxmox.files(settings, site) if site else {}
        plans = [
            containers.guest_plan(guest, images, settings, api if guest.serves_dns else None)
            for guest in hosts
        ]
        addresses = {plan.host: plan.address for plan in plans}
        known_hosts = keys.write_known_hosts(settings, addresses)
        visitor = containers.client_plan(hosts, images, settings)
        with timed("hosts"):
            _start(client, settings, plans, visitor, network_id)
        if site:
            networks.prepare(client, site, settings)
        result = state.LabState(
            name=settings.name,
            subnet=settings.subnet,
            hosts=addresses,
            client=settings.container(visitor.host),
            client_address=visitor.address,
            ssh_key=settings.directory / keys.CLIENT_KEY,
            known_hosts=known_hosts,
            artifacts=programs,
            images=published.references,
            image_archives=published.archives,
        )
        state.save(result, settings)
    say(f"lab {settings.name!r} is up")
    return result


def upstream_images() -> dict[str, str]:
    """The images that a real site runs, as the project's settings pin them."""
    pins = group_data.load(ROOT, "inventories/lab.py")
    return {"portainer": pins.portainer_image, "portainer-agent": pins.portainer_agent_image}


def down(settings: Settings | None = None) -> None:
    """Remove this lab's containers, volumes and network; keep its keys and what is cached."""
    settings = settings or from_environment()
    client = preflight.connect()
    with _locked(settings):
        for name in containers.remove_all(client, settings):
            say(f"removed {name}")
        (settings.directory / state.FILE).unlink(missing_ok=True)
    say(f"lab {settings.name!r} is down")


def status(settings: Settings | None = None) -> list[dict[str, str]]:
    """Host, address, container and condition ("running" is healthy) of each; empty if not up."""
    settings = settings or from_environment()
    lab = state.load(settings)
    if lab is None:
        return []
    client = preflight.connect()
    return [
        {
            "host": host,
            "address": address,
            "container": lab.container(host),
            "condition": _condition(client, lab.container(host), systemd=host in lab.hosts),
        }
        for host, address in [*lab.hosts.items(), ("client", lab.client_address)]
    ]


def _condition(client: DockerClient, name: str, *, systemd: bool) -> str:
    try:
        container = client.containers.get(name)
    except NotFound:
        return "absent"
    if container.status != "running" or not systemd:
        return str(container.status)
    return inside.run(container, "systemctl", "is-system-running").stdout.strip()


def _start(
    client: DockerClient,
    settings: Settings,
    plans: Sequence[containers.Plan],
    visitor: containers.Plan,
    network_id: str,
) -> None:
    desired = {settings.container(plan.host) for plan in [*plans, visitor]}
    own = {"label": f"{LABEL}={settings.name}"}
    for container in client.containers.list(all=True, filters=own):
        if container.name not in desired:
            container.remove(force=True, v=True)
            say(f"  removed {container.name}: the site has no such host any more")

    def bring(plan: containers.Plan) -> LabError | None:
        try:
            action = containers.ensure(client, plan, settings, network_id)
            if plan is not visitor:
                containers.wait_until_ready(client, plan, settings)
        except LabError as error:
            return error
        containers.announce(plan, action)
        return None

    everyone = [*plans, visitor]
    with ThreadPoolExecutor(max_workers=len(everyone)) as pool:
        discard = partial(
            containers.discard_outdated, client, settings=settings, network_id=network_id
        )
        list(pool.map(discard, everyone))
        failures = [error for error in pool.map(bring, everyone) if error]
    if failures:
        raise LabError("\n\n".join(str(error) for error in failures))


def _ensure_networks(client: DockerClient, settings: Settings, site: Site | None) -> str:
    """The lab's network, and one for each further network of the site; with other subnets anew.

    Returns:
        What changes when one of them is another.
    """
    others = networks.subnets(site) if site else {}
    more = networks.options(client) if others else {}
    # Guests there go out by the hypervisor alone.
    apart = {**more, "com.docker.network.bridge.enable_ip_masquerade": "false"}
    desired = {settings.network: (settings.subnet, more)}
    desired |= {
        networks.docker_name(settings, name): (subnet, apart) for name, subnet in others.items()
    }
    specs = {name: f"{subnet} {how or ''}".strip() for name, (subnet, how) in desired.items()}
    if any(network.attrs["Labels"].get(SPEC_LABEL) != specs[network.name]
           for network in _networks(client, settings, desired)):  # fmt: skip
        containers.remove_all(client, settings)
    ids = {network.name: str(network.id) for network in _networks(client, settings, desired)}
    for name, (subnet, options) in desired.items():
        if name in ids:
            continue
        pool = IPAMPool(subnet=str(subnet), gateway=str(subnet[BRIDGE_HOST_PART]))
        created = client.networks.create(
            name,
            driver="bridge",
            ipam=IPAMConfig(pool_configs=[pool]),
            labels={LABEL: settings.name, SPEC_LABEL: specs[name]},
            options=options,
        )
        ids[name] = str(created.id)
    if len(ids) == 1:
        return ids[settings.network]
    return hashlib.sha256("".join(ids[name] for name in desired).encode()).hexdigest()


def _networks(client: DockerClient, settings: Settings, names: Collection[str]) -> list[Any]:
    """The lab's Docker networks of these names.

    Raises:
        LabError: one was made by somebody else.
    """
    # The filter matches parts of names.
    existing = [
        candidate
        for candidate in client.networks.list(names=list(names))
        if candidate.name in names
    ]
    for network in existing:
        if network.attrs["Labels"].get(LABEL) != settings.name:
            raise LabError(
                f"A Docker network {network.name!r} exists that no lab made: remove it, or "
                "give this lab another PHOENIX_LAB_NAME."
            )
    return existing


def _has_images(client: DockerClient) -> bool:
    return bool(client.images.list(name="phoenix-lab-base"))


@contextmanager
def _locked(settings: Settings) -> Iterator[None]:
    """One command at a time on one lab; also makes its directory, closed to others."""
    for directory in (settings.directory.parent, settings.directory):
        directory.mkdir(mode=0o700, exist_ok=True)
        directory.chmod(0o700)
    reason = f"another command is at work on lab {settings.name!r}"
    with _flock(settings.directory / "lock", reason):
        yield


@contextmanager
def _one_builder() -> Iterator[None]:
    """What labs share is built by one of them; the others wait, and find it there."""
    directory = cache_directory()
    directory.mkdir(parents=True, exist_ok=True)
    with _flock(directory / "lock", "another lab builds what they share"):
        yield


@contextmanager
def _flock(path: Path, reason: str) -> Iterator[None]:
    with path.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"{reason}: waiting for it")
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield
