"""A reader of the rules that Phoenix writes for nftables: what they do with a packet.

It knows the words that those rules use and fails at any other, so that none is skipped unseen.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_network

HOST = IPv4Address("10.0.0.99")


@dataclass(frozen=True)
class Packet:
    """The first packet of a connection, or a later one.

    `to`: "host", or the interface that it leaves by. `kinds`: of the interfaces on its way.
    """

    source: IPv4Address | IPv6Address
    proto: str
    port: int = 0
    target: IPv4Address | IPv6Address = HOST
    to: str = "host"
    interface: str = "eth0"
    state: str = "new"
    translated: bool = False
    source_port: int = 40000
    kinds: tuple[str, str] = ("veth", "")


def _in_ports(text: str, port: int) -> bool:
    for part in text.strip("{} ").split(","):
        first, _, last = part.strip().partition("-")
        if int(first) <= port <= int(last or first):
            return True
    return False


def _named(pattern: str, name: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


def _address(text: str, address: IPv4Address | IPv6Address) -> bool:
    network = ip_network(text)
    return network.version == address.version and address in network


_MATCHES: tuple[tuple[str, Callable[[re.Match[str], Packet], bool]], ...] = (
    (r'[io]if "lo"', lambda m, p: p.interface == "lo"),
    (r'iifname "([^"]+)"', lambda m, p: _named(m[1], p.interface)),
    (r"ct state established,related", lambda m, p: p.state == "established"),
    (r"ct status dnat", lambda m, p: p.translated),
    (
        r"tcp dport @taken_up tcp flags & \(syn \| ack\) == ack",
        lambda m, p: p.state == "begun before",
    ),
    (r"fib daddr type local", lambda m, p: p.to == "host"),
    (r"fib daddr \. iif oif exists", lambda m, p: p.to == p.interface),
    (r'fib daddr oifname "([^"]+)"', lambda m, p: _named(m[1], p.to)),
    (r"meta nfproto ipv4", lambda m, p: p.source.version == 4),
    (r"ip saddr (\S+)", lambda m, p: _address(m[1], p.source)),
    (r"ip6 saddr (\S+)", lambda m, p: _address(m[1], p.source)),
    (r"ip6? daddr (\S+)", lambda m, p: _address(m[1], p.target)),
    (r"icmpv6 type (\{[^}]*\}|\S+)", lambda m, p: p.proto in m[1].strip("{} ").split(", ")),
    (r"(tcp|udp) sport (\d+)", lambda m, p: p.proto == m[1] and p.source_port == int(m[2])),
    (
        r"(tcp|udp) dport (\{[^}]*\}|\S+)",
        lambda m, p: p.proto == m[1] and _in_ports(m[2], p.port),
    ),
    (r"ip protocol icmp", lambda m, p: p.source.version == 4 and p.proto == "icmp"),
    (r"meta l4proto (tcp|udp)", lambda m, p: p.proto == m[1]),
    (r'meta iifkind != "bridge"', lambda m, p: p.kinds[0] != "bridge"),
    (r'meta oifkind "bridge"', lambda m, p: p.kinds[1] == "bridge"),
)
_VERDICT = re.compile(r'(?:counter )?(accept|drop|reject|goto (\w+))(?: comment "[^"]*")?\Z')


def chains(text: str) -> dict[str, list[str]]:
    """The rules of each chain, in order."""
    rules: dict[str, list[str]] = {}
    for name, body in re.findall(r"^\tchain (\w+) \{\n(.*?)^\t\}", text, re.M | re.S):
        rules[name] = [line.strip() for line in body.splitlines() if "type filter" not in line]
    return rules


def verdict(text: str, chain: str, packet: Packet) -> str:
    """What a chain does with a packet: accept, drop or reject."""
    every = chains(text)
    rules = every[chain]
    for rule in rules:
        rest, matched = rule, True
        while matched and not (end := _VERDICT.match(rest)):
            for pattern, test in _MATCHES:
                if match := re.match(pattern + r"(?: |\Z)", rest):
                    rest, matched = rest[match.end() :], test(match, packet)
                    break
            else:
                raise AssertionError(f"no word of the rules that Phoenix writes: {rest!r}")
        if not matched:
            continue
        assert end is not None
        return verdict(text, end[2], packet) if end[2] else end[1]
    return "accept"  # the policy of every chain


def passes(text: str, packet: Packet) -> bool:
    """Whether a host takes a packet: it goes through each chain that is on its way."""
    last = "input" if packet.to == "host" else "forward"
    ways = ["prerouting", *([last] if last in chains(text) else [])]
    return all(verdict(text, chain, packet) == "accept" for chain in ways)
