"""The virtual addresses of the gateways: who may hold each, and by which address of its own.

Each gateway answers to all of the site's names, so a virtual address is all that moves: one of them
holds it, and the other one takes it over by VRRP (RFC 5798, section 6).
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import NamedTuple

from phoenix.site.memo import once_per_site
from phoenix.site.model import Host, Site

MAX_GATEWAYS = 2
"""Each asks the other one for what a CA wants to see; a third would have to ask around."""


class Holder(NamedTuple):
    """A gateway that may hold a virtual address, and its own address in the same network."""

    host: Host
    address: IPv4Address


class VirtualAddress(NamedTuple):
    """One virtual address, the name of its network, and the gateways in it, in their order."""

    address: IPv4Address
    network: str
    holders: tuple[Holder, ...]

    @property
    def alone(self) -> IPv4Network:
        """The address as a network, for firewall rules."""
        return IPv4Network(self.address)


@once_per_site
def virtual_addresses(site: Site) -> tuple[VirtualAddress, ...]:
    """All virtual addresses, in the order of the site's networks; none for a single gateway."""
    return tuple(
        VirtualAddress(address, network.name, holders)
        for network in site.networks
        for address in site.virtual_addresses
        if network.subnet is not None and address in network.subnet
        and (holders := _holders(site, network.name))
    )  # fmt: skip


def of_host(site: Site, host: Host) -> tuple[VirtualAddress, ...]:
    """The virtual addresses that a host may hold."""
    return tuple(
        address
        for address in virtual_addresses(site)
        if any(held.host == host for held in address.holders)
    )


def other_holders(address: VirtualAddress, host: Host) -> tuple[Holder, ...]:
    """The other gateways that may hold it."""
    return tuple(held for held in address.holders if held.host != host)


def own_address(address: VirtualAddress, host: Host) -> IPv4Address:
    """The address of a holder in the network of a virtual address.

    Raises:
        KeyError: the host is none of its holders.
    """
    return {held.host.name: held.address for held in address.holders}[host.name]


def address_for_client(site: Site, client: Host) -> IPv4Address | None:
    """The one that DNS gives a client: in the client's network, else the first; None if absent."""
    networks = {interface.network for interface in client.interfaces}
    every = virtual_addresses(site)
    return next(
        (
            address.address
            for address in (*(address for address in every if address.network in networks), *every)
        ),
        None,
    )


def gateway_addresses(site: Site) -> tuple[IPv4Address, ...]:
    """Where clients find the services, as DNS has it; empty: at the gateway's own addresses."""
    return tuple(address.address for address in virtual_addresses(site))


def _holders(site: Site, network: str) -> tuple[Holder, ...]:
    return tuple(
        Holder(host, interface.address)
        for host in site.gateways
        for interface in host.interfaces
        if interface.network == network and interface.address is not None
    )
