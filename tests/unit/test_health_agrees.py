"""Start page, status, doctor, explain, verdict and run summary say the same of every single fault.

Each check of the example site fails alone; the five must name the same services as broken, and the
same first cause.
"""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from functools import cache

import pytest
from rich.console import Console

from phoenix.cli.reports.doctor import Report, print_report
from phoenix.components.x509 import CertificateInfo
from phoenix.declaration.load import load_site
from phoenix.derived.endpoints import endpoints
from phoenix.explain.explanation import explain
from phoenix.explain.model import Explanation
from phoenix.health.checks import checks
from phoenix.health.diagnosis import Diagnosis, diagnose
from phoenix.health.observation import Observed
from phoenix.health.page import Page, Stamp
from phoenix.health.page import build as build_page
from phoenix.health.paths import paths, select
from phoenix.health.served import served
from phoenix.health.status import Drift, Status
from phoenix.health.status import build as build_status
from phoenix.health.verdict import verdict
from phoenix.runs.results import FIRST_CAUSE, Course
from phoenix.runs.revision import NONE
from phoenix.site.model import Service, Site
from phoenix.watch.causes import Check, Findings, Outcome
from tests.unit.project_copy import ROOT

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
FAULT = "is not as it should be"
STEP = "deploys/verify.py | Verify: verdict"


@cache
def example() -> Site:
    return load_site(ROOT / "inventories")


@cache
def explained(name: str) -> frozenset[str]:
    explanation = explain(example(), name)
    assert isinstance(explanation, Explanation), name
    return frozenset(explanation.checks)


def routed(site: Site) -> list[Service]:
    return [service for service in site.services if service.exposure == "gateway"]


def page_of(site: Site, outcomes: list[Outcome], diagnosis: Diagnosis) -> Page:
    start, end = NOW - timedelta(hours=4), NOW + timedelta(hours=20)
    leaf = CertificateInfo("x", ("x",), (), "The CA", start, end, "ab12", "", "", is_ca=False)
    records = [served(endpoint, leaf, "") for endpoint in endpoints(site)]
    return build_page(
        site, outcomes, diagnosis, records, NONE, Stamp(at=NOW, by="ann@desk", old_at=NOW)
    )


def status_of(site: Site, outcomes: list[Outcome], diagnosis: Diagnosis) -> Status:
    return build_status(site, "a site", Observed({}, {}), outcomes, diagnosis, Drift(), NOW)


def summary_host(outcomes: list[Outcome], diagnosis: Diagnosis) -> tuple[str, str]:
    """The host that a run's summary names, and its first words, as a verification tells them."""
    course = Course()
    assert diagnosis.first_cause is not None
    for host in dict.fromkeys(o.check.host for o in outcomes if o.fault):
        verdicts = verdict(diagnosis, [o for o in outcomes if o.check.host == host])
        course.add({"event": "value", "name": FIRST_CAUSE, "host": host,
                    "data": diagnosis.first_cause.host})  # fmt: skip
        course.add({"event": "line", "step": STEP, "host": host, "text": verdicts})
        course.add({"event": "host_failed", "step": STEP, "host": host})
    assert course.first_cause is not None
    return course.first_cause.host, course.first_cause.reason[0]


