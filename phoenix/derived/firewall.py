"""The site's network flows: each stated once, with the firewall rules of both ends derived."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network
from itertools import product
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from phoenix.derived import backups, dns, swarm
from phoenix.derived.certificates import certificates
from phoenix.derived.virtual_addresses import of_host, other_holders, virtual_addresses
from phoenix.site.addressing import (
    address_pair,
    name_servers,
    served_networks,
    static_addresses,
    target_address,
)
from phoenix.site.memo import once_per_site
from phoenix.site.model import FirewallRule, Host, Service, Site
from phoenix.site.ports import DNS, HTTP, HTTPS, NFS, NTP, PROXMOX_API, WATCH

Endpoint = Host | IPv4Network | Literal["any"]
Proto = Literal["tcp", "udp", "icmp", "esp", "vrrp"]


class Flow(NamedTuple):
    """Connections from `source` to `destination`; `port` is None for icmp, esp, vrrp and any port.

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
        return (
            network_of(self.source),
            network_of(self.destination),
            self.proto,
            self.port,
            self.last_port,
        )


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


@once_per_site
def flows(site: Site) -> tuple[Flow, ...]:
    """All flows that the site needs or declares, each once; derived ones first."""
    by_key: dict[tuple[object, ...], Flow] = {}
    for flow in (*_derived(site), *_declared(site)):
        if network_of(flow.source) != network_of(
            flow.destination
        ):  # a host needs no rule to reach itself
            by_key.setdefault(flow.key, flow)
    return tuple(by_key.values())


def needed(site: Site) -> tuple[Flow, ...]:
    """The flows that follow from the site, without those that its rules declare."""
    return tuple(
        flow for flow in _derived(site) if network_of(flow.source) != network_of(flow.destination)
    )


def rules(site: Site) -> dict[str, tuple[Rule, ...]]:
    """Each host's rules, by host name: declared refusals first, then both ends of each flow."""
    result: dict[str, list[Rule]] = {host.name: [*refusals(host)] for host in site.hosts}
    for flow in flows(site):
        if isinstance(flow.destination, Host):
            result[flow.destination.name].append(_rule(flow, "in"))
        if isinstance(flow.source, Host):
            result[flow.source.name].append(_rule(flow, "out"))
    return {name: tuple(dict.fromkeys(host_rules)) for name, host_rules in result.items()}


def refusals(host: Host) -> tuple[Rule, ...]:
    """What a host's declaration refuses, in both directions; it goes before every flow."""
    return tuple(
        Rule(r.direction, r.action, r.proto, r.ports, _declared_peer(r), r.comment)
        for r in _declared_rules(host)
        if r.action != "ACCEPT"
    )


def operator_flows(site: Site, host: Host, networks: Iterable[IPv4Network]) -> tuple[Flow, ...]:
    """The operator's way to a host from networks that are not the site's own.

    Args:
        site: the site.
        host: one of its hosts.
        networks: where operators are, as the setting `proxmox_operator_networks` names them.
    """
    ports = {host.ssh_port: "operator, by SSH"}
    if host == site.hypervisor:
        ports[PROXMOX_API] = "operator, by Proxmox VE's API"
    return tuple(
        Flow(network, host, "tcp", port, why)
        for network in networks
        if not any(network.subnet_of(subnet) for subnet in site.subnets)
        for port, why in ports.items()
    )


def hypervisor_flows(site: Site) -> tuple[Flow, ...]:
    """What Proxmox VE's own firewall lets in to a node by itself, whatever its rules say.

    Ports: https://pve.proxmox.com/wiki/Firewall, "Ports used by Proxmox VE". corosync proves and
    encrypts its messages by itself, and a node that loses it is fenced, so it is open to any
    source: a cluster's link may be in any network.
    """
    node, network = site.hypervisor, site.network
    return (
        Flow("any", node, "udp", 5405, "Proxmox VE's cluster (corosync)", 5412),
        Flow(network, node, "tcp", 3128, "consoles by SPICE"),
        Flow(network, node, "tcp", 5900, "consoles by VNC", 5999),
        Flow(network, node, "tcp", 60000, "live migration", 60050),
    )


def from_its_containers(site: Site, host: Host) -> tuple[Flow, ...]:
    """What a host's own containers may open on it: what a machine with its address may.

    Elsewhere they have the host's address, so here they are the same. Of what is for one address
    alone, only what the declaration itself opens for the host's own: the platform's flows are for
    its services, and no container is one.
    """
    opened = [flow for flow in flows_to(site, host) if _covers(flow, host)]
    declared = _declared_within(site).get(host.name, ())
    return tuple({flow.key: flow for flow in (*opened, *declared)}.values())


