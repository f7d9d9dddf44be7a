"""The rules by which a host lets in what the site's flows say: one table of nftables.

The table is `inet phoenix`, and no other is touched: the kernel asks each table, and a packet that
any of them drops is gone (nft(8), "chain priority" and "verdict statements"). Its first chain sees
packets before any address is translated, so a port that Docker publishes is one of the host's ports
like any other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network

from phoenix.derived import firewall
from phoenix.derived.firewall import Flow, Rule
from phoenix.site import unit_names
from phoenix.site.model import Host, Site
from phoenix.site.ports import PROXMOX_API

Network = IPv4Network | IPv6Network
TABLE = "inet phoenix"
UNIT = unit_names.GUARD
PROGRAM = "/usr/local/sbin/phoenix-guard"
RULES = "/etc/phoenix/guard.nft"

_BRIDGES = ("docker0", "br-*")
"""Names that Docker gives the bridges of its networks."""
_SWARM_BRIDGE = "docker_gwbridge"
"""By which containers of overlay networks leave their host: of nodes of a swarm."""
_TAKEN_UP = """\
	set taken_up {
		comment "all, for minutes after the first load: connections from before go on"
		type inet_service
		flags interval, timeout
	}
"""
_NEEDED = (
    # RFC 4861, RFC 2710, RFC 4443: IPv6 finds neighbours and the size of a path by these.
    "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert } accept",
    "icmpv6 type { mld-listener-query, packet-too-big } accept",
    "udp sport 67 udp dport 68 accept",  # RFC 2131: a lease is offered to who has no address yet
    "ip6 saddr fe80::/10 udp sport 547 udp dport 546 accept",  # RFC 8415, section 7.2
)
_END = 'counter drop comment "not declared"'
_LONGEST_COMMENT = 120
"""Of the 128 bytes that the kernel keeps (NFTNL_UDATA_COMMENT_MAXLEN)."""


def ruleset(site: Site, host: Host, operators: Iterable[Network] = ()) -> str:
    """A host's rules as a file for `nft -f`: loaded as a whole, in the place of those before.

    Args:
        site: whose flows.
        host: the one that the rules are for.
        operators: networks that are not the site's, and from which operators come.
    """
    operators = tuple(operators)
    chains = [
        _prerouting(host),
        _input(),
        *([_forward()] if _has_containers(host) else []),
        _chain("own", "", [*_own(site, host, operators), _END]),
        *(
            [_chain("containers", "", [*_containers(site, host), _END])]
            if _has_containers(host)
            else []
        ),
        *_outgoing(host),
    ]
    head = (
        "# Made by Phoenix: deploys/guard.py. Loaded by phoenix-guard, which tells what differs.\n"
        f"table {TABLE}\n"  # so that there is one to delete
        f"delete table {TABLE}\n"
    )
    return f"{head}table {TABLE} {{\n" + "\n".join([_TAKEN_UP, *chains]) + "}\n"


def admitted(site: Site, host: Host, operators: Iterable[Network] = ()) -> tuple[Flow, ...]:
    """All flows that a host admits from other machines, without operators by IPv6."""
    named = [network for network in operators if isinstance(network, IPv4Network)]
    by_itself = firewall.hypervisor_flows(site) if host == site.hypervisor else ()
    every = (
        *firewall.flows_to(site, host), *firewall.operator_flows(site, host, named), *by_itself,
    )  # fmt: skip
    return tuple({flow.key: flow for flow in reversed(every)}.values())[::-1]


def ssh_from(site: Site, host: Host, operators: Iterable[Network] = ()) -> tuple[Network, ...]:
    """Networks from which a host's rules let SSH in, whatever the declaration refuses beside."""
    operators = tuple(operators)
    return (
        *(
            firewall.seen_from(flow, host, "in") or IPv4Network("0.0.0.0/0")
            for flow in admitted(site, host, operators)
            if firewall.allows_port(flow, host.ssh_port)
        ),
        *_ipv6(operators),
    )


def _ipv6(networks: Iterable[Network]) -> tuple[IPv6Network, ...]:
    return tuple(network for network in networks if isinstance(network, IPv6Network))


def _has_containers(host: Host) -> bool:
    return "docker" in host.roles or "portainer" in host.roles


def _bridges(host: Host) -> tuple[str, ...]:
    return (*_BRIDGES, _SWARM_BRIDGE) if host.swarm is not None else _BRIDGES


def _chain(name: str, hook: str, rules: Iterable[str]) -> str:
    lines = [f"type filter hook {hook}; policy accept;"] if hook else []
    return f"\tchain {name} {{\n" + "".join(f"\t\t{line}\n" for line in [*lines, *rules]) + "\t}\n"


_KNOWN = (
    "ct state established,related accept",
    "tcp dport @taken_up tcp flags & (syn | ack) == ack accept",
)


def _prerouting(host: Host) -> str:
    """What is for the host itself; and on a Docker host what is for a container's own address."""
    rules = ['iif "lo" accept', *_KNOWN, "fib daddr type local goto own"]
    if _has_containers(host):
        # Within one network of Docker, whose bridge may hand its packets to this chain.
        names = _bridges(host)
        rules += [f'iifname "{name}" fib daddr . iif oif exists accept' for name in names]
        rules += [f'fib daddr oifname "{name}" counter drop' for name in names]
    return _chain("prerouting", "prerouting priority mangle - 10", rules)


