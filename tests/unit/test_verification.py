"""What is checked follows from the site; what is told is the first broken hop."""

from __future__ import annotations

from pathlib import Path

import pytest

from phoenix.components.portainer.config import AGENT_PORT
from phoenix.derived.routes import routes
from phoenix.health.checks import LAYERS, Check, Outcome, checks, first_broken, report
from phoenix.site.model import Site
from tests.unit.site_builder import minimal

PROBES = (Path(__file__).parents[2] / "phoenix/health/probe.sh").read_text()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return minimal().load(tmp_path)


def words(site: Site, host: str, probe: str) -> list[tuple[str, ...]]:
    return [
        check.words[1:] for check in checks(site) if check.host == host and check.words[0] == probe
    ]


def test_every_check_is_a_probe_without_a_tab(site: Site) -> None:
    made = checks(site)
    assert len(made) > 50, len(made)
    for check in made:
        assert f"\n{check.words[0]}() {{" in PROBES, f"probe.sh has no {check.words[0]}"
        assert all(word and "\t" not in word for word in check.words), check
    assert {check.host for check in made} == {host.name for host in site.hosts}
    order = [LAYERS.index(check.layer) for check in made]
    assert order == sorted(order)


def test_every_route_is_asked_for_and_has_its_router(site: Site) -> None:
    asked = {url for _, url, _ in words(site, site.hypervisor.name, "request_gives")}
    routers = " ".join(str(one) for one in words(site, "proxy", "router_is_enabled"))
    assert len(routes(site)) >= 3
    for route in routes(site):
        assert any(url.startswith(f"https://{route.fqdn}/") for url in asked), (route.fqdn, asked)
        assert f"/{route.service.name}@file" in routers, routers


def test_agent_is_open_to_the_server_and_shut_to_others(site: Site) -> None:
    worker = str(site.host("worker").address)
    where = (worker, str(AGENT_PORT))
    assert where in words(site, "control", "port_answers")
    assert words(site, site.hypervisor.name, "port_is_shut") == [where]
    assert words(site, "control", "agent_pings") == [
        (f"https://portainer-agent.{site.domain}:{AGENT_PORT}",)
    ]


def test_stacks_are_checked_in_portainer_and_in_docker(site: Site) -> None:
    active = words(site, "control", "stack_is_active")
    assert [one[-2:] for one in active] == [
        (site.host("worker").portainer_environment, "shop-production")
    ]
    assert words(site, "worker", "containers_are_well") == [("shop-production",)]
    assert [host.name for host in site.docker_hosts] == ["worker"]
    assert words(site, "worker", "docker_has_no_port") == [()]
    assert ("docker.service",) in words(site, "worker", "unit_runs")


def test_no_check_has_a_secret_in_its_words(site: Site) -> None:
    for check in checks(site):
        assert not any("X-API-Key" in word for word in check.words), check


def outcome(host: str, layer: str, fault: str, hop: str = "a hop") -> Outcome:
    (known,) = [one for one in LAYERS if one == layer]
    return Outcome(Check(host, known, hop, ("probe",)), fault)


def test_lowest_layer_explains_the_others() -> None:
    http = outcome("a", "http", "502")
    service = outcome("b", "service", "is failed", "the agent")
    good = outcome("a", "service", "")
    assert first_broken([http, good, service]) == service
    assert first_broken([good]) is None
    assert first_broken([]) is None


def test_each_host_tells_its_own_faults_and_where_the_first_is() -> None:
    found = {
        "a": [outcome("a", "http", "502", "a page"), outcome("a", "tcp", "no answer", "a port")],
        "b": [outcome("b", "service", "is failed", "the agent")],
        "c": [outcome("c", "dns", "")],
    }
    assert report(found, "b") == "first broken hop: service: the agent: is failed"
    assert report(found, "a").splitlines() == [
        "tcp: a port: no answer",
        "http: a page: 502",
        "(first broken hop: service on b)",
    ]
    assert report(found, "c") == ""
    assert report(found, "unknown") == ""


def test_first_broken_hop_comes_with_its_mend_and_with_who_failed_before(site: Site) -> None:
    stopped = next(c for c in checks(site) if c.subject == "traefik.service")
    found = {
        "proxy": [Outcome(stopped, "is inactive")],
        "gateway": [outcome("gateway", "tcp", "no")],
    }
    first, mend, *rest = report(found, "proxy", site, ["worker"]).splitlines()
    assert first.startswith("first broken hop: service: Traefik (traefik.service): is inactive")
    assert "phoenix sync traefik" in mend
    assert rest == ["(look first at worker: not all of the run came to its end there)"]
    assert "mend" not in report(found, "gateway", site)


def test_certificate_that_is_over_explains_the_tls_that_is_refused() -> None:
    tls = outcome("a", "tls", "certificate has expired")
    expired = outcome("b", "certificate", "the certificate has expired")
    assert first_broken([tls, expired]) == expired
