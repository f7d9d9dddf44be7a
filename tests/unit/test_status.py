"""The status says what is, who renews what and when, and what nobody could know."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from typer.testing import CliRunner

from phoenix.cli import exits
from phoenix.cli import project as cli_project
from phoenix.cli.app import app
from phoenix.cli.reports import status as report
from phoenix.cli.reports.status import rotation_words
from phoenix.derived.endpoints import Endpoint
from phoenix.health import observation
from phoenix.health.diagnosis import diagnose
from phoenix.health.observation import Observed
from phoenix.health.paths import paths
from phoenix.health.served import Served
from phoenix.health.status import CertificateStatus, Drift, Status, build
from phoenix.runs.process import Finished
from phoenix.runs.results import Course
from phoenix.site.model import Site
from phoenix.watch.causes import Check, Findings
from tests.unit.site_builder import minimal, stack, vm
from tests.unit.test_x509 import Authority

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
START, END = NOW - timedelta(hours=4), NOW + timedelta(hours=20)
LOOK = NOW + timedelta(minutes=30)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return minimal().load(tmp_path)


def project(name: str, **states: str) -> dict[str, Any]:
    """What a host tells of a compose project with these containers."""
    containers = [
        {"name": service, "service": service, "image": "i", "state": state,
         "healthy": state == "running", "created": START}
        for service, state in states.items()
    ]  # fmt: skip
    return {
        "name": name, "deployer": "portainer", "working_dir": "/data/compose/1",
        "containers": containers, "volumes": (), "ports": (),
    }  # fmt: skip


def answers_of(
    site: Site, faults: Callable[[Check], str], **leaf: Any
) -> dict[str, dict[str, Any]]:
    """What `deploys/observe.py` tells of a site, all hosts answering."""
    values = {"serial": "1", "issuer": "CA", "names": ("name",), "not_before": START,
              "not_after": END} | leaf  # fmt: skip

    def served(end: Endpoint) -> dict[str, Any]:
        address, port, server_name = end.target
        place: dict[str, Any] = {"holder": end.host.name, "address": address, "port": port}
        return Served(**place, server_name=server_name, **values).model_dump(mode="json")

    requests = {host.name: observation.request(site, host) for host in site.hosts}
    return {
        observation.CHECKS: {h: [faults(c) for c in q.checks] for h, q in requests.items()},
        observation.CERTIFICATES: {
            h: [served(e) for e in q.endpoints] for h, q in requests.items()
        },
        observation.RENEWALS: {
            h: [{"name": n, "next_look": int(LOOK.timestamp()), "failure": ""} for n in q.renewals]
            for h, q in requests.items()
        },
        observation.CONTAINERS: {
            "worker": [
                project("shop-production", a="running", b="exited"),
                project("else", c="running"),
            ]
        },
        observation.PORTAINER: {
            "control": {
                "version": "2.39.1",
                "endpoints": [{"id": 1, "name": "worker", "url": "tcp://w:9001", "up": False}],
                "stacks": [
                    {"name": "shop-production", "endpoint": "worker", "status": "active"},
                ],
            }
        },
    }


def status(
    site: Site,
    values: dict[str, dict[str, Any]],
    *,
    silent: dict[str, str] | None = None,
    drift: Drift | None = None,
) -> Status:
    hosts = {host.name for host in site.hosts}
    answering = {kind: {h: v for h, v in of.items() if h not in (silent or {})}
            for kind, of in values.items()}  # fmt: skip
    observed = Observed(answering, silent or {})
    outcomes, quiet = observation.outcomes(site, observed, hosts)
    diagnosis = diagnose(site, paths(site), Findings(outcomes, quiet))
    return build(
        site, "a site", Observed(answering, quiet), outcomes, diagnosis, drift or Drift(), NOW
    )


def well(check: Check) -> str:
    return ""


def held_by(site_status: Status, holder: str) -> CertificateStatus:
    return next(
        certificate for certificate in site_status.certificates if certificate.holder == holder
    )


def test_a_failed_renewal_is_told_while_the_certificate_is_still_valid(site: Site) -> None:
    answers = answers_of(site, well)
    note = "2026-11-24 18:05 UTC: port 80 refused"
    (renewal,) = answers[observation.RENEWALS]["gateway"]
    renewal["failure"] = note
    certificate = held_by(status(site, answers), "gateway")
    assert (certificate.state, certificate.fault) == (
        "broken", f"the last renewal failed: {note}",
    )  # fmt: skip
    assert held_by(status(site, answers), "proxy").state == "ok"


def test_all_well(site: Site) -> None:
    site_status = status(site, answers_of(site, well), drift=Drift(looked=True))
    assert not site_status.broken
    assert not site_status.drifted
    assert {guest.drift for guest in site_status.guests} == {0}
    assert [certificate.holder for certificate in site_status.certificates][:2] == [
        "gateway",
        "proxy",
    ]
    authority = held_by(site_status, "authority")
    assert (authority.server_name, authority.names) == (f"ca.{site.domain}", ("name",))
    assert {certificate.hours_left for certificate in site_status.certificates} == {20.0}
    (stack,) = site_status.stacks
    assert (stack.status, stack.containers, stack.healthy) == ("active", 2, 1)
    assert (stack.state, stack.drift) == ("ok", False)


def test_next_renewal_is_the_holders_rule(site: Site) -> None:
    site_status = status(site, answers_of(site, well))
    third = END - timedelta(hours=8)
    assert held_by(site_status, "gateway").next_renewal == third
    assert held_by(site_status, "gateway").renewed_by == "phoenix-acme@gateway.timer"
    assert held_by(site_status, "authority").next_renewal == third
    late = NOW - timedelta(hours=20)
    due = status(site, answers_of(site, well, not_before=late, not_after=NOW + timedelta(hours=4)))
    assert held_by(due, "gateway").next_renewal == LOOK, "it is due: at the timer's next look"


def test_stopped_timer_renews_nothing(site: Site) -> None:
    values = answers_of(site, well)
    values[observation.RENEWALS]["gateway"][0]["next_look"] = None
    certificate = held_by(status(site, values), "gateway")
    assert (certificate.next_renewal, certificate.renewed_by) == (
        None,
        "phoenix-acme@gateway.timer",
    )


def test_expired_and_unverified_certificates_are_broken(site: Site) -> None:
    over = status(site, answers_of(site, well, not_after=NOW - timedelta(hours=1), fault="no"))
    assert over.broken
    assert {(certificate.state, certificate.hours_left) for certificate in over.certificates} == {
        ("broken", -1.0)
    }
    assert "expired" in over.certificates[0].fault
    unverified = status(site, answers_of(site, well, fault="self-signed certificate"))
    assert {certificate.state for certificate in unverified.certificates} == {"broken"}


def test_silent_guest_leaves_the_rest_known(site: Site) -> None:
    site_status = status(site, answers_of(site, well), silent={"gateway": "no route"})
    assert site_status.broken
    guests = {guest.name: guest for guest in site_status.guests}
    assert (guests["gateway"].answers, guests["gateway"].state) == (False, "unknown")
    assert guests["gateway"].fault == "does not answer by SSH: no route"
    assert guests["worker"].state == "ok"
    # The client's own requests passed: the services are well, though a hop is hidden.
    assert {service.state for service in site_status.services} == {"ok"}
    assert held_by(site_status, "proxy").state == "unknown", "the gateway asks for it"
    assert held_by(site_status, "gateway").next_renewal is None
    assert site_status.first_cause is not None
    assert site_status.first_cause.layer == "reach"


def test_checks_that_did_not_come_back_are_not_well(site: Site) -> None:
    values = answers_of(site, well)
    values[observation.CHECKS]["proxy"] = []
    site_status = status(site, values)
    assert site_status.broken
    assert next(g for g in site_status.guests if g.name == "proxy").fault.startswith(
        "answers by SSH, but"
    )


def test_drift_of_a_stack_and_its_guest(site: Site) -> None:
    drift = Drift({"worker": ("Stack shop-production",)}, looked=True)
    site_status = status(site, answers_of(site, well), drift=drift)
    assert (site_status.broken, site_status.drifted) == (False, True)
    assert site_status.stacks[0].drift is True
    assert {guest.name: guest.drift for guest in site_status.guests}["worker"] == 1


def test_drift_that_nobody_knows_is_none(site: Site) -> None:
    for drift in (Drift(), Drift(unknown="the plan failed", looked=True)):
        site_status = status(site, answers_of(site, well), drift=drift)
        assert {guest.drift for guest in site_status.guests} == {None}
        assert site_status.stacks[0].drift is None
        assert not site_status.drifted


def test_what_only_a_run_can_know_is_no_drift(site: Site) -> None:
    """As stacks while Portainer's guest is out: whether they differ nobody can say."""
    why = "what Portainer has: it can't be asked yet"
    changes = [("worker", "Stack shop-production", why), ("worker", "Docker: unit", ""),
               ("control", "Stack other", why)]  # fmt: skip
    steps = [
        {"name": f"deploys/x.py | {title}", "op_hash": title, "hosts_with_change": [host],
         "hosts_with_conditional_change": []}
        for host, title, _ in changes
    ]  # fmt: skip
    course = Course()
    for host, title, reason in changes:
        if reason:
            step = f"deploys/x.py | {title}"
            course.add({"event": "unknown", "step": step, "host": host, "reason": reason})
    drift = report._drift(Finished(0, course, {"plan": steps}, ()))
    site_status = status(site, answers_of(site, well), drift=drift)
    drifts = {guest.name: guest.drift for guest in site_status.guests}
    assert (drifts["worker"], drifts["control"], drifts["gateway"]) == (1, None, 0)
    assert site_status.stacks[0].drift is None
    assert site_status.drift_unknown == f"of worker: {why}\nof control: {why}"


