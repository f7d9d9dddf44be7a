"""Rules per scope: exactly the site's flows, and safe at every moment of a change."""

from __future__ import annotations

import itertools
import random
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phoenix.derived import firewall as flows
from phoenix.health.checks import checks
from phoenix.proxmox import connections, firewall
from phoenix.proxmox.connections import Connection, allowed, refused
from phoenix.proxmox.firewall import FirewallRule, Identity, Scope, next_write, operator_networks
from phoenix.site.model import FirewallRule as DeclaredRule
from phoenix.site.model import Host
from tests.proxmox.test_converge import changed_site
from tests.unit.site_builder import Declaration, minimal
from tests.unit.test_site_properties import declarations, loaded

PEERS = ["10.0.0.2", "10.0.0.3", "10.0.0.0/24", None]
PORTS = ["22", "80", "8000:8010", "80,443", None]


def identity(direction: str, action: str, port: str | None, peer: str | None) -> Identity:
    source, destination = (peer, None) if direction == "in" else (None, peer)
    return Identity(direction, action, "tcp", port, source, destination)


IDENTITIES = st.builds(
    identity,
    st.sampled_from(["in", "out"]),
    st.sampled_from(["ACCEPT", "ACCEPT", "ACCEPT", "DROP", "REJECT"]),
    st.sampled_from(PORTS),
    st.sampled_from(PEERS),
)
COMMENTS = st.sampled_from(["a", "b"])
RULES = st.dictionaries(IDENTITIES, COMMENTS, max_size=7)

PACKETS = [
    Connection(IPv4Address(a), IPv4Address(b), "tcp", port, "")
    for a, b in itertools.permutations(["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.9"], 2)
    for port in (22, 80, 443, 8005, 9999)
]


def scope(rules: dict[Identity, str]) -> Scope:
    built = [FirewallRule(i, comment) for i, comment in rules.items()]
    built.sort(key=lambda rule: rule.identity.action == "ACCEPT")
    options = {"enable": "1", "policy_in": "DROP", "policy_out": "DROP"}
    return Scope("test", "firewall", options, tuple(built))


def row(found: Identity, comment: str, enable: int = 1) -> dict[str, Any]:
    built = {
        "type": found.direction, "action": found.action, "proto": found.proto,
        "dport": found.ports, "source": found.source, "dest": found.destination,
        "enable": enable, "comment": comment,
    }  # fmt: skip
    return {key: value for key, value in built.items() if value is not None}


def perform(rows: list[dict[str, Any]], write: firewall.Write) -> None:
    """What pve-firewall does (PVE::API2::Firewall::Rules): new rules go to the top."""
    data = {key: value for key, value in write.data.items() if key != "digest"}
    if write.method == "POST":
        rows.insert(0, dict(data))
        return
    pos = int(write.path.rsplit("/", 1)[1])
    if write.method == "DELETE":
        del rows[pos]
    elif "moveto" in data:
        target = int(data["moveto"])
        rule = rows[pos]
        rest = [(i, r) for i, r in enumerate(rows) if i != pos]
        before = [r for i, r in rest if i < target]
        rows[:] = [*before, rule, *(r for i, r in rest if i >= target)]
    else:
        rows[pos].update(data)


def verdicts(rows: list[dict[str, Any]]) -> list[tuple[bool, bool]]:
    """For each packet, whether it may come in and go out."""
    placed = [firewall.placed({**r, "pos": n}) for n, r in enumerate(rows)]
    live = [rule.identity for rule in placed if rule.enabled and rule.identity]
    built = Scope(
        "now", "", {"enable": "1", "policy_in": "DROP", "policy_out": "DROP"},
        tuple(FirewallRule(i, "") for i in live),
    )  # fmt: skip
    return [(allowed(built, "in", p), allowed(built, "out", p)) for p in PACKETS]


def settle(rows: list[dict[str, Any]], wanted: Scope) -> list[list[tuple[bool, bool]]]:
    """Write until nothing is left; the verdicts after each write."""
    moments: list[list[tuple[bool, bool]]] = []
    for _ in range(300):
        write = next_write(wanted, [{**r, "pos": n, "digest": "d"} for n, r in enumerate(rows)])
        if write is None:
            return moments
        perform(rows, write)
        moments.append(verdicts(rows))
    raise AssertionError(f"does not settle: {rows} to {wanted.rules}")


@settings(max_examples=150, deadline=None)
@given(before=RULES, after=RULES)
def test_no_moment_is_open_or_cut_off(
    before: dict[Identity, str], after: dict[Identity, str]
) -> None:
    rows: list[dict[str, Any]] = []
    settle(rows, scope(before))
    old = verdicts(rows)
    moments = settle(rows, scope(after))
    new = verdicts(rows)
    for moment in moments:
        for packet, was, now, will in zip(PACKETS, old, moment, new, strict=True):
            for end in (0, 1):
                if was[end] == will[end]:
                    assert now[end] == was[end], (packet, before, after)
    placed = [firewall.placed({**r, "pos": n}) for n, r in enumerate(rows)]
    observed = {p.identity: p.comment for p in placed if p.enabled}
    assert (observed, len(placed)) == (after, len(after))


