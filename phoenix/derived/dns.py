"""Internal DNS: exact address records, one owner per name."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import NamedTuple

from phoenix.derived.certificates import certificates
from phoenix.derived.virtual_addresses import gateway_addresses
from phoenix.site.addressing import address_pair, static_addresses
from phoenix.site.memo import once_per_site
from phoenix.site.model import Host, Service, Site
from phoenix.site.names import in_zone


class DnsRecord(NamedTuple):
    """A records of a name; `name` is fully qualified without the final dot; `why` is for a reader.

    `also` are its host's addresses in other networks, whose clients get those.
    """

    name: str
    address: IPv4Address
    why: str
    also: tuple[IPv4Address, ...] = ()

    @property
    def addresses(self) -> tuple[IPv4Address, ...]:
        """All addresses of the name."""
        return (self.address, *self.also)


@once_per_site
def records(site: Site) -> tuple[DnsRecord, ...]:
    """All A records of the zone, sorted by name; each name once.

    Exact names, no wildcard: an unknown name gets NXDOMAIN. `phoenix.declaration.load` has refused
    names that two owners claim.
    """
    by_name = {record.name: record for record in reversed(claims(site))}
    return tuple(by_name[name] for name in sorted(by_name))


@once_per_site
def claims(site: Site) -> tuple[DnsRecord, ...]:
    """Every claim on a name, in order of declaration, before duplicates are looked for."""
    claimed = [_of_host(h, h.fqdn, f"host {h.name}") for h in site.hosts]
    for service in site.services:
        claimed += [_service(site, service, name) for name in service.names]
        server_name = service.server_name
        target = service.owner.fqdn if service.exposure == "gateway" else service.fqdn
        if (
            server_name != target
            and in_zone(server_name, site.domain)
            and service.kind in _TO_TRAEFIK
        ):
            why = f"name that {service.owner.name} proves to Traefik"
            claimed.append(_of_host(service.owner, server_name, why))
    named = {record.name for record in claimed}
    claimed += [
        _of_host(certificate.host, name, f"stack {certificate.project}")
        for certificate in certificates(site)
        for name in certificate.sans
        if certificate.project and name not in named
    ]
    for host in site.guests:
        claimed += [
            DnsRecord(extra.name, extra.address, f"declared by {host.name}")
            for extra in host.dns_records
        ]
    return tuple(claimed)


_TO_TRAEFIK = ("backend", "dashboard", "home", "redirect", "ca", "agent")
"""Kinds of services whose owner has the name that the certificate proves."""


def _service(site: Site, service: Service, name: str) -> DnsRecord:
    if service.exposure == "gateway" and site.gateway is not None:
        why = f"service {service.name}, by gateway"
        if door := gateway_addresses(site):
            return DnsRecord(name, door[0], why, door[1:])
        return _of_host(site.gateway, name, why)
    return _of_host(service.owner, name, f"service {service.name}, directly")


def _of_host(host: Host, name: str, why: str) -> DnsRecord:
    return DnsRecord(name, host.address, why, static_addresses(host)[1:])


def answers(site: Site, record: DnsRecord, client: Host) -> tuple[IPv4Address, ...]:
    """The addresses that a client of the site gets: in its own network where the name has one.

    It asks all of its name servers in that network (`phoenix.site.addressing.name_servers`).
    """
    return answers_in(site, record, address_pair(client, site.hypervisor).network)


def answers_in(site: Site, record: DnsRecord, asked_in: str) -> tuple[IPv4Address, ...]:
    """The addresses that a name server gives where it is asked in the network of this name.

    dnsmasq gives the addresses in that network; where the name has none there, all (dnsmasq(8),
    --localise-queries).
    """
    subnet = next((network.subnet for network in site.networks if network.name == asked_in), None)
    near = tuple(
        address for address in record.addresses if subnet is not None and address in subnet
    )
    return near or record.addresses


def answer(site: Site, record: DnsRecord, client: Host) -> IPv4Address:
    """The first of `answers`."""
    return answers(site, record, client)[0]