def flows_to(site: Site, host: Host) -> tuple[Flow, ...]:
    """The flows to a host."""
    return _by_destination(site).get(host.name, ())


@once_per_site
def _by_destination(site: Site) -> Mapping[str, tuple[Flow, ...]]:
    """The flows to each host, by its name."""
    by_name: dict[str, list[Flow]] = {}
    for flow in flows(site):
        if isinstance(flow.destination, Host):
            by_name.setdefault(flow.destination.name, []).append(flow)
    return {name: tuple(to_it) for name, to_it in by_name.items()}


@once_per_site
def _declared_within(site: Site) -> Mapping[str, tuple[Flow, ...]]:
    """What each host's rules declare from its own address to itself, by its name."""
    by_name: dict[str, list[Flow]] = {}
    for flow in _declared(site):
        if isinstance(flow.source, Host) and flow.source == flow.destination:
            by_name.setdefault(flow.source.name, []).append(flow)
    return {name: tuple(within) for name, within in by_name.items()}


def reached_by(site: Site, hosts: Iterable[Host]) -> tuple[Host, ...]:
    """The other hosts that flows lead to from these hosts alone, and not from a whole network."""
    sources = {host.name for host in hosts}
    reached = {
        flow.destination.name
        for flow in flows(site)
        if isinstance(flow.source, Host)
        and flow.source.name in sources
        and isinstance(flow.destination, Host)
    }
    return tuple(host for host in site.hosts if host.name in reached - sources)


def closed_ports(site: Site, host: Host, stranger: Host | None) -> tuple[int, ...]:
    """TCP ports of a host that something is behind, and that are shut to `stranger`.

    Args:
        site: the site.
        host: whose ports.
        stranger: another host; None: the host's own containers.

    Returns:
        Ports that flows open to others, and those that its stacks publish, in ascending order.
    """
    if stranger is None:
        opened = from_its_containers(site, host)
    else:
        opened = tuple(flow for flow in flows_to(site, host) if _covers(flow, stranger))
    behind = {
        flow.port
        for flow in flows_to(site, host)
        if flow.proto == "tcp" and flow.port is not None and flow.last_port is None
    } | {
        port.host_port
        for stack in host.docker_stacks
        for port in stack.ports
        if port.answers_at(host.address)
    }
    wide = [flow for flow in opened if flow.port is None or flow.last_port is not None]
    single = {flow.port for flow in opened if flow.proto == "tcp"}  # there may be thousands
    closed = (port for port in behind - single if not any(allows_port(flow, port) for flow in wide))
    return tuple(sorted(closed))


def allows_port(flow: Flow, port: int, proto: Proto = "tcp") -> bool:
    """Whether a flow opens a port."""
    if flow.proto != proto:
        return False
    return flow.port is None or flow.port <= port <= (flow.last_port or flow.port)


def _covers(flow: Flow, host: Host) -> bool:
    """Whether a flow's source covers an address of a host."""
    if isinstance(flow.source, Host):
        return flow.source == host
    peer = network_of(flow.source)
    return peer is None or any(address in peer for address in static_addresses(host))


def outbound(site: Site, host: Host) -> tuple[Rule, ...]:
    """What a host may open as a member of a flow's whole network, where its own end is filtered.

    `rules` tells the flows that name the host itself; those from its network, or from anyone, are
    as well its own. The time is asked for anywhere (RFC 5905).
    """
    wide = [
        _rule(flow, "out", host)
        for flow in flows(site)
        if not isinstance(flow.source, Host) and flow.destination != host and _covers(flow, host)
    ]
    time = Rule("out", "ACCEPT", "udp", str(NTP), None, "time by NTP")
    return tuple(dict.fromkeys([*wide, time]))


def _derived(site: Site) -> Iterator[Flow]:
    yield from _base(site)
    yield from _certificates(site)
    yield from _to_the_door(site, (HTTP, HTTPS), "the gateway")
    yield from _between_gateways(site)
    for gateway, traefik in product(site.gateways, site.traefiks):
        yield Flow(gateway, traefik, "tcp", HTTPS, "gateway to Traefik")
    for service in site.services:
        yield from _to_service(site, service)
        yield from _through_proxies(site, service)
    yield from _nfs(site)
    for source, target, opened in swarm.flows_between_nodes(site):
        yield Flow(source, target, opened.proto, opened.port, opened.why)
    if site.watcher:
        for host in site.watched:
            yield Flow(host, site.watcher, "tcp", WATCH, "reports to the watcher")
        if site.scraped_from:
            scraper = _end(site, site.scraped_from)
            yield Flow(scraper, site.watcher, "tcp", WATCH, "metrics of the watcher")
    yield from _backups(site)


