"""Several Traefiks: what each has, who connects to each, and what one that is out costs."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
import yaml

from phoenix.components.deployed_secrets import traces
from phoenix.components.nginx.nginx_conf import nginx_config
from phoenix.components.taking_over.existing_services import places
from phoenix.components.traefik import traefik_yml
from phoenix.derived import firewall, home
from phoenix.derived.certificates import certificates
from phoenix.derived.components import component_hosts, hosts_of, trees_of
from phoenix.derived.connections import connections
from phoenix.derived.endpoints import endpoints
from phoenix.explain.explanation import explain
from phoenix.explain.model import Explanation
from phoenix.graph.svg import svg
from phoenix.graph.topology import topology
from phoenix.health.checks import checks
from phoenix.health.paths import paths, request_paths
from phoenix.health.undeclared import Placed, undeclared
from phoenix.site.model import Site
from phoenix.watch.causes import Check, Findings, Outcome, causes, walk
from tests.unit.site_builder import LXC, Declaration, lxc, minimal, problem
from tests.unit.test_networks import two_networks
from tests.unit.test_undeclared import sightings_of

PROXY = "102"


def with_second(**more: Any) -> Declaration:
    declaration = minimal()
    entry = lxc("second", "traefik", 25, dependencies=["103"], boot_order=4, **more)
    declaration.lxc["lxc_configs"]["104"] = entry
    return declaration


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return with_second().load(tmp_path)


def gateway_text(site: Site) -> str:
    return nginx_config(
        site, client_certificate="ab" * 32, hsts_seconds=0, max_body="1m", read_timeout="300s"
    )[0]


def test_each_has_its_own_name_and_the_same_routes(site: Site) -> None:
    assert site.warnings == ()
    assert [host.name for host in site.traefiks] == ["proxy", "second"]
    held = {
        certificate.host.name: certificate.sans
        for certificate in certificates(site)
        if certificate.name == "traefik"
    }
    assert held == {host.name: (host.fqdn,) for host in site.traefiks}
    served = {end.host.name: end.names for end in endpoints(site) if end.port == 443}
    assert served.items() >= held.items()
    first, second = (traefik_yml.dynamic_config(site, on=host) for host in site.traefiks)
    assert first == second == traefik_yml.dynamic_config(site)
    for component in ("traefik", "home", "admission"):
        assert set(component_hosts(component, site)) >= set(site.traefiks)
    assert trees_of(site, site.host("second")) == trees_of(site, site.host("proxy"))
    assert set(hosts_of(site, site.service("shop"))) >= set(site.traefiks)
    known = {(trace.secret, trace.guest) for trace in traces(site)}
    assert {host for secret, host in known if "dashboard" in secret} == {"proxy", "second"}
    kinds = [[place.kind for place in places(site, host)] for host in site.traefiks]
    assert kinds == [["traefik", "nginx"]] * 2


def test_each_reaches_every_backend_and_the_gateway_alone_reaches_each(site: Site) -> None:
    gateway, worker = site.host("gateway"), site.host("worker")
    for proxy in site.traefiks:
        to_it = [flow for flow in firewall.flows_to(site, proxy) if flow.port == 443]
        assert [flow.source for flow in to_it] == [gateway]
    to_shop = {flow.source for flow in firewall.flows_to(site, worker) if flow.port == 8000}
    assert to_shop == set(site.traefiks)
    pairs = {
        (connection.source.name, connection.target.name, connection.server_name)
        for connection in connections(site)
    }
    assert pairs >= {("gateway", proxy.name, proxy.fqdn) for proxy in site.traefiks}
    assert pairs >= {(proxy.name, "worker", "shop.stack.internal.thinkheads.ai") for proxy in
                    site.traefiks}  # fmt: skip


def test_in_two_networks_each_has_the_addresses_of_its_own(tmp_path: Path) -> None:
    declaration = two_networks()
    guests = declaration.lxc["lxc_configs"]
    guests["104"] = lxc("second", "traefik", 25, dependencies=["103"])
    guests["101"]["network_config"] = {"ip": "10.0.0.20/24"}
    site = declaration.load(tmp_path)
    inner, outer = site.host("proxy"), site.host("second")

    def admitted(proxy: Any) -> list[str]:
        text, _ = traefik_yml.dynamic_config(site, on=proxy)
        middlewares = yaml.safe_load(text)["http"]["middlewares"]
        admitted: list[str] = middlewares["from-gateway"]["ipAllowList"]["sourceRange"]
        return admitted

    assert admitted(inner) == ["172.16.9.10/32"]
    assert admitted(outer) == ["10.0.0.20/32"]
    for proxy in (inner, outer):
        static = yaml.safe_load(traefik_yml.static_config(site, on=proxy, metrics=False))
        believed = static["entryPoints"]["websecure"]["forwardedHeaders"]
        assert believed == {"trustedIPs": admitted(proxy)}
    text = gateway_text(site)
    assert "server 172.16.9.12:443 max_fails=1" in text
    assert "server 10.0.0.25:443 max_fails=1" in text


def test_the_gateway_verifies_the_name_of_the_one_that_it_asks(site: Site) -> None:
    text = gateway_text(site)
    for host in site.traefiks:
        pattern = str(host.address).replace(".", "\\.")
        assert f'"~(^|[^0-9.]){pattern}:443$" {host.fqdn};' in text
        assert f"server {host.address}:443 max_fails=0 backup;" in text, "none is out for good"
    assert text.count("keepalive_timeout 5s;") == text.count("keepalive 64;"), (
        "few kept connections lead to one that goes silent"
    )
    assert "volatile;" in text
    assert "proxy_ssl_name $traefik_name;" in text
    assert "proxy_ssl_verify on;" in text
    # One more than there are: the one that has just failed may be among those that are all tried.
    assert "proxy_next_upstream_tries 3;" in text
    assert "non_idempotent" not in text


def test_with_one_the_gateway_asks_it_twice(tmp_path: Path) -> None:
    text = gateway_text(minimal().load(tmp_path))
    assert text.count("server 10.0.0.21:443 max_fails=0;") == 2
    assert "keepalive_timeout 60s;" in text
    assert "$traefik_name" not in text
    assert "backup" not in text


def test_no_host_is_gateway_and_traefik(tmp_path: Path) -> None:
    declaration = with_second()
    declaration.lxc["lxc_configs"]["101"]["features"] = ["traefik"]
    finding = problem(declaration.refused(tmp_path), LXC, "lxc_configs.101.role")
    assert "both the gateway and Traefik" in finding.message


def test_what_one_leaves_away_is_nowhere(tmp_path: Path) -> None:
    site = with_second(leave_alone=["start_page"]).load(tmp_path / "one")
    assert home.served_by(site) == ()
    assert "home" not in site.services_by_name
    site = with_second().load(tmp_path / "none")
    assert home.served_by(site) == site.traefiks


def test_each_watched_one_gets_the_page_from_the_watcher(tmp_path: Path) -> None:
    declaration = with_second()
    declaration.lxc.setdefault("site", {})["watcher"] = "worker"
    site = declaration.load(tmp_path / "both")
    assert home.watched_by(site) == site.traefiks
    declaration.lxc["lxc_configs"]["104"]["leave_alone"] = ["watch"]
    assert [host.name for host in home.watched_by(declaration.load(tmp_path / "one"))] == ["proxy"]


def stopped(proxy: str) -> Any:
    """What checks find where Traefik does not run on a guest."""

    def fault(check: Check) -> str:
        if (check.host, check.unit) == (proxy, "traefik.service"):
            return "it is inactive"
        if check.host == proxy and check.function == "router_is_enabled":
            return "Traefik's API does not answer"
        if check.host == proxy and check.function == "pair_is_served":
            return "nothing answers"
        asks = check.target == proxy and check.host == "gateway" and check.port == 443
        return f"{proxy} does not answer" if asks else ""

    return fault


@pytest.mark.parametrize("proxy", ["proxy", "second"])
def test_one_that_is_out_is_the_one_cause_and_stops_no_request(site: Site, proxy: str) -> None:
    fault = stopped(proxy)
    outcomes = [Outcome(check, fault(check)) for check in checks(site)]
    walked = walk(paths(site), Findings(outcomes))
    first, *_ = causes(walked, {}, {check: n for n, check in enumerate(checks(site))})
    assert first.outcome.fault == "it is inactive"
    assert first.outcome.check.host == proxy
    assert f"{proxy} routes requests" in first.breaks
    assert not [state for state in walked if state.path.kind == "request" and state.state != "ok"]


@pytest.mark.parametrize("proxy", ["proxy", "second"])
def test_one_whose_guest_is_silent_leaves_no_request_in_doubt(site: Site, proxy: str) -> None:
    fault = stopped(proxy)
    outcomes = [Outcome(check, fault(check)) for check in checks(site) if check.host != proxy]
    walked = walk(paths(site), Findings(outcomes, {proxy: "no route to host"}))
    assert {state.state for state in walked if state.path.kind == "request"} == {"ok"}
    (own,) = [state for state in walked if state.path.name == f"{proxy} routes requests"]
    assert own.state == "broken"


def test_every_check_is_on_a_path_and_no_two_are_called_alike(site: Site) -> None:
    on_paths = {check for path in paths(site) for check in path.checks}
    assert on_paths == set(checks(site))
    titles = [check.title for check in checks(site)]
    assert len(set(titles)) == len(titles)
    own = [path for path in paths(site) if path.kind == "proxy"]
    assert [path.hops[0].source for path in own] == ["proxy", "second"], "doctor tells it"
    shop = request_paths(site)["shop"]
    assert {"proxy", "second"} <= shop.hosts, "both must reach its backend"


def test_picture_and_explanation_have_both(site: Site) -> None:
    picture = topology(site)
    ends = {(link.source, link.target) for link in picture.links if link.kind == "request"}
    assert ends >= {("guest-101", "guest-102"), ("guest-101", "guest-104")}
    assert ends >= {("guest-102", "service-shop"), ("guest-104", "service-shop")}
    assert [box.name for box in picture.at("proxy")] == ["proxy", "second"]
    assert "second" in svg(picture)
    shop = explain(site, "shop")
    assert isinstance(shop, Explanation)
    assert shop.gateway is not None
    assert any("second, 10.0.0.25" in line for line in shop.gateway.further)
    assert {flow.source for flow in shop.flows if flow.destination == "worker"} >= {
        "proxy", "second",
    }  # fmt: skip


def test_external_services_and_who_is_asked_are_reached_by_each(tmp_path: Path) -> None:
    declaration = with_second()
    declaration.lxc["external_services"] = [
        {"name": "nas", "address": "10.0.0.99", "port": 5001, "scheme": "https"}
    ]
    site = declaration.load(tmp_path)
    sources = {flow.source for flow in firewall.flows(site) if flow.port == 5001}
    assert sources == set(site.traefiks)
    asking = {check.host for check in checks(site) if check.service == "nas"}
    assert asking >= {"proxy", "second"}


def test_one_that_leaves_the_declaration_is_told_with_its_commands(
    site: Site, tmp_path: Path
) -> None:
    declaration = with_second()
    del declaration.lxc["lxc_configs"]["104"]["role"]
    after = declaration.load(tmp_path / "after")
    trees = tuple(trees_of(site, site.host("second")))
    placed = {**sightings_of(after).placed, "second": Placed(trees=trees)}
    items = undeclared(after, sightings_of(after, site, placed=placed)).items
    assert {item.host for item in items} == {"second"}
    commands = {item.command for item in items}
    assert "phoenix remove traefik@second" in commands
    assert "phoenix remove home@second" in commands


def test_addresses_that_end_alike_are_told_apart(tmp_path: Path) -> None:
    """10.0.0.21 and 110.0.0.21 say, in a list of the addresses that were tried."""
    text = gateway_text(with_second().load(tmp_path))
    assert IPv4Address("10.0.0.21") in [guest.address for guest in minimal().load(tmp_path).guests]
    assert '"~(^|[^0-9.])10\\.0\\.0\\.21:443$"' in text
