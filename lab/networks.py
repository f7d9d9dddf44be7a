"""A site's further networks in the lab: a Docker network each, and the cards of hosts in them.

The hypervisor's address in a further network is that of a bridge, which deploys/networks.py makes.
As Proxmox VE connects a guest's card to a bridge when there is one, the lab connects the
hypervisor's own card in that network, which has no address.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Any, NamedTuple

from docker import DockerClient  # type: ignore[import-untyped]

from lab import inside
from lab.progress import timed
from lab.settings import BRIDGE_HOST_PART, CABLE_HOST_PART, LabError, Settings
from phoenix.site.addressing import routed_networks
from phoenix.site.model import Host, Network, Site

UNIT = "phoenix-lab-network.service"
_PROGRAM = "/usr/local/lib/phoenix-lab/network"
_UNIT_TEXT = f"""\
[Unit]
Description=Default gateway, and cards on bridges
Before=network.target

[Service]
ExecStart={_PROGRAM}

[Install]
WantedBy=multi-user.target
"""
_CABLE = """\
one=$(ip -4 -o addr | awk '$4 ~ /^{address}\\// {{ print $2 }}')
ip addr flush dev "$one"
while :; do
    [ ! -d /sys/class/net/{bridge}/brif ] || [ -e "/sys/class/net/{bridge}/brif/$one" ] ||
        ip link set dev "$one" master {bridge} up
    sleep 0.3
done &
"""
# As Proxmox VE has it: its ifup, and the person's file that reads the folder beside it.
_IFUPDOWN = """\
export DEBIAN_FRONTEND=noninteractive
file=/etc/network/interfaces
if ! command -v ifup >/dev/null; then
    apt-get update -q || exit 1
    apt-get install -q -y --no-install-recommends ifupdown2 || exit 1
fi
grep -qsx 'source /etc/network/interfaces.d/[*]' $file ||
    printf '%s\\n' 'auto lo' 'iface lo inet loopback' 'source /etc/network/interfaces.d/*' >$file
systemctl start networking.service
"""


class Card(NamedTuple):
    """A further network card; on the `bridge` of that name it has no address of its own."""

    network: str
    address: IPv4Address
    bridge: str = ""


class Place(NamedTuple):
    """Where a host is: the network of its first card (empty: the lab's), others, its router."""

    network: str = ""
    cards: tuple[Card, ...] = ()
    gateway: IPv4Address | None = None


ALONE = Place()
"""A host of a site with one network."""


def further(site: Site) -> tuple[Network, ...]:
    """The networks beside the lab's own that have hosts; one without a subnet is left out."""
    return tuple(network for network in site.networks[1:] if network.subnet is not None)


def place(site: Site, host: Host, settings: Settings) -> Place:
    """The cards of a host, by the addresses that it is declared with."""
    known = {network.name: network for network in further(site)}
    if not known:
        return ALONE
    first = host.managed.network
    if host == site.hypervisor:
        cards = [
            Card(network.name, network.subnet[CABLE_HOST_PART], network.place)
            for network in known.values()
            if network.subnet is not None and network.address is not None
        ]
    else:
        cards = [
            Card(interface.network, interface.address)
            for interface in host.interfaces
            if interface.address is not None and interface != host.managed
        ]
    own = known.get(first)
    router = own.gateway if own else settings.subnet[BRIDGE_HOST_PART]
    return Place(first if own else "", tuple(cards), router)


def subnets(site: Site) -> Mapping[str, IPv4Network]:
    """The further networks' addresses by name.

    Raises:
        LabError: one is not of the space that the lab may use.
    """
    by_name = {
        network.name: network.subnet for network in further(site) if network.subnet is not None
    }
    for name, subnet in by_name.items():
        if not subnet.subnet_of(IPv4Network("198.18.0.0/16")) or subnet.prefixlen != 24:
            raise LabError(
                f"The network {name} is {subnet}, which may be a real one: a lab needs a /24 of "
                "198.18.0.0/16 (RFC 2544), which no real network uses."
            )
    return by_name


def docker_name(settings: Settings, network: str) -> str:
    """The name of a network's Docker network; an empty one is the lab's own."""
    return f"{settings.network}-{network}" if network else settings.network


def options(client: DockerClient) -> dict[str, str]:
    """Options of Docker's networks between which the hypervisor forwards.

    From Docker 28 on the machine drops packets for a container that come by another bridge.
    """
    unprotected = int(str(client.version()["Version"]).split(".")[0]) >= 28
    return {"com.docker.network.bridge.gateway_mode_ipv4": "nat-unprotected"} if unprotected else {}


def files(where: Place) -> dict[str, tuple[bytes, int]]:
    """The unit that gives a host its default gateway, and its cards to its bridges."""
    if where.gateway is None:
        return {}
    cables = [
        _CABLE.format(address=str(card.address).replace(".", r"\."), bridge=card.bridge)
        for card in where.cards
        if card.bridge
    ]
    program = "\n".join(
        ["#!/bin/sh", f"ip route replace default via {where.gateway}", *cables, "wait", ""]
    )
    link = f"/etc/systemd/system/multi-user.target.wants/{UNIT}"
    return {
        _PROGRAM: (program.encode(), 0o755),
        f"/etc/systemd/system/{UNIT}": (_UNIT_TEXT.encode(), 0o644),
        link: (f"../{UNIT}".encode(), stat.S_IFLNK | 0o777),
    }


def connect(
    client: DockerClient, container: Any, settings: Settings, cards: Iterable[Card]
) -> None:
    """Give a container that has not started its further cards."""
    for card in cards:
        network = client.networks.get(docker_name(settings, card.network))
        network.connect(container, ipv4_address=str(card.address))


def prepare(client: DockerClient, site: Site, settings: Settings) -> None:
    """Give the hypervisor what Proxmox VE has for its bridges.

    Raises:
        LabError: it cannot be installed.
    """
    if not routed_networks(site):
        return
    with timed("ifupdown2 on the hypervisor"):
        container = client.containers.get(settings.container(site.hypervisor.name))
        done = inside.run(container, "sh", "-c", _IFUPDOWN)
    if done.returncode != 0:
        raise LabError(f"ifupdown2 cannot be installed:\n{done.stdout}{done.stderr}")
