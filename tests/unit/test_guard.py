"""The rules of a host's guard: each derived flow passes, and nothing else does."""

from __future__ import annotations

import re
import subprocess
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix.components.guard.ruleset import admitted, ruleset, ssh_from
from phoenix.declaration.load import load_site
from phoenix.derived import firewall
from phoenix.derived.firewall import Flow
from phoenix.files import render
from phoenix.site.model import Host, Site
from tests.examples import examples
from tests.unit.nft_rules import HOST, Packet, chains, passes, verdict
from tests.unit.site_builder import minimal

ROOT = Path(__file__).parents[2]
SITE = load_site(ROOT / "inventories", ROOT / "stacks")
STRANGER = IPv4Address("10.0.0.250")
OUTSIDE = IPv4Address("203.0.113.9")
BRIDGE = "br-0123456789ab"
OPERATORS = (IPv4Network("192.0.2.0/24"),)
DRPHOENIX = SITE.host("drphoenix")
V6 = IPv6Address("fe80::1")


def source_of(flow: Flow) -> IPv4Address:
    """An address that a flow's source covers."""
    network = firewall.network_of(flow.source)
    return OUTSIDE if network is None else network[-2 if network.num_addresses > 1 else 0]


def open_to(flows: tuple[Flow, ...], packet: Packet) -> bool:
    """What the flows themselves say of a packet, by no rule of nftables."""
    for flow in flows:
        network = firewall.network_of(flow.source)
        if network is not None and packet.source not in network:
            continue
        if flow.proto != packet.proto:
            continue
        if flow.port is None or flow.port <= packet.port <= (flow.last_port or flow.port):
            return True
    return False


@pytest.mark.parametrize("host", SITE.hosts, ids=lambda host: host.name)
def test_every_derived_flow_is_let_in(host: Host) -> None:
    text = ruleset(SITE, host, OPERATORS)
    flows = admitted(SITE, host, OPERATORS)
    assert len(flows) >= len(firewall.flows_to(SITE, host)) > 0
    for flow in flows:
        for port in {flow.port or 1, flow.last_port or flow.port or 1}:
            packet = Packet(source_of(flow), flow.proto, port, target=host.address)
            assert passes(text, packet), flow


addresses = st.one_of(
    st.sampled_from([host.address for host in SITE.hosts] + [STRANGER, OUTSIDE, OPERATORS[0][7]]),
    st.integers(min_value=2**24, max_value=2**32 - 1).map(IPv4Address),
)
ports = st.one_of(
    st.sampled_from([22, 53, 80, 443, 2375, 5405, 6333, 6334, 8000, 8006, 9000, 9001, 9443]),
    st.integers(min_value=1, max_value=65535),
)


@examples(300)
@given(
    host=st.sampled_from(SITE.hosts),
    source=addresses,
    proto=st.sampled_from(["tcp", "udp", "icmp"]),
    port=ports,
)
def test_a_packet_is_let_in_if_a_flow_says_so_and_only_then(
    host: Host, source: IPv4Address, proto: str, port: int
) -> None:
    text = ruleset(SITE, host, OPERATORS)
    packet = Packet(source, proto, port, target=host.address)
    assert passes(text, packet) == open_to(admitted(SITE, host, OPERATORS), packet)
    assert passes(text, Packet(source, proto, port, target=host.address, state="established"))


@examples(100)
@given(host=st.sampled_from(SITE.hosts), proto=st.sampled_from(["tcp", "udp"]), port=ports)
def test_by_ipv6_nothing_is_open_that_is_not_open_to_anyone(
    host: Host, proto: str, port: int
) -> None:
    text = ruleset(SITE, host, OPERATORS)
    to_anyone = tuple(
        flow for flow in admitted(SITE, host, OPERATORS) if firewall.network_of(flow.source) is None
    )
    packet = Packet(V6, proto, port, target=IPv6Address("fe80::2"))
    by_ipv4 = Packet(OUTSIDE, proto, port, target=host.address)
    assert passes(text, packet) == open_to(to_anyone, by_ipv4)


