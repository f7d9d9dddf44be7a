"""Would the rules let through what the site needs? Asked before anything is written."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_network
from typing import Any, NamedTuple

from phoenix.derived import firewall
from phoenix.derived.connections import connections
from phoenix.proxmox.firewall import (
    NODE,
    Identity,
    Network,
    Placed,
    Scope,
    foreign_rules_above,
    placed,
)
from phoenix.site.addressing import address_pair
from phoenix.site.addressing import static_addresses as addresses_of
from phoenix.site.model import Host, Site
from phoenix.site.ports import NTP, PROXMOX_API, SSH
from phoenix.site.roles import RoleError


class Connection(NamedTuple):
    """One connection that has to work, and who needs it. `port` is None for icmp or any."""

    source: IPv4Address | IPv6Address
    destination: IPv4Address | IPv6Address
    proto: str
    port: int | None
    why: str


def needed(site: Site) -> tuple[Connection, ...]:
    """What the derived flows and the checks of `verify` need, each once."""
    unique = dict.fromkeys((*_of_checks(site), *_of_flows(site)))
    return tuple(connection for connection in unique if connection.source != connection.destination)


def _of_checks(site: Site) -> Iterator[Connection]:
    try:
        checked = connections(site)
    except RoleError:  # a site without the whole chain has no checks of it
        return
    for connection in checked:
        why = f"the check of {connection.what}"
        source, target, _ = address_pair(connection.source, connection.target)
        yield Connection(source, target, "tcp", connection.port, why)


def _of_flows(site: Site) -> Iterator[Connection]:
    derived = {flow.key for flow in firewall.needed(site)}
    for flow in firewall.flows(site):
        if isinstance(flow.source, Host) and isinstance(flow.destination, Host):
            source, target, _ = address_pair(flow.source, flow.destination)
            yield Connection(source, target, flow.proto, flow.port, flow.why)
            continue
        # A person's rule about a whole network concerns the host with that rule alone: the other
        # hosts of the network need not admit it.
        hosts = site.hosts if flow.key in derived else ()
        # The same holds for a way out to anybody, as a name server's to its resolvers.
        targets = () if flow.destination == "any" else hosts
        for source in _addresses(flow.source, site, hosts):
            for target in _addresses(flow.destination, site, targets):
                yield Connection(source, target, flow.proto, flow.port, flow.why)
    for guest in site.guests:
        yield Connection(guest.address, ANYONE, "udp", NTP, "time by NTP")


ANYONE = IPv4Address("192.0.2.1")
"""Stands for any address elsewhere: one for documentation (RFC 5737)."""


def _addresses(end: firewall.Endpoint, site: Site, hosts: Iterable[Host]) -> Iterator[IPv4Address]:
    """Examples for one end; of a network each of `hosts` in it, and the first that no host has."""
    if isinstance(end, Host):
        yield end.address
    elif isinstance(end, IPv4Network) and end.prefixlen == 32:
        yield end.network_address
    else:
        inside = [address for host in hosts for address in addresses_of(host)]
        yield from (address for address in inside if end == "any" or address in end)
        if end == "any":
            yield ANYONE
        else:
            site_addresses = {address for host in site.hosts for address in addresses_of(host)}
            yield from itertools.islice(
                (address for address in end.hosts() if address not in site_addresses), 1
            )


def allowed(scope: Scope, direction: str, connection: Connection) -> bool:
    """What a scope's rules say: the first that matches, else the policy; all when it's off."""
    if scope.options.get("enable") == "0":
        return True
    for rule in scope.rules:
        if matches(rule.identity, direction, connection):
            return rule.identity.action == "ACCEPT"
    policy = scope.options.get(f"policy_{direction}", "DROP" if direction == "in" else "ACCEPT")
    return policy == "ACCEPT"


def matches(rule: Identity, direction: str, connection: Connection) -> bool:
    """Whether a rule is about a connection."""
    if rule.direction != direction or rule.proto not in (None, connection.proto):
        return False
    for network, address in (
        (rule.source, connection.source),
        (rule.destination, connection.destination),
    ):
        if network and not _covers(network, address):
            return False
    return rule.ports is None or has_port(rule.ports, connection.port)


def _covers(network: str, address: IPv4Address | IPv6Address) -> bool:
    """Whether a rule's peer has an address; a person's alias, set or range is taken not to."""
    try:
        return address in ip_network(network, strict=False)
    except ValueError:
        return False


def has_port(ports: str, port: int | None) -> bool:
    """Whether a rule's ports, as "80,443,8000:8010" or by the names of services(5), have a port."""
    if port is None:
        return False
    for part in ports.split(","):
        first, _, last = part.partition(":")
        lowest = _number(first)
        if lowest is not None and lowest <= port <= (_number(last) or lowest):
            return True
    return False