@settings(max_examples=100, deadline=None)
@given(before=RULES, after=RULES, chance=st.randoms(use_true_random=False))
def test_rules_of_others_stay_and_any_disorder_is_fixed(
    before: dict[Identity, str], after: dict[Identity, str], chance: random.Random
) -> None:
    foreign: list[dict[str, Any]] = [
        {"type": "in", "action": "ACCEPT", "macro": "Ping", "enable": 1},
        {"type": "group", "action": "web", "enable": 1},
        {"type": "in", "action": "DROP", "proto": "tcp", "dport": "25", "comment": "no mail"},
    ]
    own = [row(i, f"phoenix: {c}", chance.getrandbits(1)) for i, c in before.items()]
    rows = [dict(r) for r in (*foreign, *own, *own[:2])]
    chance.shuffle(rows)
    order = [r for r in rows if r in foreign]
    settle(rows, scope(after))
    assert [r for r in rows if r in foreign] == order
    placed = [firewall.placed({**r, "pos": n}) for n, r in enumerate(rows)]
    ours_now = [p for p in placed if p.managed]
    assert {p.identity for p in ours_now} == set(after)
    assert len(ours_now) == len(after)
    assert all(p.enabled for p in ours_now)


@settings(max_examples=150, deadline=None)
@given(before=RULES, after=RULES)
def test_a_plan_names_every_rule_that_is_added_or_removed(
    before: dict[Identity, str], after: dict[Identity, str]
) -> None:
    rows = [
        {**row(found, firewall.OWN + comment), "pos": number}
        for number, (found, comment) in enumerate(before.items())
    ]
    lines = firewall.differences(scope(after), rows)
    added, removed = after.keys() - before.keys(), before.keys() - after.keys()
    assert sum(": add " in line for line in lines) == len(added)
    assert sum(": remove " in line for line in lines) == len(removed)
    assert (lines == []) == (next_write(scope(after), rows) is None)


@settings(max_examples=40, deadline=None)
@given(declared=declarations())
def test_scopes_hold_exactly_the_sites_flows(declared: Declaration) -> None:
    site = loaded(declared)
    built = {s.name: s for s in firewall.scopes(site, node="phoenix", policy_out="DROP")}
    by_host = {host.name: built.get(host.name, built["the node"]) for host in site.hosts}
    desired: dict[str, set[tuple[object, ...]]] = {name: set() for name in by_host}
    for flow in flows.flows(site):
        ports = None if flow.port is None else str(flow.port)
        if flow.last_port:
            ports = f"{flow.port}:{flow.last_port}"
        for direction, end, peer in (
            ("in", flow.destination, flow.source),
            ("out", flow.source, flow.destination),
        ):
            if isinstance(end, Host):
                desired[end.name].add((direction, flow.proto, ports, written(peer)))
    for name, found in by_host.items():
        rules = {
            (r.identity.direction, r.identity.proto, r.identity.ports,
             r.identity.source or r.identity.destination)
            for r in found.rules
        }  # fmt: skip
        assert rules == desired[name], name
    assert built["the cluster"].rules == ()
    assert list(built)[-2:] == ["the node", "the cluster"], "what switches filtering on comes last"
    assert refused(site, built.values()) == ()


def written(peer: Any) -> str | None:
    if isinstance(peer, Host):
        return str(peer.address)
    if isinstance(peer, IPv4Network):
        return str(peer.network_address) if peer.prefixlen == 32 else str(peer)
    return None


def test_a_declared_refusal_of_a_needed_flow_is_found() -> None:

    site = loaded(minimal())
    assert site.traefik
    refusal = DeclaredRule(
        direction="in", action="DROP", proto=None, ports="443", source=None, destination=None,
        comment="oops",
    )  # fmt: skip
    broken = changed_site(site, site.traefik.vmid or 0, firewall_rules=(refusal,))
    faults = refused(broken, firewall.scopes(broken, node="phoenix"))
    assert faults
    assert all("is refused inbound by the rules of proxy" in fault for fault in faults), faults
    assert any("Nginx to Traefik" in fault for fault in faults), faults


def test_the_operators_own_path_is_kept() -> None:

    site = loaded(minimal())
    networks = operator_networks(["192.168.7.0/24"], "203.0.113.9")
    for scope in firewall.scopes(site, node="phoenix", operators=networks):
        if scope.name == "the cluster":
            continue
        for source in ("192.168.7.20", "203.0.113.9"):
            ssh = Connection(IPv4Address(source), IPv4Address("10.0.0.1"), "tcp", 22, "")
            assert allowed(scope, "in", ssh), (scope.name, source)
    node = next(
        s for s in firewall.scopes(site, node="p", operators=networks) if s.name == "the node"
    )
    api = Connection(IPv4Address("203.0.113.9"), IPv4Address("10.0.0.1"), "tcp", 8006, "")
    assert allowed(node, "in", api)
    assert operator_networks([], "fe80::1") == []


def test_a_guest_with_its_firewall_off_is_left_open_and_its_rules_alone() -> None:

    site = loaded(minimal())
    open_site = changed_site(site, 103, firewall_enabled=False)
    scope = next(s for s in firewall.scopes(open_site, node="phoenix") if s.vmid == 103)
    assert (dict(scope.options), scope.rules) == ({"enable": "0"}, ())


@pytest.mark.parametrize("value", ["10.0.0.0/33", "the office"])
def test_a_wrong_operator_network_is_an_error(value: str) -> None:
    with pytest.raises(ValueError, match=value):
        operator_networks([value], None)


def test_needed_has_every_check_of_verify() -> None:

    site = loaded(minimal())
    needed = connections.needed(site)
    assert "the check of Nginx to Traefik" in {connection.why for connection in needed}
    known = {(str(c.source), str(c.destination), str(c.port)) for c in needed}
    built = {
        (str(site.host(check.host).address), *check.command[1:])
        for check in checks(site)
        if check.function == "port_answers"
    }
    assert len(built) > 5, built
    assert {one for one in built if one[0] != one[1]} <= known