@pytest.mark.parametrize("host", SITE.hosts, ids=lambda host: host.name)
def test_what_a_guest_cannot_do_without_is_let_in(host: Host) -> None:
    text = ruleset(SITE, host)
    for kind in ("nd-neighbor-solicit", "nd-neighbor-advert", "nd-router-advert",
                 "mld-listener-query", "packet-too-big"):  # fmt: skip
        assert passes(text, Packet(V6, kind, target=IPv6Address("ff02::1")))
    assert not passes(text, Packet(V6, "echo-request"))
    assert passes(text, Packet(STRANGER, "udp", 68, source_port=67))
    assert passes(text, Packet(V6, "udp", 546, source_port=547))
    assert passes(text, Packet(host.address, "tcp", 2375, interface="lo"))
    assert passes(text, Packet(STRANGER, "tcp", 5000, state="begun before"))


@pytest.mark.parametrize("host", SITE.hosts, ids=lambda host: host.name)
def test_loopback_is_reached_by_nobody_else(host: Host) -> None:
    text = ruleset(SITE, host)
    for flow in admitted(SITE, host):
        packet = Packet(
            source_of(flow), flow.proto, flow.port or 1, target=IPv4Address("127.0.0.1")
        )
        assert not passes(text, packet), flow


def test_on_a_docker_host_containers_reach_what_its_address_may_and_each_other() -> None:
    text = ruleset(SITE, DRPHOENIX)
    container = IPv4Address("172.18.0.3")

    def from_container(port: int, to: str = "host") -> Packet:
        return Packet(container, "tcp", port, DRPHOENIX.address, to, BRIDGE,
                      kinds=("bridge", "bridge" if to.startswith("br-") else "veth"))  # fmt: skip

    open_ports = {
        port for port in (22, 80, 6333, 6334, 8000, 9001) if passes(text, from_container(port))
    }
    assert open_ports == {22}, "as every machine of the network"
    assert passes(text, from_container(443, to="eth0")), "outwards"
    assert passes(text, from_container(6333, to=BRIDGE)), "within its network"
    assert not passes(text, from_container(6333, to="br-ffffffffffff")), "another stack's network"
    spoofing = Packet(SITE.host("traefik-internal").address, "tcp", 6333, interface=BRIDGE)
    assert not passes(text, spoofing), "the address of a packet from a container proves nothing"


@pytest.mark.parametrize("bridge", ["docker0", BRIDGE, "shop0"])
def test_a_container_s_own_address_is_open_to_no_other_machine(bridge: str) -> None:
    text = ruleset(SITE, DRPHOENIX)
    for source in (STRANGER, SITE.host("traefik-internal").address):
        routed = Packet(source, "tcp", 6333, IPv4Address("172.18.0.3"), bridge,
                        kinds=("veth", "bridge"))  # fmt: skip
        assert not passes(text, routed)


def test_what_a_host_carries_for_others_is_left_alone() -> None:
    """A hypervisor's bridges hand it the packets between guests (br_netfilter)."""
    text = ruleset(SITE, SITE.hypervisor)
    assert passes(text, Packet(STRANGER, "tcp", 6333, DRPHOENIX.address, to="vmbr0"))


def declared(tmp_path: Path, guest: str, *rules: dict[str, Any], **site: Any) -> Site:
    declaration = minimal()
    declaration.lxc["site"] = {**declaration.lxc.get("site", {}), **site}
    (entry,) = (candidate for candidate in declaration.vm["vms"] if candidate["name"] == guest)
    entry["firewall"] = {"rules": list(rules)}
    return declaration.load(tmp_path)