def _number(text: str) -> int | None:
    """A port by its number or by the name of its service; None for one that is unknown here."""
    if text.isdigit():
        return int(text)
    try:
        return socket.getservbyname(text)
    except OSError:
        return None


def refused(site: Site, scopes: Iterable[Scope]) -> tuple[str, ...]:
    """Each needed connection that the rules at one of its ends refuse, with the fix."""
    scopes = tuple(scopes)
    by_host = {scope.host: scope for scope in scopes if scope.host is not None}
    by_address: dict[IPv4Address | IPv6Address, Scope] = {
        address: by_host[host.address]
        for host in site.hosts
        if host.address in by_host
        for address in addresses_of(host)
    }
    faults = []
    for connection in needed(site):
        ends = (("out", connection.source), ("in", connection.destination))
        for direction, address in ends:
            rules = by_address.get(address)
            if rules is None or allowed(rules, direction, connection):
                continue
            port = f"/{connection.port}" if connection.port else ""
            faults.append(
                f"{connection.why}: {connection.source} to {connection.destination} "
                f"{connection.proto}{port} is refused {direction}bound by the rules of "
                f"{rules.name}. fix: change the rule declared in firewall.rules of its entry "
                "that refuses it"
            )
    return tuple(faults)


def ways_in(scopes: Iterable[Scope], operators: Iterable[Network]) -> Iterator[Connection]:
    """The operator's SSH to every host, and to the node's API, from one address of each network."""
    operators = tuple(operators)
    for scope in scopes:
        if scope.host is None:
            continue
        for network in operators:
            ports = (SSH, PROXMOX_API) if scope.name == NODE else (SSH,)
            for port in ports:
                source = network.network_address
                yield Connection(source, scope.host, "tcp", port, "the operator's way in")


def hidden(
    scope: Scope,
    rows: Sequence[Mapping[str, Any]],
    required: Iterable[Connection],
    groups: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
) -> Iterator[str]:
    """Each rule of a person that keeps its place above ours and would refuse what is needed.

    Args:
        scope: its desired rules and whose they are.
        rows: its rules as Proxmox VE has them.
        required: what has to work; an example for anyone elsewhere is a person's to refuse.
        groups: the rules of the cluster's security groups, by name.
    """
    above = [
        (rule.pos, part)
        for rule in foreign_rules_above(scope, rows)
        for part in (_of_group(rule, groups or {}) if rule.group else (rule,))
    ]
    first: dict[int, Connection] = {}
    for connection in required:
        for direction, end in (("in", connection.destination), ("out", connection.source)):
            if end != scope.host or connection.source == ANYONE:
                continue
            pos, rule = next(
                ((pos, part) for pos, part in above if _is_about(part, direction, connection)),
                (-1, None),
            )
            if rule is not None and rule.refuses:
                first.setdefault(pos, connection)
    for pos, connection in first.items():
        port = f"/{connection.port}" if connection.port else ""
        yield (
            f"rule {pos} of {scope.name} in Proxmox VE's firewall, a person's, stands above ours "
            f"and refuses {connection.source} to {connection.destination} {connection.proto}{port} "
            f"({connection.why}). fix: disable it, or make it narrower"
        )


def _of_group(rule: Placed, groups: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[Placed]:
    parts = (
        placed({"pos": number, **row}) for number, row in enumerate(groups.get(rule.group, ()))
    )
    yield from (part for part in parts if part.enabled)


def _is_about(rule: Placed, direction: str, connection: Connection) -> bool:
    return any(matches(scope, direction, connection) for scope in rule.about)
