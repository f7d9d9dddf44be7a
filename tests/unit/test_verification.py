"""What is checked follows from the site; what is told is the first cause."""

from __future__ import annotations

from pathlib import Path

import pytest

from phoenix.components.portainer.tunnel import agent_url
from phoenix.components.step_ca.authority import DATABASE
from phoenix.derived import control_plane
from phoenix.derived.routes import routes
from phoenix.files import text
from phoenix.health.checks import ISSUED, checks
from phoenix.health.diagnosis import diagnose
from phoenix.health.paths import paths
from phoenix.health.verdict import verdict
from phoenix.site.model import Site
from phoenix.watch.causes import LAYERS, Findings, Outcome
from tests.unit.site_builder import minimal

SCRIPT = text(DATABASE, "health/checks.sh")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return minimal().load(tmp_path)


def words(site: Site, host: str, function: str) -> list[tuple[str, ...]]:
    return [
        check.command[1:]
        for check in checks(site)
        if check.host == host and check.function == function
    ]


def test_every_check_is_a_function_of_the_script_without_a_tab(site: Site) -> None:
    site_checks = checks(site)
    assert len(site_checks) > 50, len(site_checks)
    for check in site_checks:
        in_script = f"\n{check.function}() {{" in SCRIPT
        assert in_script or check.function == ISSUED, f"checks.sh has no {check.function}"
        assert all(word and "\t" not in word for word in check.command), check
    assert {check.host for check in site_checks} == {host.name for host in site.hosts}
    order = [LAYERS.index(check.layer) for check in site_checks]
    assert order == sorted(order)


def test_every_route_is_asked_for_and_has_its_router(site: Site) -> None:
    urls = {url for _, url, _ in words(site, site.hypervisor.name, "request_gives")}
    routers = " ".join(str(command) for command in words(site, "proxy", "router_is_enabled"))
    assert len(routes(site)) >= 3
    for route in routes(site):
        assert any(url.startswith(f"https://{route.fqdn}/") for url in urls), (route.fqdn, urls)
        assert f"/{route.service.name}@file" in routers, routers


def test_agent_is_open_to_the_server_and_shut_to_others(site: Site) -> None:
    worker = str(site.host("worker").address)
    where = (worker, "9001")
    assert where in words(site, "control", "port_answers")
    without_proof = words(site, "control", "serves_no_stranger")
    assert (worker, site.host("worker").fqdn, "9001") in without_proof
    (shut,) = (word for word in words(site, "phoenix", "ports_are_shut") if word[0] == worker)
    (to_containers,) = words(site, "worker", "ports_are_shut_to_containers")
    assert "9001" in shut
    assert "9001" in to_containers
    assert words(site, "control", "agent_pings") == [
        (agent_url(control_plane.agent(site, site.host("worker"))).replace("tcp", "https"),)
    ]


def test_stacks_are_checked_in_portainer_and_in_docker(site: Site) -> None:
    active = words(site, "control", "stack_is_active")
    assert [command[-2:] for command in active] == [
        (site.host("worker").portainer_environment, "shop-production")
    ]
    assert words(site, "worker", "containers_are_well") == [("shop-production",)]
    assert [host.name for host in site.docker_hosts] == ["control", "worker"]
    for host in site.docker_hosts:
        assert words(site, host.name, "docker_has_no_port") == [()]
        assert ("docker.service",) in words(site, host.name, "unit_runs")


def test_no_check_has_a_secret_in_its_words(site: Site) -> None:
    for check in checks(site):
        assert not any("X-API-Key" in word for word in check.command), check


def verdicts_of(site: Site, faults: dict[str, str], failed: tuple[str, ...] = ()) -> dict[str, str]:
    """Each host's verdict where the checks with these titles find these faults."""
    outcomes = [Outcome(c, faults.pop(c.title, "")) for c in checks(site) if c.host not in failed]
    assert faults == {}, "no check has that title"
    silent = dict.fromkeys(failed, "its checks were not run")
    diagnosis = diagnose(site, paths(site), Findings(outcomes, silent))
    return {
        host.name: verdict(diagnosis, [o for o in outcomes if o.check.host == host.name], failed)
        for host in site.hosts
    }


TRAEFIK = "service on proxy: Traefik (traefik.service)"
ROUTER = "router on proxy: the router for shop.internal.thinkheads.ai"
NGINX_TO_TRAEFIK = "tcp on gateway: Nginx to Traefik"


def test_each_host_tells_its_own_faults_and_where_the_first_is(site: Site) -> None:
    verdicts = verdicts_of(
        site, {TRAEFIK: "is inactive", ROUTER: "no", NGINX_TO_TRAEFIK: "no answer"}
    )
    first, fix, *rest = verdicts["proxy"].splitlines()
    assert first == "first cause: service: Traefik (traefik.service): is inactive"
    assert "phoenix sync traefik" in fix
    assert rest == ["router: the router for shop.internal.thinkheads.ai: no"]
    assert verdicts["gateway"].splitlines() == [
        "tcp: Nginx to Traefik: no answer",
        "(first cause: service on proxy: Traefik (traefik.service))",
    ]
    assert {host for host, text in verdicts.items() if text} == {"proxy", "gateway"}


def test_who_failed_before_is_named_beside_the_first_cause_that_a_check_found(site: Site) -> None:
    verdicts = verdicts_of(
        site, {TRAEFIK: "is inactive", NGINX_TO_TRAEFIK: "no"}, failed=("worker",)
    )
    first, fix, *rest = verdicts["proxy"].splitlines()
    assert first.startswith("first cause: service: Traefik (traefik.service): is inactive")
    assert fix.startswith("likely fix: the log says why it ended")
    assert rest == ["(look first at worker: the run did not finish there)"]
    assert "likely fix" not in verdicts["gateway"]


def test_certificate_that_is_over_explains_the_tls_that_is_refused(site: Site) -> None:
    verdicts = verdicts_of(
        site,
        {
            "tls on gateway: Nginx to Traefik": "certificate has expired",
            "certificate on proxy: the pair /etc/phoenix/tls/traefik": "has expired",
        },
    )
    assert verdicts["proxy"].startswith("first cause: certificate: the pair")
    assert "first cause: tls" not in verdicts["gateway"]


def test_no_two_checks_have_the_same_title(site: Site) -> None:
    titles = [check.title for check in checks(site)]
    assert len(set(titles)) == len(titles)


def test_what_a_check_is_about_is_in_its_fields(site: Site) -> None:
    by_title = {check.title: check for check in checks(site)}
    backend = by_title["tls on proxy: Traefik to shop on worker"]
    assert (backend.service, backend.target, backend.port) == ("shop", "worker", 8000)
    assert backend.name == "shop.stack.internal.thinkheads.ai"
    timer = by_title["service on gateway: renewal of the certificate (phoenix-acme@gateway.timer)"]
    assert (timer.unit, timer.certificate) == ("phoenix-acme@gateway.timer", "gateway")
    stack = by_title["http on control: the stack shop-production on worker in Portainer"]
    assert (stack.stack, stack.endpoint, stack.target) == ("shop-production", "worker", "worker")
    assert by_title["service on control: Portainer (phoenix-portainer.service)"].service == (
        "portainer"
    )
