"""A permission that a refusal covers admits nothing: found for thousands of both."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix.declaration.conflicts import _Refusals
from phoenix.derived import firewall
from phoenix.site.model import FirewallRule
from tests.examples import examples
from tests.unit.site_builder import VM, minimal, problem

NETWORKS = [None, *(IPv4Network(f"10.0.0.{n}/{length}") for n, length in
                    ((0, 30), (0, 31), (2, 31), (0, 32), (1, 32), (3, 32)))]  # fmt: skip
ADDRESSES = [IPv4Address("10.9.9.9"), *IPv4Network("10.0.0.0/30")]
PORTS = [None, "1", "2", "1:2", "2:4", "1:4"]
RULES = st.builds(
    FirewallRule,
    direction=st.sampled_from(["in", "out"]),
    proto=st.sampled_from([None, "tcp", "udp"]),
    ports=st.sampled_from(PORTS),
    source=st.sampled_from(NETWORKS),
    destination=st.sampled_from(NETWORKS),
    action=st.sampled_from(["ACCEPT", "DROP", "REJECT"]),
    comment=st.just(""),
)
PACKETS = list(product(["in", "out"], ["tcp", "udp", "icmp"], range(6), ADDRESSES, ADDRESSES))


def packets(rule: FirewallRule) -> set[object]:
    """All that a rule is about."""
    first, _, last = (rule.ports or "0:5").partition(":")
    return {
        packet
        for packet in PACKETS
        if packet[0] == rule.direction
        and rule.proto in (None, packet[1])
        and int(first) <= packet[2] <= int(last or first)
        and (rule.source is None or packet[3] in rule.source)
        and (rule.destination is None or packet[4] in rule.destination)
    }


@given(rule=RULES, refusals=st.lists(RULES, max_size=5))
@examples(400)
def test_it_is_the_first_refusal_that_covers_all_of_it(
    rule: FirewallRule, refusals: list[FirewallRule]
) -> None:
    covering = [
        f"file: rule[{number}]"
        for number, refusal in enumerate(refusals)
        if packets(rule) <= packets(refusal)
    ]
    sorted_refusals = _Refusals(
        ("file", f"rule[{n}]", refusal) for n, refusal in enumerate(refusals)
    )
    expected = next(iter(covering), None) if rule.action == "ACCEPT" else None
    assert sorted_refusals.first_over(rule) == expected


def test_thousands_of_each_are_not_compared_by_pairs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[IPv4Network] = []
    subnet_of = IPv4Network.subnet_of

    def counted(self: IPv4Network, other: IPv4Network) -> bool:
        compared.append(other)
        return subnet_of(self, other)

    monkeypatch.setattr(IPv4Network, "subnet_of", counted)
    rule = {"type": "in", "proto": "tcp", "action": "ACCEPT"}
    refusal = {**rule, "action": "DROP"}
    declared = minimal()
    declared.vm["vms"][1]["firewall"] = {
        "rules": [
            *({**rule, "port": str(10000 + n), "source": f"10.0.1.{n}"} for n in range(100)),
            *({**refusal, "port": "1:9", "source": f"10.0.2.{n}"} for n in range(100)),
            {**refusal, "source": "10.0.1.96/28"},
        ]
    }
    warnings = declared.load(tmp_path).warnings
    for number in (96, 99):
        path = f"vms[1].firewall.rules[{number}]"
        assert f"{VM}: vms[1].firewall.rules[200]" in problem(warnings, VM, path).message
    admitting = [warning for warning in warnings if "admits nothing" in warning.message]
    assert len(admitting) == 4
    assert len(compared) < 100 * 100


def test_what_is_shut_is_all_that_no_flow_opens(tmp_path: Path) -> None:
    """By single ports, ranges, and every port of a protocol."""
    rule = {"type": "in", "action": "ACCEPT", "proto": "tcp"}
    declared = minimal()
    declared.vm["vms"][1]["firewall"] = {
        "rules": [
            *({**rule, "port": port, "source": "10.0.0.21"} for port in ("8001", "8003", "8005")),
            {**rule, "port": "8004:8006", "source": "10.0.0.20"},
            {**rule, "port": "8001", "source": "10.0.0.20"},
            {**rule, "source": "10.0.0.10"},
            {**rule, "proto": "udp", "port": "8003", "source": "10.0.0.20"},
        ]
    }
    site = declared.load(tmp_path)
    worker = site.host("worker")
    for stranger in site.hosts:
        if stranger == worker:
            continue
        opened = [
            flow for flow in firewall.flows_to(site, worker) if firewall._covers(flow, stranger)
        ]
        shut = firewall.closed_ports(site, worker, stranger)
        for port in (8001, 8003, 8005):
            is_open = any(firewall.allows_port(flow, port) for flow in opened)
            assert (port in shut) != is_open, (stranger.name, port)
    gateway = next(host for host in site.hosts if str(host.address) == "10.0.0.20")
    assert {8001, 8003, 8005} & {*firewall.closed_ports(site, worker, gateway)} == {8003}
