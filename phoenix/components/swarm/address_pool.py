"""Where the swarm takes the addresses of its overlay networks: from no network of the site.

Docker's own choice is 10.0.0.0/8, whose first network 10.0.0.0/24 many sites have for themselves
(https://docs.docker.com/engine/swarm/networking/#configure-the-default-address-pool).
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, ip_network
from typing import NamedTuple

from phoenix.declaration.settings import Settings
from phoenix.site.findings import SettingError
from phoenix.site.model import Site

BRIDGES = (
    *(IPv4Network(f"172.{second}.0.0/16") for second in range(17, 32)),
    IPv4Network("192.168.0.0/16"),
)
"""Where Docker takes bridges from unless it is told otherwise
(https://docs.docker.com/engine/network/#automatic-subnet-allocation)."""
_CHOICES = (
    *(IPv4Network(f"10.{second}.0.0/16") for second in range(200, 255)),
    IPv4Network("172.16.0.0/16"),
    IPv4Network("198.18.0.0/16"),  # RFC 2544: for benchmarks, and no site's
)
SUBNET_SIZE = 24
"""Prefix length of each overlay network: Docker's own default."""


def pools(site: Site, settings: Settings) -> tuple[IPv4Network, ...]:
    """The ranges that a new swarm takes its networks from.

    Args:
        site: whose networks they must not overlap.
        settings: with `swarm_address_pools`, and `docker_address_pools`, where bridges are.

    Raises:
        SettingError: a range overlaps a network of the site, or one that Docker's bridges take.
    """
    known = ranges_in_use(site, settings)
    if not settings.swarm_address_pools:
        for choice in _CHOICES:
            if not clash([choice], known):
                return (choice,)
        raise SettingError(
            "no range is free for the swarm's networks: write one as swarm_address_pools"
        )
    declared = tuple(_ipv4(text) for text in settings.swarm_address_pools)
    if overlap := clash(declared, known):
        raise SettingError(overlap)
    return declared


def check_networks(site: Site, settings: Settings) -> None:
    """Refuse an overlay network whose declared addresses Docker's bridges take.

    Raises:
        SettingError: names both.
    """
    for network in site.swarm_networks:
        if network.subnet and (overlap := clash([network.subnet], ranges_in_use(site, settings))):
            raise SettingError(f"network {network.name}: {overlap}")


class UsedRange(NamedTuple):
    """A range that is in use, and what it is."""

    network: IPv4Network
    what: str


def ranges_in_use(site: Site, settings: Settings) -> tuple[UsedRange, ...]:
    """What the swarm's networks must not overlap."""
    ranges = [
        UsedRange(network.subnet, f"the network {network.name}")
        for network in site.networks
        if network.subnet
    ]
    bridges = [ip_network(pool.base) for pool in settings.docker_address_pools]
    ranges += [
        UsedRange(bridge, "where Docker takes its bridges from (docker_address_pools)")
        for bridge in (bridges or BRIDGES)
        if isinstance(bridge, IPv4Network)
    ]
    return tuple(ranges)


def clash(ranges: Iterable[IPv4Network], known: Iterable[UsedRange]) -> str:
    """Which range overlaps what; empty where none does."""
    known = tuple(known)
    for pool in ranges:
        for network, use in known:
            if pool.overlaps(network):
                return f"the swarm's range {pool} overlaps {network}: {use}"
    return ""


def _ipv4(text: str) -> IPv4Network:
    network = ip_network(text)
    if not isinstance(network, IPv4Network):
        raise SettingError(f"{text} is not an IPv4 network, and a swarm's are")
    if network.prefixlen > SUBNET_SIZE:
        raise SettingError(f"{text} has no room for a network of prefix length {SUBNET_SIZE}")
    return network
