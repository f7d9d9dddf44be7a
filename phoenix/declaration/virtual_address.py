"""The virtual addresses of the gateways, as the site declares them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Address
from typing import Any

from phoenix.declaration.networks import is_host
from phoenix.derived.virtual_addresses import MAX_GATEWAYS
from phoenix.site.addressing import static_addresses
from phoenix.site.findings import Report
from phoenix.site.model import Host, Network, Site

PATH = "site.virtual_address"


def read(
    raw: str, move: Callable[[Any], Any], file: str, report: Report
) -> tuple[IPv4Address, ...]:
    """`site.virtual_address`, typed.

    Args:
        raw: the addresses, with blanks or commas between.
        move: re-addresses what a file says.
        file: the file that says it.
        report: takes what is no address.
    """
    listed = []
    for word in raw.replace(",", " ").split():
        try:
            listed.append(IPv4Address(move(word)))
        except ValueError:
            report.error(
                file, PATH, f"{word} is not an IPv4 address", 'write an address, as "10.0.0.9"'
            )
    return tuple(dict.fromkeys(listed))


def check(site: Site, file: str, report: Report, *, whole: bool) -> None:
    """Refuse two gateways without a virtual address, and a virtual address that cannot move.

    Args:
        site: the site.
        file: the file that holds `site`.
        report: takes the errors.
        whole: whether all guests that are declared are in the site; a faulty one may be a gateway.
    """
    gateways = site.gateways
    for host in gateways[MAX_GATEWAYS:]:
        report.error(
            host.source.file,
            f"{host.source.path}.role",
            f"too many gateways: a site has {MAX_GATEWAYS} at most",
            f"give the role nginx to {MAX_GATEWAYS} guests at most",
        )
    if not whole or any(finding.path == PATH for finding in report.errors):
        return
    if gateways[1:]:
        by_network = _by_network(site, file, report)
        _check_networks(site, by_network, file, report)
    elif site.virtual_addresses:
        report.error(
            file,
            PATH,
            "there is one gateway, and names lead to its own address: nothing else could hold "
            "this one",
            "give a second guest the role nginx, or remove the key",
        )


def _by_network(site: Site, file: str, report: Report) -> dict[str, list[IPv4Address]]:
    """The virtual addresses by the name of their network; what is wrong with each is reported."""
    in_use = _addresses_in_use(site)
    by_network: dict[str, list[IPv4Address]] = {}
    for address in site.virtual_addresses:
        network = _network_of(site, address)
        if network is None or network.subnet is None:
            own = ", ".join(str(needed.subnet) for needed in _needed(site))
            message = f"{address} is in no network of the site"
            report.error(file, PATH, message, f"write a free address of {own}")
            continue
        by_network.setdefault(network.name, []).append(address)
        fix = f"write a free address of {network.subnet}"
        if not is_host(address, network.subnet):
            report.error(file, PATH, f"{address} is not a host address of {network.subnet}", fix)
        elif address in in_use:
            message = f"{address} is {in_use[address]}: a virtual address must belong to no host"
            report.error(file, PATH, message, fix)
        for host in site.gateways:
            if network.name not in _static(host):
                report.error(
                    host.source.file,
                    host.source.path,
                    f"{host.name} has no address of its own in the network {network.name}, and "
                    f"could not hold {address} there",
                    f"give it a static address of {network.subnet}, or leave {address} out of "
                    f"{PATH}",
                )
    return by_network


def _check_networks(
    site: Site, by_network: Mapping[str, Sequence[IPv4Address]], file: str, report: Report
) -> None:
    """Each network in which clients ask the gateways needs one virtual address."""
    for network in _needed(site):
        holders = by_network.get(network.name, ())
        if not holders:
            names = " and ".join(host.name for host in site.gateways)
            report.error(
                file,
                PATH,
                f"the gateways {names} have no address in the network {network.name} "
                f"({network.subnet}) that one of them takes over from the other",
                f'write a free address of it, as "virtual_address": "{_free(site, network)}"',
            )
        elif holders[1:]:
            shown = " and ".join(map(str, holders))
            report.error(
                file, PATH, f"{shown} are both in the network {network.name}", "keep one of them"
            )


def _static(host: Host) -> list[str]:
    """The networks in which a host has an address of its own that is declared."""
    return [interface.network for interface in host.interfaces if interface.address is not None]


def _needed(site: Site) -> tuple[Network, ...]:
    """The networks in which clients ask the gateways, in the order of the site's."""
    own = {name for host in site.gateways for name in _static(host)}
    return tuple(network for network in site.networks if network.name in own)


def _network_of(site: Site, address: IPv4Address) -> Network | None:
    return next(
        (
            network
            for network in site.networks
            if network.subnet is not None and address in network.subnet
        ),
        None,
    )


def _addresses_in_use(site: Site) -> dict[IPv4Address, str]:
    """Every address that somebody is known to have, and whose it is."""
    in_use = {network.gateway: "the network's router" for network in site.networks}
    in_use |= {network.address: "the hypervisor's address" for network in site.networks}
    for machine in (*site.hosts, *site.templates):
        for interface in machine.interfaces:
            in_use[interface.address] = f"an address of {machine.name}"
            in_use.setdefault(interface.gateway, f"the router of {machine.name}")
    if site.scraped_from:
        in_use.setdefault(IPv4Address(site.scraped_from), "that of the scraper (site.scraper)")
    for host in site.hosts:
        # Each gateway has SSH keys of its own, which a log-in through this address would not know.
        for hop in (host.login.jump or "").split(","):
            with contextlib.suppress(ValueError):  # a name, or none
                jump = IPv4Address(hop.rpartition("@")[2].partition(":")[0])
                in_use.setdefault(jump, f"that of a jump host of {host.name}")
    for host in site.guests:
        in_use |= {mount.server: "that of an NFS server" for mount in host.mounts
                  if mount.server not in in_use}  # fmt: skip
    for service in site.services:
        if service.external is not None:
            try:
                in_use.setdefault(
                    IPv4Address(service.external.host), f"that of the service {service.name}"
                )
            except ValueError:
                continue  # a name
    return {address: whose for address, whose in in_use.items() if address is not None}


def _free(site: Site, network: Network) -> IPv4Address | str:
    """An address of a network that nobody in the declaration has."""
    in_use = {
        *_addresses_in_use(site),
        *(address for host in site.hosts for address in static_addresses(host)),
    }
    hosts = network.subnet.hosts() if network.subnet is not None else ()
    return next((address for address in hosts if address not in in_use), "ADDRESS")
