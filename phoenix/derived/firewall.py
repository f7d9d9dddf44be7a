"""Who talks to whom: each flow stated once, the rules at both of its ends derived from it."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network
from typing import Literal, NamedTuple

from phoenix.derived.certificates import certificates
from phoenix.site.model import FirewallRule, Host, Service, Site
from phoenix.site.ports import DNS, HTTP, HTTPS, PROXMOX_API, SSH

Endpoint = Host | IPv4Network | Literal["any"]
Proto = Literal["tcp", "udp", "icmp"]


class Flow(NamedTuple):
    """Connections from `source` to `destination`; `port` is None for icmp and for any port.

    `last_port` ends a range that starts with `port`. `why` is for a reader.
    """

    source: Endpoint
    destination: Endpoint
    proto: Proto
    port: int | None
    why: str
    last_port: int | None = None

    @property
    def key(self) -> tuple[object, ...]:
        """What makes two flows the same, whatever their reasons."""
        return (_peer(self.source), _peer(self.destination), self.proto, self.port, self.last_port)


class Rule(NamedTuple):
    """One rule of one host's firewall. `peer` is the other end; None is anyone.

    `ports` is written as Proxmox VE writes it: "443" or "8000:8010".
    """

    direction: Literal["in", "out"]
    action: Literal["ACCEPT", "DROP", "REJECT"]
    proto: Proto | None
    ports: str | None
    peer: IPv4Network | None
    comment: str


def flows(site: Site) -> tuple[Flow, ...]:
    """All flows that the site needs or declares, each once; derived ones first."""
    by_key: dict[tuple[object, ...], Flow] = {}
    for flow in (*_derived(site), *_declared(site)):
        if _peer(flow.source) != _peer(flow.destination):  # a host needs no rule to reach itself
            by_key.setdefault(flow.key, flow)
    return tuple(by_key.values())


def rules(site: Site) -> dict[str, tuple[Rule, ...]]:
    """Each host's rules, by host name: declared refusals first, then both ends of each flow."""
    result: dict[str, list[Rule]] = {host.name: [] for host in site.hosts}
    for host in site.guests:
        result[host.name] += [
            Rule(r.direction, r.action, r.proto, r.ports, _declared_peer(r), r.comment)
            for r in _declared_rules(host)
            if r.action != "ACCEPT"
        ]
    for flow in flows(site):
        if isinstance(flow.destination, Host):
            result[flow.destination.name].append(_rule(flow, "in", flow.source))
        if isinstance(flow.source, Host):
            result[flow.source.name].append(_rule(flow, "out", flow.destination))
    return {name: tuple(dict.fromkeys(host_rules)) for name, host_rules in result.items()}


def _derived(site: Site) -> Iterator[Flow]:
    yield from _base(site)
    yield from _certificates(site)
    gateway, traefik = site.gateway, site.traefik
    if gateway:
        for port in (HTTP, HTTPS):
            yield Flow(site.network, gateway, "tcp", port, "clients to the gateway")
    if gateway and traefik:
        yield Flow(gateway, traefik, "tcp", HTTPS, "gateway to Traefik")
    for service in site.services:
        yield from _to_service(site, service)


def _to_service(site: Site, service: Service) -> Iterator[Flow]:
    owner, port = service.owner, service.port
    if service.kind == "ca":
        for host in site.hosts:
            yield Flow(host, owner, "tcp", port, "certificates and the root from the CA")
    elif service.kind == "agent":
        if site.portainer:
            yield Flow(site.portainer, owner, "tcp", port, "Portainer to its agent")
    elif service.exposure == "direct":
        yield Flow(site.network, owner, "tcp", port, f"clients to {service.name}")
    elif service.kind == "backend" and site.traefik:
        yield Flow(site.traefik, owner, "tcp", port, f"Traefik to {service.name}")


def _base(site: Site) -> Iterator[Flow]:
    hypervisor = site.hypervisor
    for proto in ("udp", "tcp"):  # RFC 7766: DNS needs both
        for host in site.guests:
            yield Flow(host, hypervisor, proto, DNS, "names from internal DNS")
        yield Flow(site.network, hypervisor, proto, DNS, "names for clients of the gateway")
    for host in site.hosts:
        yield Flow(site.network, host, "tcp", SSH, "operator, by SSH")
    yield Flow(site.network, hypervisor, "tcp", PROXMOX_API, "operator, by Proxmox VE's API")


def _certificates(site: Site) -> Iterator[Flow]:
    if site.ca is None:
        return
    for certificate in certificates(site):
        yield Flow(site.ca, certificate.host, "tcp", HTTP, "CA validates names by http-01")


def _declared_rules(host: Host) -> tuple[FirewallRule, ...]:
    of_stacks = [rule for stack in host.docker_stacks for rule in stack.firewall_rules]
    return (*host.firewall_rules, *of_stacks)


def _declared_peer(rule: FirewallRule) -> IPv4Network | None:
    return rule.source if rule.direction == "in" else rule.destination


def _declared(site: Site) -> Iterator[Flow]:
    by_address = {host.alone: host for host in site.hosts}
    for host in site.guests:
        for rule in _declared_rules(host):
            if rule.action != "ACCEPT":
                continue
            peer = _declared_peer(rule)
            other: Endpoint = "any" if peer is None else by_address.get(peer, peer)
            source, destination = (other, host) if rule.direction == "in" else (host, other)
            protos: tuple[Proto, ...] = (rule.proto,) if rule.proto else ("tcp", "udp", "icmp")
            for proto in protos:
                for first, last in _spans(rule.ports):
                    yield Flow(source, destination, proto, first, rule.comment or "declared", last)


def _spans(ports: str | None) -> Iterator[tuple[int | None, int | None]]:
    if ports is None:
        yield None, None
        return
    for part in ports.split(","):
        first, _, last = part.partition(":")
        yield int(first), int(last) if last and last != first else None


def _peer(end: Endpoint) -> IPv4Network | None:
    if isinstance(end, Host):
        return end.alone
    return end if isinstance(end, IPv4Network) else None


def _rule(flow: Flow, direction: Literal["in", "out"], other: Endpoint) -> Rule:
    ports = None if flow.port is None else str(flow.port)
    if flow.last_port is not None:
        ports = f"{flow.port}:{flow.last_port}"
    return Rule(direction, "ACCEPT", flow.proto, ports, _peer(other), flow.why)
