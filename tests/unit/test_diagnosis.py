"""The true cause comes first, whatever else it breaks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from phoenix.components.portainer.compose_files import AGENT_UNIT, SERVER_UNIT
from phoenix.components.portainer.tunnel import UNIT as TUNNEL_UNIT
from phoenix.components.trust import ROOTS
from phoenix.derived.routes import routes
from phoenix.health.checks import checks
from phoenix.health.diagnosis import Cause, Diagnosis, diagnose
from phoenix.health.paths import paths, select
from phoenix.site.model import Site
from phoenix.watch.causes import Check, Findings, Outcome
from tests.unit.site_builder import minimal

Broken = Callable[[Check], str]

UNITS_OF_DOCKER = ("docker.service", AGENT_UNIT, SERVER_UNIT)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return minimal().load(tmp_path)


def diagnosed(
    site: Site, faults: Broken, silent: dict[str, str] | None = None, name: str = ""
) -> Diagnosis:
    """The diagnosis where `faults` says what each check finds, and `silent` are not asked."""
    outcomes = [
        Outcome(check, faults(check)) for check in checks(site) if check.host not in (silent or {})
    ]
    chosen = select(site, name) if name else paths(site)
    return diagnose(site, chosen, Findings(outcomes, silent or {}))


def states(diagnosis: Diagnosis, name: str) -> list[str]:
    (path,) = [path for path in diagnosis.paths if path.name == name]
    return [hop.state for hop in path.hops]


def test_all_well(site: Site) -> None:
    diagnosis = diagnosed(site, lambda check: "")
    assert diagnosis.first_cause is None
    assert {path.state for path in diagnosis.paths} == {"ok"}
    assert {path.cause for path in diagnosis.paths} == {None}


def stopped_proxy(check: Check) -> str:
    if (check.host, check.unit) == ("proxy", "traefik.service"):
        return "is inactive"
    at_proxy = check.target == "proxy" and check.function in ("port_answers", "tls_verifies")
    return "no" if at_proxy or check.function in ("router_is_enabled", "request_gives") else ""


def test_stopped_service_before_what_it_breaks(site: Site) -> None:
    diagnosis = diagnosed(site, stopped_proxy)
    first = diagnosis.first_cause
    assert first is not None
    assert (first.layer, first.host, first.fault) == ("service", "proxy", "is inactive")
    assert len(diagnosis.causes) == 1
    assert set(first.breaks) == {f"https://{route.fqdn}" for route in routes(site)}
    assert states(diagnosis, f"https://shop.{site.domain}") == [
        "ok", "ok", "broken", "follows", "ok", "follows",
    ]  # fmt: skip


def expired(check: Check) -> str:
    if check.function == "pair_fits" and check.host == "gateway":
        return "the certificate has expired"
    if check.target == "gateway" and check.function in ("served_is_fresh", "tls_verifies"):
        return "expired"
    return "refused" if check.function == "request_gives" else ""


def test_expired_certificate_before_tls(site: Site) -> None:
    first = diagnosed(site, expired).first_cause
    assert first is not None
    assert (first.layer, first.host) == ("certificate", "gateway")
    assert "expired" in first.fault


def test_stopped_ca_before_the_certificate_that_expired_for_it(site: Site) -> None:
    def both(check: Check) -> str:
        return "is inactive" if check.unit == "step-ca.service" else expired(check)

    causes = diagnosed(site, both).causes
    assert [(cause.layer, cause.host) for cause in causes] == [
        ("service", "authority"),
        ("certificate", "gateway"),
    ]


def test_a_docker_that_is_stopped_is_one_cause_of_all_that_runs_by_it(site: Site) -> None:
    """Units of containers end with it, and nobody can be asked within a container's network."""
    for host in site.docker_hosts:

        def stopped(check: Check, name: str = host.name) -> str:
            if check.host != name:
                return ""
            if check.function == "ports_are_shut_to_containers":
                return "Docker does not list its containers"
            return "is inactive" if check.unit in UNITS_OF_DOCKER else ""

        causes = [cause for cause in diagnosed(site, stopped).causes if cause.host == host.name]
        assert [cause.hop for cause in causes] == ["Docker (docker.service)"]


def test_a_tunnel_that_is_stopped_is_one_cause_of_its_endpoint(site: Site) -> None:
    assert site.portainer
    server = site.portainer.name

    def stopped(check: Check) -> str:
        if check.unit == TUNNEL_UNIT and check.host == server:
            return "is inactive"
        return "is down" if check.function == "endpoint_is_up" else ""

    (cause,) = diagnosed(site, stopped).causes
    assert (cause.host, TUNNEL_UNIT in cause.hop) == (server, True)


def test_a_host_without_roots_is_one_cause_whatever_it_cannot_prove(site: Site) -> None:
    for host in site.hosts:
        assert [cause.host for cause in without_roots(site, host.name)] == [host.name]


def without_roots(site: Site, host: str) -> tuple[Cause, ...]:
    def no_roots(check: Check) -> str:
        if check.host != host or ROOTS not in check.command:
            return ""
        alone = check.function == "roots_are_there"
        return f"{ROOTS} is missing" if alone else f"no to {check.target} {check.name}"

    causes = diagnosed(site, no_roots).causes
    assert {cause.fault for cause in causes} == {f"{ROOTS} is missing"}
    return causes


def test_two_hosts_that_lack_the_same_file_are_two_causes(site: Site) -> None:
    def no_roots(check: Check) -> str:
        lacks = check.host in ("gateway", "proxy") and check.function == "roots_are_there"
        return f"{ROOTS} is missing" if lacks else ""

    assert {cause.host for cause in diagnosed(site, no_roots).causes} == {"gateway", "proxy"}


