"""Rules per scope: exactly the site's flows, and safe at every moment of a change."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, ip_address
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix.declaration.settings import NodeFlow, ProxmoxSettings
from phoenix.derived import firewall as flows
from phoenix.health.checks import checks
from phoenix.proxmox import connections, firewall
from phoenix.proxmox.connections import Connection, allowed, refused
from phoenix.proxmox.firewall import FirewallRule, Identity, Scope, next_write, operator_networks
from phoenix.site.model import FirewallRule as DeclaredRule
from phoenix.site.model import Host
from tests.examples import examples
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


def row(of: Identity, comment: str, enable: int = 1) -> dict[str, Any]:
    built = {
        "type": of.direction, "action": of.action, "proto": of.proto,
        "dport": of.ports, "source": of.source, "dest": of.destination,
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


def settle(rows: list[dict[str, Any]], desired: Scope) -> list[list[tuple[bool, bool]]]:
    """Write until nothing is left; the verdicts after each write."""
    moments: list[list[tuple[bool, bool]]] = []
    for _ in range(300):
        write = next_write(desired, [{**r, "pos": n, "digest": "d"} for n, r in enumerate(rows)])
        if write is None:
            return moments
        perform(rows, write)
        moments.append(verdicts(rows))
    raise AssertionError(f"does not settle: {rows} to {desired.rules}")


@examples(150)
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


@examples(100)
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


@examples(150)
@given(before=RULES, after=RULES)
def test_a_plan_names_every_rule_that_is_added_or_removed(
    before: dict[Identity, str], after: dict[Identity, str]
) -> None:
    rows = [
        {**row(rule_identity, firewall.OWN + comment), "pos": number}
        for number, (rule_identity, comment) in enumerate(before.items())
    ]
    lines = firewall.differences(scope(after), rows)
    added, removed = after.keys() - before.keys(), before.keys() - after.keys()
    assert sum(": add " in line for line in lines) == len(added)
    assert sum(": remove " in line for line in lines) == len(removed)
    assert (lines == []) == (next_write(scope(after), rows) is None)


@examples(40)
@given(declared=declarations())
def test_scopes_hold_exactly_the_sites_flows(declared: Declaration) -> None:
    site = loaded(declared)
    built = {s.name: s for s in firewall.scopes(site, ProxmoxSettings(firewall_out="DROP"))}
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
        for guest in site.guests:  # as a member of the network that the flow comes from
            wide = flow.source == "any" or (
                isinstance(flow.source, IPv4Network) and guest.address in flow.source
            )
            if wide and flow.destination != guest:
                rule = ("out", flow.proto, ports, written(flow.destination))
                desired[guest.name].add(rule)
    for guest in site.guests:
        desired[guest.name].add(("out", "udp", "123", None))
    for name, desired_scope in by_host.items():
        rules = {
            (r.identity.direction, r.identity.proto, r.identity.ports,
             r.identity.source or r.identity.destination)
            for r in desired_scope.rules
        }  # fmt: skip
        assert rules == desired[name], name
    assert built["the cluster"].rules == ()
    last = ["the node", "every other node", "the cluster"]
    assert list(built)[-3:] == last, "what switches filtering on comes last"
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
    faults = refused(broken, firewall.scopes(broken, ProxmoxSettings()))
    assert faults
    assert all("is refused inbound by the rules of proxy" in fault for fault in faults), faults
    assert any("Nginx to Traefik" in fault for fault in faults), faults


@pytest.mark.parametrize("peer", [None, IPv4Network("10.0.0.0/24")])
@pytest.mark.parametrize("direction", ["in", "out"])
def test_what_a_rule_admits_to_anyone_is_asked_of_no_other_host(
    direction: Literal["in", "out"], peer: IPv4Network | None
) -> None:
    """Traefik may ask any web server for packages: no guest of the site has to be one."""
    site = loaded(minimal())
    assert site.traefik
    rule = DeclaredRule(
        direction=direction, action="ACCEPT", proto="tcp", ports="8888",
        source=peer if direction == "in" else None,
        destination=peer if direction == "out" else None, comment="packages",
    )  # fmt: skip
    admits = changed_site(site, site.traefik.vmid or 0, firewall_rules=(rule,))
    built = firewall.scopes(admits, ProxmoxSettings(firewall_out="DROP"))
    assert refused(admits, built) == ()
    without = [
        replace(scope, rules=tuple(r for r in scope.rules if r.identity.ports != "8888"))
        for scope in built
    ]
    assert {
        fault.partition(" is refused ")[2].split()[0] for fault in refused(admits, without)
    } == {f"{direction}bound"}, "the host with the rule is still asked"


def test_a_second_name_server_asks_resolvers_and_no_host_of_the_site() -> None:
    declared = minimal()
    declared.lxc["lxc_configs"]["101"]["features"] = ["name_server"]
    site = loaded(declared)
    assert len(site.name_servers) == 2
    for policy in ("ACCEPT", "DROP"):
        built = firewall.scopes(site, ProxmoxSettings(firewall_out=policy))
        assert refused(site, built) == ()


def test_the_operators_own_path_is_kept() -> None:

    site = loaded(minimal())
    networks = operator_networks(["192.168.7.0/24"], "203.0.113.9")
    built = firewall.scopes(site, ProxmoxSettings(), operators=networks)
    for scope in built:
        if scope.name == "the cluster":
            continue
        for source in ("192.168.7.20", "203.0.113.9"):
            ssh = Connection(IPv4Address(source), IPv4Address("10.0.0.1"), "tcp", 22, "")
            assert allowed(scope, "in", ssh), (scope.name, source)
    nodes = [scope for scope in built if scope.name in ("the node", "every other node")]
    api = Connection(IPv4Address("203.0.113.9"), IPv4Address("10.0.0.1"), "tcp", 8006, "")
    assert [allowed(node, "in", api) for node in nodes] == [True, True]


@pytest.mark.parametrize(
    ("networks", "client", "source"),
    [
        ([], "2001:db8::7", "2001:db8::7"),
        (["fd00:7::/64"], "fd00:7::9", "fd00:7::9"),
        (["fe80::/10"], "fe80::1%vmbr0", "fe80::1"),
    ],
)
def test_an_operator_who_comes_by_ipv6_keeps_his_way_in(
    networks: list[str], client: str, source: str
) -> None:
    site = loaded(minimal())
    operators = operator_networks(networks, client)
    for scope in firewall.scopes(site, ProxmoxSettings(), operators=operators):
        if scope.name == "the cluster":
            continue
        ssh = Connection(ip_address(source), IPv4Address("10.0.0.1"), "tcp", 22, "")
        assert allowed(scope, "in", ssh), scope.name
        if scope.vmid is None:
            assert allowed(scope, "in", ssh._replace(port=8006)), scope.name


def test_an_operator_whose_address_no_rule_can_name_is_refused() -> None:
    with pytest.raises(ValueError, match="link-local"):
        operator_networks(["10.0.0.0/24"], "fe80::1%vmbr0")
    assert operator_networks([], "::ffff:203.0.113.9") == [IPv4Network("203.0.113.9")]


def test_each_node_has_the_rules_of_its_own_flows() -> None:
    site = loaded(minimal())
    flows_of_nodes = (
        NodeFlow(port="2049", source="10.0.0.0/24", comment="NFS"),
        NodeFlow(port="8007", source="fd00:7::5", node="pbs", comment="backups"),
        NodeFlow(proto="udp", port="6800:7300", node="ceph"),
    )
    settings_ = ProxmoxSettings(node="phoenix", node_flows=flows_of_nodes)
    built = {scope.name: scope for scope in firewall.scopes(site, settings_)}
    names = ("the node", "node pbs", "node ceph", "every other node")
    by_scope = {
        name: {(r.identity.ports, r.identity.source) for r in built[name].rules} for name in names
    }
    nfs, backups, ceph = ("2049", "10.0.0.0/24"), ("8007", "fd00:7::5"), ("6800:7300", None)
    assert [nfs in by_scope[name] for name in names] == [False, True, True, True]
    assert [backups in by_scope[name] for name in names] == [False, True, False, False]
    assert [ceph in by_scope[name] for name in names] == [False, False, True, False]
    for name in names:
        assert {("22", "10.0.0.0/24"), ("8006", "10.0.0.0/24"), (None, "10.0.0.0/24")} <= by_scope[
            name
        ]


def test_guests_send_from_their_own_addresses_alone() -> None:
    site = loaded(minimal())
    vm = next(guest for guest in site.guests if guest.kind == "vm")
    lxc = next(guest for guest in site.guests if guest.kind == "lxc")
    own = {lxc.vmid: {"addresses": ["10.0.0.50"]}}
    built = {
        scope.vmid: scope
        for scope in firewall.scopes(site, ProxmoxSettings.model_validate({"guests": own}))
    }
    for guest in (vm, lxc):
        options = built[guest.vmid].options
        assert (options["macfilter"], options["ipfilter"]) == ("1", "1")
    assert built[vm.vmid].addresses == (str(vm.address),)
    assert built[lxc.vmid].addresses == ("10.0.0.50",), "its own is in its configuration"
    off = firewall.scopes(site, ProxmoxSettings(ipfilter=False))
    assert all(scope.addresses == () for scope in off)


def test_where_nothing_goes_out_undeclared_every_needed_flow_does() -> None:
    site = loaded(minimal())
    built = firewall.scopes(site, ProxmoxSettings(firewall_out="DROP"))
    assert refused(site, built) == ()
    needed = connections.needed(site)
    wide = [c for c in needed if c.why == "clients to the gateway"]
    assert {c.source for c in wide} >= {
        host.address for host in site.guests if host != site.gateway
    }
    for why in ("time by NTP", "pings"):
        assert [c for c in needed if c.why == why]
    without = [replace(scope, rules=tuple(
        rule for rule in scope.rules if rule.identity.direction == "in"
    )) for scope in built]  # fmt: skip
    assert refused(site, without), "the check sees it"


PERSONS = {"type": "in", "action": "DROP", "proto": "tcp", "enable": 1, "comment": "mine"}


def test_a_persons_refusal_keeps_its_place_and_its_effect() -> None:
    first = {**PERSONS, "source": "10.0.0.66"}
    last = {**PERSONS, "comment": "and nothing else"}
    desired = scope({identity("in", "ACCEPT", "22", "10.0.0.0/24"): "ssh"})
    rows = [dict(first)]
    settle(rows, desired)
    assert [r["comment"] for r in rows] == ["mine", "phoenix: ssh"]
    rows.append(dict(last))
    more = scope(
        {
            identity("in", "ACCEPT", "22", "10.0.0.0/24"): "ssh",
            identity("in", "ACCEPT", "80", None): "http",
        }
    )
    settle(rows, more)
    assert [r["comment"] for r in rows][::3] == ["mine", "and nothing else"]
    assert {r["comment"] for r in rows[1:3]} == {"phoenix: ssh", "phoenix: http"}


def test_a_persons_refusal_of_what_is_needed_is_told() -> None:
    desired = replace(
        scope({identity("in", "ACCEPT", "22", "10.0.0.0/24"): "ssh"}), host=IPv4Address("10.0.0.1")
    )
    rows = [{**PERSONS, "pos": 0, "source": "10.0.0.9"}, {**PERSONS, "pos": 1}]
    needed = [
        Connection(IPv4Address("10.0.0.9"), IPv4Address("10.0.0.1"), "tcp", 22, "ssh"),
        Connection(IPv4Address("10.0.0.2"), IPv4Address("10.0.0.1"), "tcp", 22, "ssh"),
        Connection(IPv4Address("10.0.0.2"), IPv4Address("10.0.0.3"), "tcp", 22, "elsewhere"),
    ]
    first, second = connections.hidden(desired, rows, needed)
    assert first.startswith("rule 0 of test")
    assert second.startswith("rule 1 of test")
    assert list(connections.hidden(desired, [{**rows[1], "enable": 0}], needed)) == []
    below = [{**row(desired.rules[0].identity, "phoenix: ssh"), "pos": 0}, {**rows[1], "pos": 1}]
    assert list(connections.hidden(desired, below, needed)) == []


SSH_NEEDED = [Connection(IPv4Address("10.0.0.9"), IPv4Address("10.0.0.1"), "tcp", 22, "ssh")]


@pytest.mark.parametrize(
    "change",
    [
        {"macro": "SSH"},
        {"macro": "ssh", "source": "10.0.0.0/24"},
        {"proto": "tcp", "dport": "ssh"},
        {"proto": "tcp", "dport": "20:25", "log": "nolog"},  # the web interface writes a log level
        {"iface": "vmbr0"},
        {"type": "group", "action": "people"},
    ],
    ids=["macro", "lower case", "service", "log", "interface", "group"],
)
def test_a_persons_refusal_is_told_and_kept_in_place_in_every_form(change: dict[str, str]) -> None:
    desired = replace(
        scope({identity("in", "ACCEPT", "22", "10.0.0.0/24"): "ssh"}), host=IPv4Address("10.0.0.1")
    )
    rows = [{**PERSONS, **change, "pos": 0}]
    groups = {"people": [{"type": "in", "action": "ACCEPT", "macro": "HTTP", "enable": 1},
                         {"type": "in", "action": "DROP", "macro": "SSH", "enable": 0},
                         {"type": "in", "action": "REJECT", "enable": 1}]}  # fmt: skip
    (fault,) = connections.hidden(desired, rows, SSH_NEEDED, groups)
    assert fault.startswith("rule 0 of test")
    settle(rows, desired)
    assert [r["comment"] for r in rows] == ["mine", "phoenix: ssh"]


@pytest.mark.parametrize(
    "change",
    [
        {"macro": "HTTP"},
        {"macro": "OfALaterRelease"},
        {"proto": "tcp", "dport": "no-such-service"},
        {"proto": "tcp", "dport": "22", "sport": "1024"},
        {"type": "group", "action": "people"},
    ],
    ids=["another macro", "unknown macro", "unknown service", "source port", "group"],
)
def test_a_persons_refusal_of_something_else_is_not_told_and_keeps_its_place(
    change: dict[str, str],
) -> None:
    desired = replace(
        scope({identity("in", "ACCEPT", "22", "10.0.0.0/24"): "ssh"}), host=IPv4Address("10.0.0.1")
    )
    rows = [{**PERSONS, **change, "pos": 0}]
    groups = {"people": [{"type": "in", "action": "ACCEPT", "macro": "SSH", "enable": 1},
                         {"type": "in", "action": "DROP", "enable": 1}]}  # fmt: skip
    assert list(connections.hidden(desired, rows, SSH_NEEDED, groups)) == []
    settle(rows, desired)
    assert [r["comment"] for r in rows] == ["mine", "phoenix: ssh"]


def test_a_guest_with_its_firewall_off_is_left_open_and_its_rules_alone() -> None:

    site = loaded(minimal())
    open_site = changed_site(site, 103, firewall_enabled=False)
    scope = next(s for s in firewall.scopes(open_site, ProxmoxSettings()) if s.vmid == 103)
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
    assert {rule for rule in built if rule[0] != rule[1]} <= known
