"""Which addresses a connection between two hosts has: one answer for everything that names one.

Two hosts that share a network connect in it. Others connect through the hypervisor, which forwards
between the networks in which it has an address: each end then has its managed address.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from typing import NamedTuple

from phoenix.site.model import Host, Network, Site


class Way(NamedTuple):
    """One connection: the address that it comes from, and the one that it goes to.

    `network` is the name of the network that both hosts are in; empty where the hypervisor
    forwards.
    """

    source: IPv4Address
    target: IPv4Address
    network: str


def way(source: Host, target: Host) -> Way:
    """The addresses of a connection from `source` to `target`."""
    if source == target:
        return Way(source.address, target.address, source.managed.network)
    own = {
        interface.network: interface.address
        for interface in source.interfaces
        if interface.address is not None
    }
    for interface in target.interfaces:
        if interface.address is not None and interface.network in own:
            return Way(own[interface.network], interface.address, interface.network)
    return Way(source.address, target.address, "")


def address(source: Host, target: Host) -> IPv4Address:
    """The address of `target` that `source` connects to."""
    return way(source, target).target


class Asked(NamedTuple):
    """A name server that a host asks, and the address that it asks it at."""

    server: Host
    address: IPv4Address


def name_servers(site: Site, client: Host) -> tuple[Asked, ...]:
    """The name servers that a host asks, in its order: itself where it is one, then the site's.

    A name server answers as suits the network in which it is asked. So beside the hypervisor a host
    asks those alone that it reaches in the network in which it asks the hypervisor.
    """
    first = way(client, site.hypervisor)
    asked = [Asked(site.hypervisor, first.target)]
    for server in site.name_servers[1:]:
        if server == client:
            asked.insert(0, Asked(server, first.source))
        elif first.network and (way_there := way(client, server)).network == first.network:
            asked.append(Asked(server, way_there.target))
    return tuple(asked)


def addresses(host: Host) -> tuple[IPv4Address, ...]:
    """All static addresses of a host, its managed one first."""
    others = (interface.address for interface in host.interfaces if interface.address is not None)
    return tuple(dict.fromkeys((host.address, *others)))


def served(site: Site) -> tuple[Network, ...]:
    """The networks in which the hypervisor has an address: it answers DNS there, and forwards."""
    return tuple(network for network in site.networks if network.address is not None)


def routed(site: Site) -> tuple[Network, ...]:
    """The networks whose router is the hypervisor, and whose bridge, forwarding and NAT we make."""
    return tuple(
        network
        for network in site.networks[1:]
        if network.managed and network.subnet is not None and network.address is not None
        and network.gateway == network.address
    )  # fmt: skip


class RouteTo(NamedTuple):
    """A network that a host reaches through the hypervisor."""

    subnet: IPv4Network
    via: IPv4Address
    name: str


def routes_of(site: Site, host: Host) -> Iterator[RouteTo]:
    """The networks of the site that a host is not in, each by the hypervisor's address in its own.

    Without them a host asks its default gateway, which need not know the site's other networks.
    """
    if host == site.hypervisor:
        return
    own = {interface.network for interface in host.interfaces}
    via = next(
        (network.address for network in served(site) if network.name == host.managed.network), None
    )
    if via is None:
        return
    for network in served(site):
        if network.name not in own and network.subnet is not None:
            yield RouteTo(network.subnet, via, network.name)
