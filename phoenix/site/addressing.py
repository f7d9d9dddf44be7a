"""The addresses of connections between hosts, and the networks that the hypervisor routes.

Two hosts that share a network connect in it. Others connect through the hypervisor, which forwards
between the networks in which it has an address: each end then has its managed address.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from typing import NamedTuple

from phoenix.site.model import Host, Network, Site


class AddressPair(NamedTuple):
    """The two addresses of a connection: its source and its target.

    `network` is the name of the network that both hosts are in; empty where the hypervisor
    forwards.
    """

    source: IPv4Address
    target: IPv4Address
    network: str


def address_pair(source: Host, target: Host) -> AddressPair:
    """The addresses of a connection from `source` to `target`."""
    if source == target:
        return AddressPair(source.address, target.address, source.managed.network)
    by_network = {
        interface.network: interface.address
        for interface in source.interfaces
        if interface.address is not None
    }
    for interface in target.interfaces:
        if interface.address is not None and interface.network in by_network:
            return AddressPair(by_network[interface.network], interface.address, interface.network)
    return AddressPair(source.address, target.address, "")


def target_address(source: Host, target: Host) -> IPv4Address:
    """The address of `target` that `source` connects to."""
    return address_pair(source, target).target


class NameServer(NamedTuple):
    """A name server of a host, and the address at which the host asks it."""

    server: Host
    address: IPv4Address


def name_servers(site: Site, client: Host) -> tuple[NameServer, ...]:
    """The name servers of a host, as ordered in resolv.conf: itself if it is one, then the rest.

    A name server's answer depends on the network in which it is asked. A host therefore asks the
    hypervisor, and only those other servers that it reaches in the same network.
    """
    to_hypervisor = address_pair(client, site.hypervisor)
    servers = [NameServer(site.hypervisor, to_hypervisor.target)]
    for server in site.name_servers[1:]:
        if server == client:
            servers.insert(0, NameServer(server, to_hypervisor.source))
            continue
        pair = address_pair(client, server)
        if pair.network and pair.network == to_hypervisor.network:
            servers.append(NameServer(server, pair.target))
    return tuple(servers)


def static_addresses(host: Host) -> tuple[IPv4Address, ...]:
    """All static addresses of a host, its managed one first."""
    others = (interface.address for interface in host.interfaces if interface.address is not None)
    return tuple(dict.fromkeys((host.address, *others)))


def served_networks(site: Site) -> tuple[Network, ...]:
    """The networks in which the hypervisor has an address: it answers DNS there, and forwards."""
    return tuple(network for network in site.networks if network.address is not None)


def routed_networks(site: Site) -> tuple[Network, ...]:
    """The networks whose router is the hypervisor, and whose bridge, forwarding and NAT we make."""
    return tuple(
        network
        for network in site.networks[1:]
        if network.managed and network.subnet is not None and network.address is not None
        and network.gateway == network.address
    )  # fmt: skip


class StaticRoute(NamedTuple):
    """A network that a host reaches through the hypervisor."""

    subnet: IPv4Network
    via: IPv4Address
    name: str


def static_routes(site: Site, host: Host) -> Iterator[StaticRoute]:
    """Routes to the site's networks that a host is not in, through the hypervisor.

    Without them the host uses its default gateway, which may not know these networks.
    """
    if host == site.hypervisor:
        return
    joined = {interface.network for interface in host.interfaces}
    networks = served_networks(site)
    via = next((net.address for net in networks if net.name == host.managed.network), None)
    if via is None:
        return
    for network in networks:
        if network.name not in joined and network.subnet is not None:
            yield StaticRoute(network.subnet, via, network.name)