def test_what_is_refused_to_one_address_is_open_to_nobody_by_ipv6(tmp_path: Path) -> None:
    rules: list[dict[str, Any]] = [
        {"type": "in", "action": "DROP", "proto": "tcp", "port": "7000", "source": "10.0.0.66"},
        {"type": "in", "action": "ACCEPT", "proto": "tcp", "port": "7000:7010"},
    ]
    site = declared(tmp_path, "worker", *rules)
    text = ruleset(site, site.host("worker"))
    assert not passes(text, Packet(IPv4Address("10.0.0.66"), "tcp", 7000))
    assert passes(text, Packet(IPv4Address("10.0.0.67"), "tcp", 7010))
    assert not passes(text, Packet(V6, "tcp", 7000))


def test_a_rule_for_the_host_s_own_address_is_for_its_containers(tmp_path: Path) -> None:
    rule = {"type": "in", "action": "ACCEPT", "proto": "tcp", "port": "7000", "source": "10.0.0.24"}
    site = declared(tmp_path, "worker", rule)
    worker = site.host("worker")
    assert str(worker.address) == rule["source"]
    text = ruleset(site, worker)
    assert passes(text, Packet(IPv4Address("172.18.0.3"), "tcp", 7000, interface="docker0"))
    assert not passes(text, Packet(V6, "tcp", 7000, interface="docker0")), "its address is IPv4"
    assert not passes(text, Packet(STRANGER, "tcp", 7000))
    assert 7000 not in firewall.closed_ports(site, worker, None)


def test_ways_out_are_free_but_for_what_the_site_refuses(tmp_path: Path) -> None:
    for host in SITE.hosts:
        assert set(chains(ruleset(SITE, host))) <= {
            "prerouting", "input", "forward", "own", "containers",
        }  # fmt: skip
    rule = {"type": "out", "action": "REJECT", "proto": "tcp", "port": "25", "dest": "192.0.2.0/24"}
    site = declared(tmp_path, "worker", rule)
    by_chain = chains(ruleset(site, site.host("worker")))
    for chain in ("output", "containers_out"):
        assert by_chain[chain][-1] == "ip daddr 192.0.2.0/24 tcp dport { 25 } counter reject"


REFUSED_OUT = (
    {"type": "out", "action": "DROP", "proto": "icmp"},
    {"type": "out", "action": "REJECT", "proto": "tcp", "port": "25,6000:6010",
     "dest": "192.0.2.0/24"},
    {"type": "out", "action": "DROP", "dest": "192.0.2.9"},
)  # fmt: skip


def test_what_is_refused_on_the_way_out_is_refused_of_each_kind(tmp_path: Path) -> None:
    site = declared(tmp_path, "worker", *REFUSED_OUT)
    text = ruleset(site, site.host("worker"))
    other, nine = IPv4Address("192.0.2.8"), IPv4Address("192.0.2.9")
    for target, proto, port, expected in (
        (other, "tcp", 25, "reject"), (other, "tcp", 26, "accept"),
        (other, "tcp", 6000, "reject"), (other, "tcp", 6010, "reject"),
        (other, "tcp", 6011, "accept"), (other, "udp", 25, "accept"),
        (nine, "udp", 53, "drop"), (STRANGER, "tcp", 25, "accept"), (STRANGER, "icmp", 0, "drop"),
    ):  # fmt: skip
        own = Packet(HOST, proto, port, target, to="eth0", interface="")
        assert verdict(text, "output", own) == expected, own
        # what a container opens, and not what a machine hands on, or one container to another
        for kinds, then in (
            (("bridge", "veth"), expected),
            (("veth", "veth"), "accept"),
            (("bridge", "bridge"), "accept"),
        ):
            packet = Packet(
                IPv4Address("172.18.0.3"), proto, port, target, "eth0", BRIDGE, kinds=kinds
            )
            assert verdict(text, "containers_out", packet) == then, packet
    by_ipv6 = Packet(V6, "echo-request", target=IPv6Address("2001:db8::1"), to="eth0")
    assert verdict(text, "output", by_ipv6) == "drop", "a ping is one by either protocol"