def _input() -> str:
    """The chain for packets to the host itself, also broadcasts and redirected packets."""
    # What was translated, `prerouting` has let in by its first address.
    rules = ['iif "lo" accept', *_KNOWN, "ct status dnat accept", "goto own"]
    return _chain("input", "input priority filter - 10", rules)


def _forward() -> str:
    """What is for a container's own address, on a bridge of any name: a port's is translated."""
    rules = [
        *_KNOWN,
        "ct status dnat accept",
        'meta iifkind != "bridge" meta oifkind "bridge" counter drop',
    ]
    return _chain("forward", "forward priority filter - 10", rules)


def _own(site: Site, host: Host, operators: Iterable[Network]) -> Iterator[str]:
    """Packets from other machines, and from the host's own containers, to the host."""
    yield "ip daddr 127.0.0.0/8 counter drop"
    yield "ip6 daddr ::1 counter drop"
    yield from _NEEDED
    refused = [rule for rule in firewall.refusals(host) if rule.direction == "in"]
    for rule in refused:
        yield from _refusal(rule, "saddr")
    if _has_containers(host):
        yield from (f'iifname "{name}" goto containers' for name in _bridges(host))
    # By IPv6 nobody can be told by an IPv4 address: what is refused to one is open to none.
    only_ipv4 = any(rule.peer is not None for rule in refused)
    operators = tuple(operators)
    for flow in admitted(site, host, operators):
        yield from _accept(flow, host, only_ipv4=only_ipv4)
    ports = f"{host.ssh_port}"
    if host == site.hypervisor:
        ports = f"{{ {ports}, {PROXMOX_API} }}"
    for network in _ipv6(operators):
        end = f"accept{_comment('operator, by IPv6')}"
        yield from _lines(f"ip6 saddr {network} ", "tcp", ports, end, "", ipv6=False)


def _containers(site: Site, host: Host) -> Iterator[str]:
    for flow in firewall.from_its_containers(site, host):
        anyone = firewall.network_of(flow.source) is None
        yield from _accept(flow._replace(source="any"), host, only_ipv4=not anyone)


def _outgoing(host: Host) -> Iterator[str]:
    """What the declaration refuses on the way out; everything else is free."""
    refused = [rule for rule in firewall.refusals(host) if rule.direction == "out"]
    if not refused:
        return
    lines = [line for rule in refused for line in _refusal(rule, "daddr")]
    yield _chain("output", "output priority filter - 10", ['oif "lo" accept', *_KNOWN, *lines])
    if _has_containers(host):
        yield _chain(
            "containers_out",
            "forward priority filter - 9",
            [*_KNOWN, 'meta iifkind != "bridge" accept', 'meta oifkind "bridge" accept', *lines],
        )


def _accept(flow: Flow, host: Host, *, only_ipv4: bool) -> Iterator[str]:
    network = firewall.seen_from(flow, host, "in")
    ports = None if flow.port is None else f"{flow.port}"
    if flow.last_port is not None:
        ports = f"{flow.port}-{flow.last_port}"
    yield from _lines(
        _from("saddr", network, only_ipv4=only_ipv4), flow.proto, ports, "accept", flow.why,
        ipv6=network is None and not only_ipv4,
    )  # fmt: skip


def _refusal(rule: Rule, end: str) -> Iterator[str]:
    ports = None
    if rule.ports is not None:
        ports = f"{{ {rule.ports.replace(':', '-').replace(',', ', ')} }}"
    verdict = "counter " + ("reject" if rule.action == "REJECT" else "drop")
    yield from _lines(
        _from(end, rule.peer, only_ipv4=False), rule.proto, ports, verdict, rule.comment,
        ipv6=rule.peer is None,
    )  # fmt: skip


def _from(end: str, network: IPv4Network | None, *, only_ipv4: bool) -> str:
    if network is not None and network.prefixlen:
        return f"ip {end} {network if network.prefixlen < 32 else network.network_address} "
    return "meta nfproto ipv4 " if only_ipv4 or network is not None else ""


def _lines(
    matched: str, proto: str | None, ports: str | None, verdict: str, why: str, *, ipv6: bool
) -> Iterator[str]:
    """The rule, and for ICMP that of IPv6, which has another protocol."""
    end = f"{verdict}{_comment(why)}"
    if proto is None:
        yield f"{matched}{end}"
    elif proto == "icmp":
        yield f"{matched}ip protocol icmp {end}"
        if ipv6:
            yield f"icmpv6 type echo-request {end}"
    elif ports is None:
        # By its number: not every nft knows every name.
        yield f"{matched}meta l4proto {112 if proto == 'vrrp' else proto} {end}"
    else:
        yield f"{matched}{proto} dport {ports} {end}"


def _comment(why: str) -> str:
    """A reason as nft(8) takes it: a string without quotes in it; no text ends it."""
    plain = re.sub(r"[^A-Za-z0-9 .,:/()'_-]", "?", why)[:_LONGEST_COMMENT].strip()
    return f' comment "{plain}"' if plain else ""