def _to_the_door(site: Site, ports: Iterable[int], subject: str) -> Iterator[Flow]:
    """Clients to each gateway, at its own addresses and at the virtual ones.

    What comes to a virtual address comes to the host that holds it, whose own rules let it in for
    any address of its own. So those flows matter where a client's own end is filtered.
    """
    for gateway in site.gateways:
        ends: tuple[Endpoint, ...] = (
            gateway,
            *(address.alone for address in of_host(site, gateway)),
        )
        for source, port, end in product(_clients(site, gateway), ports, ends):
            yield Flow(source, end, "tcp", port, f"clients to {subject}")


def _between_gateways(site: Site) -> Iterator[Flow]:
    """VRRP (RFC 5798, section 5.1.1.4: protocol 112), which proves nothing of who sends it."""
    for address in virtual_addresses(site):
        why = f"who holds {address.address}, by VRRP"
        for held in address.holders:
            for other in other_holders(address, held.host):
                if address_pair(held.host, other.host).network == address.network:
                    yield Flow(held.host, other.host, "vrrp", None, why)
                else:  # connections of the two go by another network
                    yield Flow(IPv4Network(held.address), other.host, "vrrp", None, why)
                    yield Flow(held.host, IPv4Network(other.address), "vrrp", None, why)


def _backups(site: Site) -> Iterator[Flow]:
    """Each host that backs something up to its SFTP server or S3."""
    if site.backups is None or not site.backups.target.host:
        return
    to = _end(site, site.backups.target.host)
    for host in backups.hosts(site):
        if host != to:
            yield Flow(host, to, "tcp", site.backups.target.port, "backups to their target")


def _to_service(site: Site, service: Service) -> Iterator[Flow]:
    owner, port = service.owner, service.port
    if service.kind == "ca":
        for host in site.hosts:
            yield Flow(host, owner, "tcp", port, "certificates and the root from the CA")
    elif service.kind == "agent":
        if site.portainer:
            yield Flow(site.portainer, owner, "tcp", port, "Portainer to its agent")
        elif site.external_portainer:
            for network in site.external_portainer.connects_from:
                yield Flow(network, owner, "tcp", port, "Portainer to its agent")
    elif service.exposure == "direct":
        for source in _clients(site, owner):
            yield Flow(source, owner, "tcp", port, f"clients to {service.name}")
    elif service.kind == "backend":
        yield from _from_traefik(site, service)


def _from_traefik(site: Site, service: Service) -> Iterator[Flow]:
    """The flows to a service's owner; for a Swarm stack to each node that may run it."""
    for traefik, target in product(site.traefiks, service.nodes or (service.owner,)):
        yield Flow(traefik, target, "tcp", service.port, f"Traefik to {service.name}")


def _through_proxies(site: Site, service: Service) -> Iterator[Flow]:
    """What leads on to another's service, past HTTP, and to who decides about requests."""
    owner, port = service.owner, service.port
    if service.external is not None:
        for traefik in site.traefiks:
            end = _end(site, service.external.host)
            yield Flow(traefik, end, "tcp", port, f"Traefik to {service.name}")
    elif service.kind == "tcp":
        yield from _to_the_door(site, (service.gateway_port,), service.name)
        for gateway in site.gateways:
            yield Flow(gateway, owner, "tcp", port, f"gateway to {service.name}")
            if service.has_tls:
                yield Flow(gateway, owner, "tcp", HTTP, "http-01, passed on by the gateway")
    if service.options.forward_auth is not None:
        url = urlsplit(service.options.forward_auth.url)
        asked = url.port or (HTTPS if url.scheme == "https" else HTTP)
        why = f"Traefik asks who may enter {service.name}"
        for traefik in site.traefiks:
            yield Flow(traefik, _end(site, url.hostname or ""), "tcp", asked, why)


def _end(site: Site, name: str) -> Endpoint:
    """The host or address that a name or address of a URL leads to; anyone where that is open."""
    known = {record.name: record.address for record in dns.records(site)}
    try:
        end = known.get(name) or IPv4Address(name)
    except ValueError:
        return "any"
    hosts = {address: host for host in site.hosts for address in static_addresses(host)}
    return hosts.get(end) or IPv4Network(end)


