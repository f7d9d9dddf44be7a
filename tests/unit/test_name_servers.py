"""Several name servers: who asks whom, what each answers, what is opened, checked and told."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from phoenix.components.dnsmasq import dnsmasq_conf as dnsmasq
from phoenix.components.docker.daemon_json import declared
from phoenix.components.taking_over.decision import decide
from phoenix.components.taking_over.existing_services import ExistingServices, Listener, places
from phoenix.declaration.settings import Settings, TakingOver
from phoenix.derived import dns, firewall
from phoenix.derived.components import component_hosts, hosts_of, trees_of
from phoenix.graph.topology import topology
from phoenix.health.advice import likely_fix
from phoenix.health.checks import checks
from phoenix.health.paths import paths
from phoenix.health.proof import proof
from phoenix.health.undeclared import Placed, undeclared
from phoenix.site.addressing import name_servers
from phoenix.site.model import Site
from phoenix.validation import setting_values
from phoenix.watch.causes import Findings, Outcome, causes, walk
from tests.unit.site_builder import LXC, Declaration, lxc, minimal, problem
from tests.unit.test_check_faults import Guest
from tests.unit.test_networks import two_networks
from tests.unit.test_undeclared import sightings_of

FIRST, SECOND = IPv4Address("10.0.0.13"), IPv4Address("10.0.0.25")


def with_second(**more: Any) -> Declaration:
    declaration = minimal()
    declaration.lxc["lxc_configs"]["104"] = lxc("names", "name_server", 25, **more)
    return declaration


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return with_second().load(tmp_path)


def asked(site: Site, host: str) -> list[tuple[str, IPv4Address]]:
    return [(server.server.name, server.address) for server in name_servers(site, site.host(host))]


def test_hosts_ask_themselves_first_then_the_hypervisor(site: Site) -> None:
    assert site.warnings == ()
    assert [host.name for host in site.name_servers] == ["phoenix", "names"]
    assert component_hosts("dns", site) == site.name_servers
    assert asked(site, "names") == [("names", SECOND), ("phoenix", FIRST)]
    for host in site.hosts:
        if host.name != "names":
            assert asked(site, host.name) == [("phoenix", FIRST), ("names", SECOND)]
    worker = declared(site, site.host("worker"), Settings())
    assert worker.needed["dns"] == [str(FIRST), str(SECOND)]


def test_a_site_with_one_is_as_it_was(tmp_path: Path) -> None:
    site = minimal().load(tmp_path)
    assert all(asked(site, host.name) == [("phoenix", FIRST)] for host in site.hosts)
    assert not [check for check in checks(site) if check.function == "server_answers"]
    request = next(path for path in paths(site) if path.kind == "request")
    assert any(check.unit == "phoenix-dns.service" for check in request.checks)


def test_both_have_the_same_zone_and_their_own_address(site: Site) -> None:
    def lines(host: str) -> list[str]:
        records = dns.records(site)
        return dnsmasq.config(site, records, ["9.9.9.9"], on=site.host(host)).splitlines()

    first, second = lines("phoenix"), lines("names")
    assert first == dnsmasq.config(site, dns.records(site), ["9.9.9.9"]).splitlines()
    assert set(first) ^ set(second) == {f"listen-address={FIRST}", f"listen-address={SECOND}"}
    with pytest.raises(dnsmasq.DnsmasqError, match=f"{SECOND} is this server: a loop"):
        dnsmasq.config(site, dns.records(site), [str(SECOND)], on=site.host("names"))
    with pytest.raises(dnsmasq.DnsmasqError, match=f"{SECOND} is names, a name server of this"):
        dnsmasq.config(site, dns.records(site), [str(SECOND)])
    (finding,) = [
        finding
        for finding in setting_values.check(
            site, Settings(dns_upstreams=(str(SECOND),)), faulty=(), ssh_key=None, home=Path("/x")
        )
        if finding.path == "dns_upstreams"
    ]
    assert f"{SECOND} is names, a name server of this site as well" in finding.message


def test_port_53_of_both_is_open_to_the_site_alone(site: Site) -> None:
    def sources(server: str) -> set[str]:
        return {
            getattr(flow.source, "name", str(flow.source))
            for flow in firewall.flows_to(site, site.host(server))
            if flow.port == 53
        }

    hosts = {host.name for host in site.hosts}
    assert sources("phoenix") == hosts - {"phoenix"} | {"10.0.0.0/24"}
    assert sources("names") == hosts - {"names"} | {"10.0.0.0/24"}
    rules = firewall.rules(site)["names"]
    out = [rule for rule in rules if (rule.direction, rule.ports) == ("out", "53")]
    assert {(rule.proto, rule.peer) for rule in out} == {
        (proto, peer) for proto in ("udp", "tcp") for peer in (None, site.hypervisor.alone)
    }  # fmt: skip


def test_in_two_networks_a_host_asks_what_answers_by_its_own(tmp_path: Path) -> None:
    declaration = two_networks()
    declaration.lxc["lxc_configs"]["104"] = {
        **lxc("names", "name_server", 25),
        "secondary_network_config": {"ip": "172.16.9.25/24"},
    }
    site = declaration.load(tmp_path / "both")
    inner = IPv4Address("172.16.9.25")
    assert asked(site, "worker") == [("phoenix", FIRST), ("names", SECOND)]
    assert asked(site, "proxy") == [("phoenix", IPv4Address("172.16.9.1")), ("names", inner)]
    assert asked(site, "names") == [("names", SECOND), ("phoenix", FIRST)]
    text = dnsmasq.config(site, dns.records(site), ["9.9.9.9"], on=site.host("names"))
    assert f"listen-address={SECOND},{inner}\n" in text
    assert "localise-queries\n" in text
    assert not [warning for warning in site.warnings if "only name server" in warning.message]

    del declaration.lxc["lxc_configs"]["104"]["secondary_network_config"]
    site = declaration.load(tmp_path / "outer")
    assert asked(site, "proxy") == [("phoenix", IPv4Address("172.16.9.1"))]
    text = dnsmasq.config(site, dns.records(site), ["9.9.9.9"], on=site.host("names"))
    assert "localise-queries\n" in text, "a name in both networks has one address in each"
    finding = problem(site.warnings, LXC, "lxc_configs.104.network_config")
    assert finding.message == (
        "in the network internal the hypervisor stays the only name server, asked by "
        "authority, gateway, proxy"
    )
    assert "secondary_network_config" in finding.fix


def test_a_docker_host_may_be_one_unless_a_stack_has_its_port(tmp_path: Path) -> None:
    declaration = minimal()
    declaration.vm["vms"][1]["features"] = ["name_server"]
    site = declaration.load(tmp_path / "good")
    assert site.name_servers[1].name == "worker"
    declaration.stacks["shop"][1]["services"]["web"]["ports"] = ["8000:8000", "53:53/udp"]
    findings = declaration.refused(tmp_path / "bad")
    assert any(
        "53/udp" in finding.message and "the name server" in finding.message for finding in findings
    )


def test_a_fourth_is_refused_and_a_fallback_that_nobody_asks_is_told(tmp_path: Path) -> None:
    declaration = with_second()
    declaration.lxc["lxc_configs"]["105"] = lxc("names2", "name_server", 26)
    site = declaration.load(tmp_path / "three")
    findings = setting_values.check(
        site, Settings(resolver_fallback=("10.0.0.1",)), faulty=(), ssh_key=None, home=Path("/x")
    )
    assert [finding.path for finding in findings if finding.path.startswith("resolver")] == [
        "resolver_fallback[0]"
    ]
    declaration.lxc["lxc_configs"]["106"] = lxc("names3", "name_server", 27)
    finding = problem(declaration.refused(tmp_path / "four"), LXC, "lxc_configs.106.role")
    assert "a host asks 3 at most" in finding.message


def test_each_host_checks_each_server_by_itself(site: Site) -> None:
    each = [check for check in checks(site) if check.function == "server_answers"]
    assert {(check.host, check.target) for check in each} == {
        (host.name, server.name) for host in site.hosts for server in site.name_servers
    }
    for check in each:
        assert "phoenix plan dns guard" in likely_fix(site, check).commands
    proven = {(check.host, check.target) for check in proof(site, ["dns"])
              if check.function == "server_answers"}  # fmt: skip
    assert proven == {("phoenix", "phoenix"), ("names", "names")}, "others rest on the guard"


@pytest.mark.parametrize(("killed", "address"), [("phoenix", FIRST), ("names", SECOND)])
def test_one_that_is_down_is_the_one_cause_and_stops_no_request(
    site: Site, killed: str, address: IPv4Address
) -> None:
    def fault(check: Any) -> str:
        if (check.host, check.unit) == (killed, "phoenix-dns.service"):
            return "it is inactive"
        asks = check.function == "server_answers" and check.target == killed
        return f"the name server {address} does not answer" if asks else ""

    outcomes = [Outcome(check, fault(check)) for check in checks(site)]
    walked = walk(paths(site), Findings(outcomes))
    (cause,) = causes(walked, {}, {check: n for n, check in enumerate(checks(site))})
    assert cause.outcome.fault == "it is inactive"
    assert cause.breaks == (f"{killed} answers names",)


def test_the_picture_and_the_changes_of_a_service_have_both(site: Site) -> None:
    picture = topology(site)
    ends = {(link.source, link.target) for link in picture.links if link.kind == "names"}
    assert ("client", "dns") in ends
    assert ("client", "guest-104") in ends
    assert ("dns", "guest-104") in ends
    assert ("guest-104", "guest-104") not in ends
    (box,) = [box for box in picture.boxes if box.name == "names"]
    assert "name server" in box.about
    shop = site.service("shop")
    assert {"phoenix", "names"} <= {host.name for host in hosts_of(site, shop)}


def test_one_that_leaves_the_declaration_is_told_with_its_command(
    site: Site, tmp_path: Path
) -> None:
    assert "dns" in trees_of(site, site.host("names"))
    declaration = with_second()
    del declaration.lxc["lxc_configs"]["104"]["role"]
    after = declaration.load(tmp_path / "after")
    placed = {**sightings_of(after).placed, "names": Placed(trees=("dns",))}
    (item,) = undeclared(after, sightings_of(after, site, placed=placed)).items
    assert (item.kind, item.name, item.host) == ("component", "dns", "names")
    assert item.command == "phoenix remove dns@names"


# -- the check, run for real -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dig", "fault"),
    [
        ("echo 10.0.0.2; echo 10.0.0.1", ""),
        (
            "echo 10.0.0.1",
            "the name server 10.0.0.25 says 10.0.0.1 for a.test, not 10.0.0.1 10.0.0.2",
        ),
        (":", "the name server 10.0.0.25 says nothing for a.test, not 10.0.0.1 10.0.0.2"),
        (
            "echo ';; no servers could be reached'; exit 9",
            "the name server 10.0.0.25 does not answer",
        ),
    ],
)
def test_a_server_is_asked_by_itself(tmp_path: Path, dig: str, fault: str) -> None:
    (tmp_path / "bin").mkdir()
    guest = Guest(tmp_path)
    guest.program("sleep", "")
    guest.program("dig", dig)
    (message,) = guest.run_checks("server_answers 10.0.0.25 a.test=10.0.0.1,10.0.0.2")
    assert message.startswith(fault), message
    assert bool(message) == bool(fault)
    assert "@10.0.0.25" in guest.calls("dig")[0]


def test_another_resolver_is_kept_on_the_hypervisor_alone(site: Site) -> None:
    for host, refused in (("phoenix", False), ("names", True)):
        (place,) = [
            candidate for candidate in places(site, site.host(host)) if candidate.kind == "resolver"
        ]
        other = Listener(
            "resolver", "udp", str(site.host(host).address), 53, "named", unit="named.service"
        )
        verdict = decide([place], ExistingServices((other,)), TakingOver(resolver="keep"))
        assert bool(verdict.refused) == refused
        asked = "\n".join(decide([place], ExistingServices((other,)), TakingOver()).refused)
        assert ("'resolver': 'keep'" in asked) != refused
        assert "'resolver': 'replace'" in asked