def test_a_step_that_would_fail_is_told_apart_from_drift(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a stack that `taking_over` refuses: no sync changes it before a person decides."""
    titles = ("Stack shop-production", "Docker: unit")
    steps = [
        {"name": f"deploys/x.py | {title}", "op_hash": title, "hosts_with_change": ["worker"],
         "hosts_with_conditional_change": []}
        for title in titles
    ]  # fmt: skip
    course = Course()
    course.add({"event": "would_fail", "step": f"deploys/x.py | {titles[0]}", "host": "worker"})
    drift = report._drift(Finished(0, course, {"plan": steps}, ()))
    site_status = status(site, answers_of(site, well), drift=drift)
    worker = next(guest for guest in site_status.guests if guest.name == "worker")
    assert (worker.drift, worker.failing) == (1, 1)
    assert (site_status.stacks[0].drift, site_status.stacks[0].fails) == (None, True)
    monkeypatch.setattr(report, "status_of", lambda *_, **__: site_status)
    monkeypatch.setattr(cli_project, "load", lambda _: None)
    done = CliRunner().invoke(app, ["status"])
    assert done.exit_code == exits.CHANGES
    assert "1 step, 1 step would fail" in done.output
    assert "a sync would change 1 step and fail in 1 step: see `phoenix plan`" in done.output


def test_a_plan_that_failed_is_not_called_well(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where this machine's secrets are older than the site's: nothing could be compared."""
    looked = status(site, answers_of(site, well), drift=Drift(unknown="refused", looked=True))
    monkeypatch.setattr(report, "status_of", lambda *_, **__: looked)
    monkeypatch.setattr(cli_project, "load", lambda _: None)
    done = CliRunner().invoke(app, ["status"])
    assert done.exit_code == exits.ERROR
    assert "drift is not known: refused" in done.output
    assert "all is well" not in done.output
    assert "whether a sync would change something is not known" in done.output


def test_endpoint_is_asked_and_not_believed(site: Site) -> None:
    """Portainer's own word (`up`) is as old as its last snapshot."""
    site_status = status(site, answers_of(site, well))
    assert [
        (endpoint.name, endpoint.url, endpoint.state) for endpoint in site_status.endpoints
    ] == [("worker", "tcp://w:9001", "ok")]
    down = status(
        site, answers_of(site, lambda c: "down" if c.function == "endpoint_is_up" else "")
    )
    assert down.endpoints[0].state == "broken"


def test_stacks_of_one_name_at_two_endpoints_are_two(tmp_path: Path) -> None:
    declared = minimal()
    manifest, compose = stack("tool", 8001)
    manifest["environments"]["production"]["services"] = {}
    declared.stacks["tool"] = manifest, compose
    declared.vm["vms"][1]["docker_stacks"].append("tool")
    declared.vm["vms"].append(
        vm(1003, "helper", "docker", 25, portainer_role="agent", dependencies=["1001"],
           portainer_agent_hostname="helper-agent", docker_stacks=["tool"])
    )  # fmt: skip
    site = declared.load(tmp_path)

    def stopped_there(check: Check) -> str:
        return "is 2" if (check.function, check.endpoint) == ("stack_is_active", "helper") else ""

    values = answers_of(site, stopped_there)
    values[observation.PORTAINER]["control"]["stacks"] = [
        {"name": "tool-production", "endpoint": "worker", "status": "active"},
        {"name": "tool-production", "endpoint": "helper", "status": "inactive"},
    ]
    stacks = status(site, values).stacks
    assert [
        (stack.guest, stack.status, stack.state)
        for stack in stacks
        if stack.name != "shop-production"
    ] == [
        ("worker", "active", "ok"),
        ("helper", "inactive", "broken"),
    ]


def test_json_has_no_secret_and_utc_times(site: Site) -> None:
    text = status(site, answers_of(site, well)).model_dump_json()
    assert '"not_after":"2026-11-25T08:00:00Z"' in text
    assert "X-API-Key" not in text


@pytest.mark.parametrize(
    ("rotation", "phase", "words"),
    [
        ("", "", ""),
        ("intermediate", "prepared", "a new intermediate was begun, and nothing uses it yet"),
        ("root", "switched", "the root is replaced, and not yet on every host"),
    ],
)
def test_a_rotation_that_stopped_is_told(site: Site, rotation: str, phase: str, words: str) -> None:
    pem = Authority("Lab").root.public_bytes(Encoding.PEM).decode()
    answer = {"root": pem, "key": True, "rotation": rotation, "phase": phase}
    values = {**answers_of(site, well), observation.AUTHORITY: {"authority": answer}}
    known = status(site, values).root
    assert known is not None
    rotation_text = rotation_words(known)
    assert rotation_text.startswith(words)
    assert bool(rotation_text) == bool(rotation)
    assert ("`phoenix certs rotate abandon`" in rotation_text) == (phase == "prepared")