def test_a_refusal_of_several_ports_holds_for_each(tmp_path: Path) -> None:
    rules: list[dict[str, Any]] = [
        {"type": "in", "action": "DROP", "proto": "tcp", "port": "7000:7005,7010"},
        {"type": "in", "action": "ACCEPT", "proto": "tcp", "port": "7000:7020"},
    ]
    site = declared(tmp_path, "worker", *rules)
    text = ruleset(site, site.host("worker"))
    for source in (STRANGER, V6):
        open_ports = {p for p in range(6999, 7022) if passes(text, Packet(source, "tcp", p))}
        assert open_ports == {*range(7006, 7021)} - {7010}


def test_portainers_host_is_one_with_containers() -> None:
    text = ruleset(SITE, SITE.host("portainer"))
    assert {"containers", "forward"} <= set(chains(text))
    routed = Packet(STRANGER, "tcp", 9443, IPv4Address("172.18.0.3"), BRIDGE,
                    kinds=("veth", "bridge"))  # fmt: skip
    assert not passes(text, routed)


def test_ssh_that_is_open_to_anyone_shuts_no_run_out(tmp_path: Path) -> None:
    rule = {"type": "in", "action": "ACCEPT", "proto": "tcp", "port": "22"}
    site = declared(tmp_path, "worker", rule)
    assert IPv4Network("0.0.0.0/0") in ssh_from(site, site.host("worker"))
    assert IPv4Network("0.0.0.0/0") not in ssh_from(site, site.host("control"))


def test_operators_elsewhere_reach_ssh_and_the_hypervisor_s_api_alone() -> None:
    operator = OPERATORS[0][9]
    for host in SITE.hosts:
        text = ruleset(SITE, host, OPERATORS)
        reached = {
            p for p in (22, 80, 443, 8006, 9000, 9443) if passes(text, Packet(operator, "tcp", p))
        }
        assert reached == ({22, 8006} if host == SITE.hypervisor else {22})
        assert ssh_from(SITE, host, OPERATORS) == (SITE.network, *OPERATORS)


def test_a_reason_is_never_a_rule(tmp_path: Path) -> None:
    for text in ('x" accept', "x; accept", "x } table ip a {", "é" * 200, '"', "$(id)"):
        rule = {"type": "in", "action": "ACCEPT", "proto": "tcp", "port": "7000",
                "source": "10.0.0.7", "comment": text}  # fmt: skip
        site = declared(tmp_path, "worker", rule)
        plain = declared(tmp_path, "worker", {**rule, "comment": "plain"})
        host = "worker"
        with_text, without = ruleset(site, site.host(host)), ruleset(plain, plain.host(host))
        strip = re.compile(r' comment "[^"\n]*"$', re.M)
        assert strip.sub("", with_text) == strip.sub("", without)


@pytest.mark.parametrize(
    ("site", "guest", "guarded"),
    [({}, {}, True), ({"guard": False}, {}, False), ({}, {"guard": False}, False),
     ({}, {"enabled": False}, False)],
)  # fmt: skip
def test_it_is_on_unless_the_site_or_the_host_turns_it_off(
    tmp_path: Path, site: dict[str, Any], guest: dict[str, Any], guarded: bool
) -> None:
    declaration = minimal()
    declaration.lxc["site"] = site
    declaration.vm["vms"][1]["firewall"] = guest
    loaded = declaration.load(tmp_path)
    assert loaded.host(declaration.vm["vms"][1]["name"]).guarded == guarded
    assert loaded.hypervisor.guarded == (site == {})