def _nfs(site: Site) -> Iterator[Flow]:
    """Each client to the folders that a host shares, and each guest to what it mounts."""
    by_address = {
        IPv4Network(address): host for host in site.hosts for address in static_addresses(host)
    }
    for host in site.hosts:
        for client in dict.fromkeys(network for share in host.exports for network in share.clients):
            yield Flow(by_address.get(client, client), host, "tcp", NFS, "folders by NFS")
        for server in dict.fromkeys(IPv4Network(mount.server) for mount in host.mounts):
            end = by_address.get(server, server)
            if end != site.hypervisor:  # else its exports say it
                yield Flow(host, end, "tcp", NFS, "folders by NFS")


def _base(site: Site) -> Iterator[Flow]:
    hypervisor = site.hypervisor
    yield from _names(site)
    for host in site.hosts:
        for subnet in site.subnets:
            yield Flow(subnet, host, "tcp", host.ssh_port, "operator, by SSH")
            yield Flow(subnet, host, "icmp", None, "pings")
    for subnet in site.subnets:
        yield Flow(subnet, hypervisor, "tcp", PROXMOX_API, "operator, by Proxmox VE's API")


def _names(site: Site) -> Iterator[Flow]:
    clients = {server.name: _networks_of(site, server) for server in site.name_servers[1:]}
    clients[site.hypervisor.name] = tuple(
        network.subnet for network in served_networks(site) if network.subnet is not None
    )
    for proto in _DNS:
        for server in site.name_servers:
            for host in site.hosts:
                if server in (name_server.server for name_server in name_servers(site, host)):
                    yield Flow(host, server, proto, DNS, "names from internal DNS")
            for subnet in clients[server.name]:
                yield Flow(subnet, server, proto, DNS, "names for clients of the gateway")
        for server in site.name_servers[1:]:
            # Its resolvers are a setting, and may be anywhere.
            yield Flow(server, "any", proto, DNS, "names outside, from their resolvers")


def _networks_of(site: Site, host: Host) -> tuple[IPv4Network, ...]:
    """The networks in which a host has an address that is declared."""
    joined = {interface.network for interface in host.interfaces if interface.address is not None}
    return tuple(
        network.subnet
        for network in site.networks
        if network.name in joined and network.subnet is not None
    )


_DNS: tuple[Proto, ...] = ("udp", "tcp")
"""RFC 7766: DNS needs both."""


def _clients(site: Site, server: Host) -> tuple[Endpoint, ...]:
    """Where clients of a server come from: every network of the site.

    That is anyone where it has an address by a lease, in a network whose addresses nobody declares.
    """
    known = {network.name for network in site.networks if network.subnet is not None}
    if all(
        interface.address is not None or interface.network in known
        for interface in server.interfaces
    ):
        return site.subnets
    return ("any",)


def _certificates(site: Site) -> Iterator[Flow]:
    if site.ca is None:
        return
    for holder in dict.fromkeys(certificate.host for certificate in certificates(site)):
        yield Flow(site.ca, holder, "tcp", HTTP, "CA validates names by http-01")


def _declared_rules(host: Host) -> tuple[FirewallRule, ...]:
    of_stacks = [rule for stack in host.docker_stacks for rule in stack.firewall_rules]
    return (*host.firewall_rules, *of_stacks)


def _declared_peer(rule: FirewallRule) -> IPv4Network | None:
    return rule.source if rule.direction == "in" else rule.destination


def _declared(site: Site) -> Iterator[Flow]:
    by_address = {
        IPv4Network(address): host for host in site.hosts for address in static_addresses(host)
    }
    for host in site.hosts:
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


def network_of(end: Endpoint) -> IPv4Network | None:
    """The network of one end of a flow; None is anyone."""
    if isinstance(end, Host):
        return end.alone
    return end if isinstance(end, IPv4Network) else None


def seen_from(flow: Flow, end: Host, direction: Literal["in", "out"]) -> IPv4Network | None:
    """The other end of a flow, as one of its ends sees it; None is anyone."""
    other = flow.source if direction == "in" else flow.destination
    if not isinstance(other, Host):
        return network_of(other)
    address = address_pair(other, end).source if direction == "in" else target_address(end, other)
    return IPv4Network(address)


def _rule(flow: Flow, direction: Literal["in", "out"], end: Host | None = None) -> Rule:
    """One end's rule; `end` is the host where the flow names its whole network."""
    ports = None if flow.port is None else str(flow.port)
    if flow.last_port is not None:
        ports = f"{flow.port}:{flow.last_port}"
    target = end or (flow.destination if direction == "in" else flow.source)
    peer = seen_from(flow, target, direction) if isinstance(target, Host) else None
    return Rule(direction, "ACCEPT", flow.proto, ports, peer, flow.why)
