"""Would the rules let through what the site needs? Asked before anything is written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network
from typing import NamedTuple

from phoenix.derived import firewall
from phoenix.derived.connections import connections
from phoenix.proxmox.firewall import Identity, Scope
from phoenix.site.model import Host, Site
from phoenix.site.roles import RoleError


class Connection(NamedTuple):
    """One connection that has to work, and who needs it. `port` is None for icmp or any."""

    source: IPv4Address
    destination: IPv4Address
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
        yield Connection(
            connection.source.address, connection.target.address, "tcp", connection.port, why
        )


def _of_flows(site: Site) -> Iterator[Connection]:
    for flow in firewall.flows(site):
        source, target = _address(flow.source, site), _address(flow.destination, site)
        if source is not None and target is not None:
            yield Connection(source, target, flow.proto, flow.port, flow.why)


def _address(end: firewall.Endpoint, site: Site) -> IPv4Address | None:
    """An example address for one end; of a network the first one that no host has."""
    if isinstance(end, Host):
        return end.address
    if isinstance(end, IPv4Network):
        if end.prefixlen == 32:
            return end.network_address
        host_addresses = {host.address for host in site.hosts}
        return next((address for address in end.hosts() if address not in host_addresses), None)
    return IPv4Address("192.0.2.1")  # anyone: an address for documentation (RFC 5737)


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
        if network and address not in IPv4Network(network):
            return False
    return rule.ports is None or _has_port(rule.ports, connection.port)


def _has_port(ports: str, port: int | None) -> bool:
    if port is None:
        return False
    for part in ports.split(","):
        first, _, last = part.partition(":")
        if int(first) <= port <= int(last or first):
            return True
    return False


def refused(site: Site, scopes: Iterable[Scope]) -> tuple[str, ...]:
    """Each needed connection that the rules at one of its ends refuse, with the fix."""
    by_address: dict[IPv4Address, Scope] = {}
    for scope in scopes:
        host = _host_of(site, scope)
        if host is not None:
            by_address[host.address] = scope
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


def _host_of(site: Site, scope: Scope) -> Host | None:
    if scope.vmid is not None:
        return site.host(scope.vmid)
    return site.hypervisor if scope.path.startswith("nodes/") else None