def test_wrong_record_is_one_cause_however_many_see_it(site: Site) -> None:
    def names_fail(check: Check) -> str:
        concerned = any(word.startswith(f"shop.{site.domain}=") for word in check.command)
        return "shop is 10.9.9.9 here, not 10.0.0.20;" if concerned else ""

    diagnosis = diagnosed(site, names_fail)
    (cause,) = diagnosis.causes
    assert (cause.layer, cause.host) == ("dns", site.hypervisor.name)
    assert set(cause.seen_by) == {host.name for host in site.hosts}
    broken = {path.name for path in diagnosis.paths if path.state == "broken"}
    assert broken == {f"https://shop.{site.domain}", *(f"{h.name} asks DNS" for h in site.hosts)}


def test_names_that_one_host_does_not_know_are_one_cause_with_each_of_them(site: Site) -> None:
    """Its resolver is another one: as many alarms as names would hide what it is."""

    def unknown(check: Check) -> str:
        concerned = check.function == "names_resolve" and check.host == site.hypervisor.name
        return f"{check.name or 'others'} unknown here;" if concerned else ""

    (cause,) = diagnosed(site, unknown).causes
    assert (cause.layer, cause.host) == ("dns", site.hypervisor.name)
    for route in routes(site):
        assert f"{route.fqdn} unknown here;" in cause.fault
        assert f"https://{route.fqdn}" in cause.breaks


def test_two_hosts_with_wrong_names_of_their_own_are_two_causes(site: Site) -> None:
    def names_fail(check: Check) -> str:
        concerned = check.function == "names_resolve" and check.host in ("gateway", "proxy")
        return f"as {check.host} has it;" if concerned else ""

    assert {cause.host for cause in diagnosed(site, names_fail).causes} == {"gateway", "proxy"}


def test_unreachable_guest_before_faults_of_those_who_need_it(site: Site) -> None:
    def behind(check: Check) -> str:
        return "no answer" if check.target == "worker" and check.layer in ("tcp", "tls") else ""

    diagnosis = diagnosed(site, behind, {"worker": "does not answer by SSH"})
    assert [(cause.layer, cause.host) for cause in diagnosis.causes] == [("reach", "worker")]
    assert states(diagnosis, f"https://shop.{site.domain}")[4:] == ["broken", "ok"]
    (path,) = [path for path in diagnosis.paths if path.name == "worker asks DNS"]
    assert path.state == "unknown"


def test_silent_guest_that_works_hides_a_hop_and_breaks_none(site: Site) -> None:
    diagnosis = diagnosed(site, lambda check: "", {"proxy": "does not answer by SSH"})
    assert [(cause.layer, cause.host) for cause in diagnosis.causes] == [("reach", "proxy")]
    assert states(diagnosis, f"https://shop.{site.domain}") == [
        "ok", "ok", "unknown", "unknown", "unknown", "ok",
    ]  # fmt: skip
    assert {path.state for path in diagnosis.paths} == {"ok", "unknown"}


def test_nobody_answers(site: Site) -> None:
    diagnosis = diagnosed(site, lambda check: "", {host.name: "no" for host in site.hosts})
    assert {cause.host for cause in diagnosis.causes} == {host.name for host in site.hosts}
    assert {path.state for path in diagnosis.paths} == {"unknown"}


def test_two_stopped_services_are_two_causes(site: Site) -> None:
    def both(check: Check) -> str:
        stopped = [("worker", "docker.service"), ("authority", "step-ca.service")]
        return "is inactive" if (check.host, check.unit) in stopped else ""

    causes = diagnosed(site, both).causes
    assert [(cause.host, cause.fault) for cause in causes] == [
        ("authority", "is inactive"),
        ("worker", "is inactive"),
    ]


NEEDS_PORTAINER = ("portainer_knows_us", "endpoint_is_up", "stack_is_active")


def test_stopped_name_server_explains_everything(site: Site) -> None:
    def no_dns(check: Check) -> str:
        if check.unit == "phoenix-dns.service":
            return "is inactive"
        needs = (
            *NEEDS_PORTAINER,
            "names_resolve",
            "name_is_unknown",
            "request_gives",
        )
        return "no name server" if check.function in needs else ""

    causes = diagnosed(site, no_dns).causes
    assert [(cause.layer, cause.host) for cause in causes] == [("service", site.hypervisor.name)]


def test_stopped_portainer_explains_what_is_asked_of_it(site: Site) -> None:
    def no_portainer(check: Check) -> str:
        if (check.host, check.unit) == ("control", SERVER_UNIT):
            return "is inactive"
        shut = check.target == "control" and check.function in ("port_answers", "tls_verifies")
        concerned = check.function == "request_gives" and check.service == "portainer"
        return "no" if shut or concerned or check.function in NEEDS_PORTAINER else ""

    causes = diagnosed(site, no_portainer).causes
    assert [(cause.layer, cause.host, cause.hop) for cause in causes] == [
        ("service", "control", f"Portainer ({SERVER_UNIT})")
    ]


def test_open_door_is_told_and_explains_nothing(site: Site) -> None:
    def odd(check: Check) -> str:
        if check.function == "docker_has_no_port" and check.host == "worker":
            return "Docker listens on the network"
        return "502" if check.function == "request_gives" else ""

    causes = diagnosed(site, odd).causes
    assert causes[0].layer == "http"
    assert causes[-1].fault == "Docker listens on the network"


def test_only_what_was_asked_about_is_told(site: Site) -> None:
    assert diagnosed(site, stopped_proxy, name="stack:shop").first_cause is not None
    assert diagnosed(site, stopped_proxy, name="authority").first_cause is None