@pytest.mark.parametrize("failing", checks(example()), ids=lambda check: check.title)
def test_one_fault_is_told_alike_everywhere(failing: Check) -> None:
    site = example()
    outcomes = [Outcome(check, FAULT if check == failing else "") for check in checks(site)]
    diagnosis = diagnose(site, paths(site), Findings(outcomes))
    place = (failing.layer, failing.host, failing.hop)

    # The services that are broken.
    broken = {path.name.removeprefix("https://") for path in diagnosis.paths
              if path.kind == "request" and path.state == "broken"}  # fmt: skip
    page, status = page_of(site, outcomes, diagnosis), status_of(site, outcomes, diagnosis)
    services = {service.name: service for service in routed(site)}
    on_page = {services[row.name].fqdn for row in page.services if row.health.state == "broken"}
    shown_names = {services[row.name].fqdn for row in page.services}
    in_status = {services[row.name].fqdn for row in status.services if row.state == "broken"}
    by_explain = {
        service.fqdn for service in services.values() if failing.title in explained(service.name)
    }
    assert on_page == broken & shown_names
    assert in_status == broken
    assert by_explain == broken
    assert {row.name for row in page.services if row.health.failed} == {
        row.name for row in page.services if row.health.state == "broken"
    }

    # Its cause.
    first = diagnosis.first_cause
    assert first is not None
    assert (first.layer, first.host, first.hop) == place
    assert diagnosis.causes == (first,), "one fault is one cause"
    assert {name.removeprefix("https://") for name in first.breaks if "://" in name} == broken
    assert status.first_cause == first
    assert page.health.state == "broken"
    for health in (page.health, *(row.health for row in page.services if row.health.failed)):
        assert health.first_cause is not None
        assert (health.first_cause.layer, health.first_cause.host, health.first_cause.hop) == place
    assert {row.name for row in page.hosts if row.health.state == "broken"} == {failing.host}
    host, words = summary_host(outcomes, diagnosis)
    assert (host, words) == (
        failing.host,
        f"first cause: {failing.layer}: {failing.hop}: {FAULT}",
    )

    # Portainer's endpoints and stacks.
    stacks = {row.name for row in status.stacks if row.state == "broken"}
    assert stacks == {row.name for row in status.stacks if failing.title in explained(row.name)}
    agents = {service.owner.portainer_environment for service in site.services
              if service.kind == "agent" and failing.title in explained(service.name)}  # fmt: skip
    assert {row.name for row in status.endpoints if row.state == "broken"} == agents


@pytest.mark.parametrize("silent", [host.name for host in example().hosts])
def test_one_silent_host_is_told_alike_everywhere(silent: str) -> None:
    site = example()
    outcomes = [Outcome(check, "") for check in checks(site) if check.host != silent]
    diagnosis = diagnose(site, paths(site), Findings(outcomes, {silent: "no route to host"}))
    of_path = {report.name.removeprefix("https://"): report.state for report in diagnosis.paths}
    page, status = page_of(site, outcomes, diagnosis), status_of(site, outcomes, diagnosis)
    fqdns = {service.name: service.fqdn for service in routed(site)}
    states = [(row.name, row.state) for row in status.services]
    states += [(row.name, row.health.state) for row in page.services]
    for name, state in states:
        assert state == of_path[fqdns[name]]
        assert (state == "unknown") == (silent == site.hypervisor.name), "it makes the requests"
    assert diagnosis.first_cause is not None
    assert (diagnosis.first_cause.layer, diagnosis.first_cause.host) == ("reach", silent)
    assert status.first_cause == diagnosis.first_cause
    assert page.health.first_cause is not None
    assert page.health.first_cause.host == silent
    assert page.health.state == "unknown"


@pytest.mark.parametrize("name", ["app", "portainer", "qdrant", "traefik", "ca", "portainer-agent"])
def test_doctor_of_a_name_walks_every_check_that_explain_lists(name: str) -> None:
    site = example()
    walked = {check.title for path in select(site, name) for check in path.checks}
    assert explained(name) - walked == frozenset()
    assert len(explained(name)) > 5


def test_doctor_prints_the_cause_that_it_reports() -> None:
    site = example()
    failing = next(check for check in checks(site) if check.unit == "traefik.service")
    outcomes = [Outcome(check, FAULT if check == failing else "") for check in checks(site)]
    diagnosis = diagnose(site, paths(site), Findings(outcomes))
    stream = io.StringIO()
    print_report(Console(file=stream), Report.of("a site", "", diagnosis))
    assert stream.getvalue().startswith(f"first cause: {failing.title}\n")
