"""Light hosts: containers with sshd alone, many of them, for what a run costs by their number.

They run without systemd and Docker, and belong to no site. A lab of such hosts has a name of its
own; `python3 lab down` with that name removes it as any other.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from docker.types import IPAMConfig, IPAMPool  # type: ignore[import-untyped]

from lab import containers, image, keys, preflight
from lab.progress import timed
from lab.settings import BRIDGE_HOST_PART, LABEL, LabError, Settings

FIRST = 10
"""The last part of the first host's address."""
AHEAD = 16384
"""Docker's `--cpu-shares`: what is measured comes before other containers of the machine."""
_COMMAND = ["sh", "-c", "mkdir -p /run/sshd && exec /usr/sbin/sshd -D -e"]
_DEADLINE = 120.0


def up(settings: Settings, number: int) -> Mapping[str, str]:
    """Make that many hosts anew; name -> address. Their keys are those of any lab.

    Raises:
        LabError: there are too many for the lab's network, or one does not answer.
    """
    if FIRST + number > BRIDGE_HOST_PART:
        raise LabError(f"{number} hosts do not fit into {settings.subnet}")
    hosts = {f"light{each:03}": str(settings.subnet[FIRST + each]) for each in range(number)}
    client = preflight.connect()
    with timed("image"):
        base = image.ensure(client).base
    containers.remove_all(client, settings)
    keys.make(settings.directory / keys.CLIENT_KEY, f"phoenix-{settings.name}")
    pool = IPAMPool(subnet=str(settings.subnet), gateway=str(settings.subnet[BRIDGE_HOST_PART]))
    client.networks.create(
        settings.network,
        driver="bridge",
        ipam=IPAMConfig(pool_configs=[pool]),
        labels={LABEL: settings.name},
    )

    def make(name: str) -> None:
        network = client.api.create_endpoint_config(ipv4_address=hosts[name])
        created = client.api.create_container(
            base,
            _COMMAND,
            name=settings.container(name),
            hostname=name,
            labels={LABEL: settings.name},
            host_config=client.api.create_host_config(
                network_mode=settings.network, cpu_shares=AHEAD
            ),
            networking_config=client.api.create_networking_config({settings.network: network}),
        )
        container = client.containers.get(created["Id"])
        container.put_archive("/", image.pack(containers.login_files(name, settings)))
        container.start()
        deadline = time.monotonic() + _DEADLINE
        while not containers.banner(hosts[name]).startswith(b"SSH-2.0"):
            if time.monotonic() > deadline:
                raise LabError(f"{name}: sshd does not answer: {container.logs(tail=5)!r}")
            time.sleep(0.2)

    with timed(f"{number} light hosts"), ThreadPoolExecutor(max_workers=8) as workers:
        list(workers.map(make, hosts))
    keys.write_known_hosts(settings, hosts)
    return hosts


def down(settings: Settings) -> None:
    """Remove them and their network."""
    containers.remove_all(preflight.connect(), settings)