def test_the_hypervisor_has_rules_and_a_switch_of_its_own(tmp_path: Path) -> None:
    declaration = minimal()
    rule = {"type": "in", "action": "ACCEPT", "proto": "tcp", "port": "9100", "source": "10.0.0.7"}
    declaration.lxc["site"] = {"hypervisor": {"firewall": {"rules": [rule], "guard": False}}}
    site = declaration.load(tmp_path)
    assert not site.hypervisor.guarded
    assert all(guest.guarded for guest in site.guests)
    assert passes(ruleset(site, site.hypervisor), Packet(IPv4Address("10.0.0.7"), "tcp", 9100))
    assert any(rule.ports == "9100" for rule in firewall.rules(site)[site.hypervisor.name])


def test_ports_that_are_shut_are_those_that_something_is_behind() -> None:
    assert firewall.closed_ports(SITE, DRPHOENIX, SITE.hypervisor) == (80, 6333, 6334, 8000, 9001)
    assert firewall.closed_ports(SITE, DRPHOENIX, None) == (80, 6333, 6334, 8000, 9001)
    assert firewall.closed_ports(SITE, SITE.host("traefik-internal"), SITE.hypervisor) == (80, 443)
    assert firewall.closed_ports(SITE, SITE.host("nginx-phoenix"), SITE.hypervisor) == ()


def test_the_rules_of_this_site_s_docker_host_are_these() -> None:
    """Whoever reads a plan sees these lines: each is about one flow."""
    assert chains(ruleset(SITE, DRPHOENIX))["own"][-8:] == [
        'iifname "br-*" goto containers',
        'ip saddr 10.0.0.0/24 tcp dport 22 accept comment "operator, by SSH"',
        'ip saddr 10.0.0.0/24 ip protocol icmp accept comment "pings"',
        'ip saddr 10.0.0.10 tcp dport 80 accept comment "CA validates names by http-01"',
        'ip saddr 10.0.0.12 tcp dport 8000 accept comment "Traefik to app"',
        'ip saddr 10.0.0.111 tcp dport 9001 accept comment "Portainer to its agent"',
        'ip saddr 10.0.0.12 tcp dport 6333 accept comment "Traefik to qdrant"',
        'counter drop comment "not declared"',
    ]


OFFICE = IPv6Network("2001:db8:7::/61")


def test_operators_come_by_ipv6_as_well() -> None:
    for host in (SITE.hypervisor, DRPHOENIX):
        lines = chains(ruleset(SITE, host, (*OPERATORS, OFFICE)))["own"]
        ports = "{ 22, 8006 }" if host == SITE.hypervisor else "22"
        line = f'ip6 saddr {OFFICE} tcp dport {ports} accept comment "operator, by IPv6"'
        assert [line for line in lines if "ip6 saddr 2001" in line] == [line]
        assert ssh_from(SITE, host, (*OPERATORS, OFFICE))[-1] == OFFICE


@pytest.mark.parametrize(
    ("address", "may"),
    [
        ("2001:db8:7:0::1", True),
        ("2001:db8:7:7:ffff::9", True),
        ("2001:db8:7:8::1", False),
        ("2001:DB8:7::", True),
        ("fe80::1%eth0", False),
        ("::1", False),
        ("192.0.2.77", True),
        ("192.0.3.1", False),
    ],
)
def test_a_run_that_the_rules_would_shut_out_is_refused(
    tmp_path: Path, address: str, may: bool
) -> None:
    (tmp_path / "nft").write_text("#!/bin/sh\n")
    (tmp_path / "nft").chmod(0o755)
    networks = " ".join(map(str, (*OPERATORS, OFFICE)))
    script = render("components/guard/validate.sh.j2", rules="/x", port=22, networks=networks)
    environment = {
        "PATH": f"{tmp_path}:/usr/bin:/bin", "ROOT": "",
        "SSH_CONNECTION": f"{address} 50000 10.0.0.1 22",
    }  # fmt: skip
    done = subprocess.run(
        ["sh", "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode == 0) == may, done.stdout + done.stderr
    assert done.stderr == ""
