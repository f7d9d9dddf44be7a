"""Internal DNS: exact address records, one owner per name."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import NamedTuple

from phoenix.derived.certificates import certificates
from phoenix.site.model import Service, Site
from phoenix.site.names import in_zone


class DnsRecord(NamedTuple):
    """An A record; `name` is fully qualified without the final dot; `why` is for a reader."""

    name: str
    address: IPv4Address
    why: str


def records(site: Site) -> tuple[DnsRecord, ...]:
    """All A records of the zone, sorted by name; each name once.

    Exact names, no wildcard: an unknown name gets NXDOMAIN. `phoenix.declaration.load` has refused
    names that two owners claim.
    """
    by_name = {record.name: record for record in reversed(claims(site))}
    return tuple(by_name[name] for name in sorted(by_name))


def claims(site: Site) -> tuple[DnsRecord, ...]:
    """Every claim on a name, in order of declaration, before duplicates are looked for."""
    claimed = [DnsRecord(h.fqdn, h.address, f"host {h.name}") for h in site.hosts]
    for service in site.services:
        claimed += [_service(site, service, name) for name in service.names]
        own = service.server_name
        target = service.owner.fqdn if service.exposure == "gateway" else service.fqdn
        if own != target and in_zone(own, site.domain) and service.kind in _TO_TRAEFIK:
            why = f"name that {service.owner.name} proves to Traefik"
            claimed.append(DnsRecord(own, service.owner.address, why))
    named = {record.name for record in claimed}
    claimed += [
        DnsRecord(name, certificate.host.address, f"stack {certificate.project}")
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
        return DnsRecord(name, site.gateway.address, f"service {service.name}, by gateway")
    return DnsRecord(name, service.owner.address, f"service {service.name}, directly")
