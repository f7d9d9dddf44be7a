"""Page, status, doctor, explain, a run's summary and the watcher tell faults of any site alike.

The sites have several of what the example has one of (`rich_sites`), and each test asks all of
them: one fault, one silent host, any few of both, and faults of which one causes the others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix.cli.reports import doctor
from phoenix.health import advice, issued
from phoenix.health.checks import checks
from phoenix.health.diagnosis import Fault, diagnose
from phoenix.health.page import FirstCause, HostRow, Page, ServiceRow
from phoenix.health.paths import paths, request_paths, select
from phoenix.site import unit_names
from phoenix.site.model import Host, Site
from phoenix.site.ports import WATCH
from phoenix.watch.causes import Check, Findings, Outcome
from tests.examples import examples
from tests.unit.health_views import Place, Told, explained, plan_of, requested
from tests.unit.rich_sites import SITES, rich_site
from tests.unit.test_health_agrees import FAULT, summary_host

every_site = pytest.mark.parametrize("name", SITES)


def single_faults(site: Site) -> list[tuple[Check, ...]]:
    """Each fault as the checks that find it: what several hosts are asked, all of them find."""
    faults: dict[str, list[Check]] = defaultdict(list)
    for check in checks(site):
        faults[check.question or check.title].append(check)
    return [tuple(found) for found in faults.values()]


def place(fault: Fault | FirstCause | None) -> Place | None:
    return (fault.layer, fault.host, fault.hop) if fault is not None else None


def place_of(outcome: Outcome | None) -> Place | None:
    check = outcome.check if outcome is not None else None
    return (check.layer, check.host, check.hop) if check is not None else None


def broken(page: Page) -> set[str]:
    return {row.name for row in page.services if row.health.state == "broken"}


def asked_for(site: Site) -> dict[str, str]:
    """By service that a client asks for, the name of its path."""
    return {service.name: request_paths(site)[service.name].name for service in requested(site)}


@every_site
def test_every_check_is_on_a_path_and_no_path_makes_its_own(name: str) -> None:
    site = rich_site(name)
    assert {check for path in paths(site) for check in path.checks} == set(checks(site))
    assert len({path.name for path in paths(site)}) == len(paths(site))
    assert [path.name for path in paths(site) if not all(hop.checks for hop in path.hops)] == []


@every_site
def test_a_sound_site_is_well_everywhere(name: str) -> None:
    told = Told(rich_site(name), {})
    assert told.doctor.causes == ()
    assert [path.name for path in told.doctor.paths if path.state != "ok"] == []
    assert told.watcher.causes == ()
    for page in (told.page, told.live_page):
        assert (page.health.state, page.health.not_run) == ("ok", 0)
        rows: list[ServiceRow | HostRow] = [*page.services, *page.hosts]
        assert [row.name for row in rows if row.health.state != "ok" or row.health.not_run] == []


@every_site
def test_every_service_that_a_client_asks_for_is_told_of(name: str) -> None:
    told = Told(rich_site(name), {})
    names = asked_for(told.site)
    assert {row.name: row.url for row in told.status.services} == names
    homes = {service.name for service in told.site.services if service.kind == "home"}
    for page in (told.page, told.live_page):
        assert {row.name for row in page.services} == names.keys() - homes


@every_site
def test_doctor_tells_what_is_well_of_each_kind_of_path(name: str) -> None:
    kinds = {path.kind for path in paths(rich_site(name))}
    assert kinds - {"request"} <= doctor._KINDS.keys()


@pytest.mark.fast_cases(1)
@every_site
def test_one_fault_is_told_alike_everywhere(name: str) -> None:
    site = rich_site(name)
    for found in single_faults(site):
        try:
            one_fault_is_told_alike(site, found)
        except AssertionError as error:
            raise AssertionError(f"{found[0].title}: {error}") from error


def one_fault_is_told_alike(site: Site, found: Sequence[Check]) -> None:
    failing, told = found[0], Told(site, dict.fromkeys(found, FAULT))
    where: Place = (failing.layer, failing.host, failing.hop)
    names = asked_for(site)

    # Doctor: one cause, by its own words, and what it breaks.
    (cause,) = told.doctor.causes
    assert (place(cause), cause.fault) == (where, FAULT)
    breaks = {path.name for path in told.doctor.paths if path.state == "broken"}
    assert set(cause.breaks) == breaks
    services = {service for service, path in names.items() if path in breaks}
    for service in sorted(services)[:2]:
        of_service = diagnose(site, select(site, service), Findings(told.outcomes))
        assert place(of_service.first_cause) == where, f"doctor {service}"

    # Explain, status and page: the same services.
    assert {s for s in names if failing.title in explained(site)[s]} == services
    assert {row.name for row in told.status.services if row.state == "broken"} == services
    shown = {row.name for row in told.page.services}
    assert broken(told.page) == services & shown
    assert {row.name for row in told.page.services if row.health.failed} == services & shown

    # Status and page: the same first cause and host.
    assert told.status.first_cause == cause
    assert place(told.page.health.first_cause) == where
    assert (told.page.health.state, told.page.health.failed, told.page.health.not_run) == (
        "broken", 1, 0,
    )  # fmt: skip
    assert {row.name: row.health.state for row in told.page.hosts} == {
        host.name: "broken" if host.name == failing.host else "ok" for host in site.hosts
    }
    of_guest = {failing.host} if failing.layer == "service" else set()
    assert {row.name for row in told.status.guests if row.state == "broken"} == of_guest

    # A run's summary.
    host, words = summary_host(list(told.outcomes), told.doctor)
    assert (host, words) == (
        failing.host, f"first cause: {failing.layer}: {failing.hop}: {FAULT}",
    )  # fmt: skip

    # The watcher, which judges itself what the CA has issued.
    if failing == issued.check(site):
        return
    (of_watcher,) = told.watcher.causes
    assert place_of(of_watcher.outcome) == where
    assert of_watcher.outcome.fault == FAULT
    assert (of_watcher.breaks, of_watcher.seen_by) == (cause.breaks, cause.seen_by)
    pages_are_alike(told)


def pages_are_alike(told: Told) -> None:
    """The page of a run and the watcher's, but for the check that the watcher does not have."""
    assert [(row.name, row.health) for row in told.page.services] == [
        (row.name, row.health) for row in told.live_page.services
    ]
    ca = issued.check(told.site).host
    assert [(row.name, row.health) for row in told.page.hosts if row.name != ca] == [
        (row.name, row.health) for row in told.live_page.hosts if row.name != ca
    ]
    assert told.page.health.first_cause == told.live_page.health.first_cause
    assert told.page.health.failed == told.live_page.health.failed


def all_say_the_same(told: Told) -> None:
    """Whatever fails and whoever is silent."""
    site = told.site
    of_path = {path.name: path for path in told.doctor.paths}
    for path_name, walked in told.watched.items():
        report = of_path[path_name]
        assert (walked.state, place_of(walked.cause)) == (report.state, place(report.cause))
    names = asked_for(site)
    status = {row.name: row for row in told.status.services}
    for service, path_name in names.items():
        report = of_path[path_name]
        assert (status[service].state, status[service].fault) == (report.state, report.cause)
    for row in told.page.services:
        report = of_path[names[row.name]]
        assert row.health.state == report.state
        assert place(row.health.first_cause) == place(report.cause)

    # Causes: none is told without a fault, and no fault without a cause.
    faults = [outcome for outcome in told.outcomes if outcome.fault]
    assert bool(told.doctor.causes) == bool(faults or told.silent)
    assert told.status.first_cause == told.doctor.first_cause
    assert place(told.page.health.first_cause) == place(told.doctor.first_cause)
    alarms = [place_of(cause.outcome) for cause in told.watcher.causes]
    most_are_silent = any(host == "the watcher" for _, host, _ in filter(None, alarms))
    if not most_are_silent:
        assert alarms == [place(cause) for cause in told.doctor.causes]
        pages_are_alike(told)

    # A service that is broken rests on a check that failed; one that failed breaks what it is for.
    failed = {outcome.check.title for outcome in faults}
    for service, path_name in names.items():
        hit = bool(failed & explained(site)[service])
        assert hit == (of_path[path_name].state == "broken"), service

    # Hosts.
    assert {row.name for row in told.status.guests if row.state == "unknown"} == set(told.silent)
    for row_of_host in told.page.hosts:
        if row_of_host.name in told.silent:
            assert row_of_host.health.state == "unknown"


@every_site
def test_a_silent_host_is_told_alike_everywhere(name: str) -> None:
    site = rich_site(name)
    for host in site.hosts:
        told = Told(site, {}, [host.name])
        try:
            all_say_the_same(told)
            (cause,) = told.doctor.causes
            assert (cause.layer, cause.host) == ("reach", host.name)
        except AssertionError as error:
            raise AssertionError(f"{host.name}: {error}") from error


@examples(60)
@given(st.data())
def test_whatever_fails_is_told_alike_everywhere(data: st.DataObject) -> None:
    site = rich_site(data.draw(st.sampled_from(list(SITES))))
    findable = [found for found in single_faults(site) if found[0] != issued.check(site)]
    failing = data.draw(st.lists(st.sampled_from(findable), max_size=5))
    names = [host.name for host in site.hosts]
    silent = data.draw(st.lists(st.sampled_from(names), max_size=2, unique=True))
    faults = {check: FAULT for found in failing for check in found}
    all_say_the_same(Told(site, faults, silent))


# -- what one fault brings along -------------------------------------------------------------------


def one_cause(site: Site, first: Check, follows: Iterable[Check], name: str) -> None:
    """Of the first fault and those that it brings along, the first alone is told as a cause."""
    told = Told(site, dict.fromkeys([first, *follows], FAULT))
    all_say_the_same(told)
    assert [place(cause) for cause in told.doctor.causes] == [
        (first.layer, first.host, first.hop)
    ], name


def of_unit(site: Site, host: Host, unit: str) -> Check:
    (check,) = (c for c in checks(site) if (c.host, c.unit) == (host.name, unit))
    return check


@every_site
def test_of_docker_that_stops_nothing_behind_it_is_a_cause_of_its_own(name: str) -> None:
    site = rich_site(name)
    behind = {"containers_are_well", "tasks_are_well", "in_swarm", "ports_are_shut_to_containers"}
    asked_by_others = {"node_is", "agent_pings", "endpoint_is_up", "stack_is_active"}
    for host in site.docker_hosts:
        stacks = {s.name for s in site.services_of(host) if s.deployment is not None}
        served = {s.name for s in site.services_of(host) if s.is_the_guest_s}
        of_portainer = served if host == site.portainer else set()
        one_cause(
            site, of_unit(site, host, unit_names.DOCKER),
            [
                check
                for check in checks(site)
                if (check.host == host.name and check.function in behind)
                or (check.target == host.name and check.function in asked_by_others)
                or (check.target == host.name and check.service in stacks | of_portainer
                    and check.function != "router_is_enabled")
                or (check.function == "request_gives" and check.service in stacks | of_portainer)
                or (host == site.portainer and check.function in
                    {"portainer_knows_us", "endpoint_is_up", "stack_is_active"})
            ],
            host.name,
        )  # fmt: skip


@every_site
def test_of_a_ca_or_watcher_that_stops_who_cannot_reach_it_is_no_cause(name: str) -> None:
    site = rich_site(name)
    assert site.ca is not None
    ca = site.service("ca")
    reached = [c for c in checks(site) if (c.target, c.port) == (site.ca.name, ca.port)]
    acme = [c for c in checks(site) if c.function == "acme_answers"]
    one_cause(site, of_unit(site, site.ca, unit_names.STEP_CA), [*reached, *acme], "the CA")
    if site.watcher is not None:
        reached = [c for c in checks(site) if (c.target, c.port) == (site.watcher.name, WATCH)]
        one_cause(site, of_unit(site, site.watcher, "phoenix-watcher.service"), reached, "watcher")


@every_site
def test_of_roots_that_are_gone_what_cannot_be_verified_is_no_cause(name: str) -> None:
    """With two gateways each request of the client was a cause of its own."""
    site = rich_site(name)
    verifying = {"tls_verifies", "request_gives", "grpc_gives", "login_is_asked", "acme_answers",
                 "portainer_knows_us", "endpoint_is_up", "stack_is_active"}  # fmt: skip
    for host in site.hosts:
        (roots,) = (
            c for c in checks(site) if (c.host, c.function) == (host.name, "roots_are_there")
        )
        one_cause(
            site, roots,
            [
                check
                for check in checks(site)
                if check.host == host.name and check.function in verifying
                and not any(word.startswith("http://") for word in check.command)
            ],
            host.name,
        )  # fmt: skip


def test_of_an_nfs_server_that_stops_what_is_mounted_is_no_cause() -> None:
    site = rich_site("one of each")
    server = of_unit(site, site.hypervisor, "nfs-server.service")
    mounted = of_unit(site, site.host("worker"), "phoenix-nfs.service")
    one_cause(site, server, [mounted], "NFS")


def test_backups_on_a_folder_by_nfs_rest_on_it() -> None:
    site = rich_site("a swarm of three")
    assert site.backups is not None
    control = site.host("control")
    mounted = of_unit(site, control, "phoenix-nfs.service")
    backup = [c for c in checks(site) if c.host == "control" and "backup" in c.function]
    assert len(backup) == 2
    one_cause(site, mounted, backup, "backups")


def test_what_is_behind_two_gateways_is_laid_to_neither() -> None:
    """`git` and `db` are handed on unread: their own fault was one of each gateway, too."""
    site = rich_site("two of each")
    of_service = {"port_answers", "tcp_passes", "tls_verifies"}
    for service in ("git:2222", "db:5432"):
        (port, *others) = [
            c for c in checks(site)
            if c.service == service and c.function in of_service
            and not (c.function == "port_answers" and c.host == site.hypervisor.name)
        ]  # fmt: skip
        told = Told(site, dict.fromkeys([port, *others], FAULT))
        all_say_the_same(told)
        (cause,) = told.doctor.causes
        assert (cause.layer, cause.hop) == ("tcp", f"Nginx to {service} on data")
        assert cause.seen_by == ("gateway", "gateway-two")
        assert {name for name in cause.breaks if "takes requests" in name} == set()


def test_a_request_that_fails_behind_a_silent_host_is_laid_to_the_host() -> None:
    """The advice for the request itself says that every hop is well."""
    site = rich_site("a swarm of three")
    (asked,) = [c for c in checks(site) if (c.function, c.service) == ("request_gives", "shop")]
    told = Told(site, {asked: FAULT}, ["worker"])
    all_say_the_same(told)
    (cause,) = told.doctor.causes
    assert (cause.layer, cause.host) == ("reach", "worker")
    assert "https://shop.internal.thinkheads.ai" in cause.breaks


def test_the_watcher_s_alarm_has_the_fix_that_doctor_has() -> None:
    """Of lost managers it said: a sync lets the host join; of a torn database: read the log."""
    for name, words, unit in (
        ("a swarm of three", advice.QUORUM, ""),
        ("one of each", advice.DATABASE, unit_names.STEP_CA),
    ):
        site = rich_site(name)
        check = next(
            c for c in checks(site) if (c.unit == unit if unit else c.function == "in_swarm")
        )
        for fault in (f"{words}: as it says", FAULT):
            fix = plan_of(site).fix(check.title, fault)
            likely = advice.likely_fix(site, check, fault)
            assert fix is not None
            assert (fix.advice, fix.commands) == (likely.advice, likely.commands)


# -- one answer of several managers ----------------------------------------------------------------


def test_managers_whose_docker_is_stopped_leave_the_answer_to_another() -> None:
    """The first one said that each node was well, and nobody else was asked."""
    site = rich_site("a swarm of three")
    control = site.host("control")
    docker = of_unit(site, control, unit_names.DOCKER)
    asked = [c for c in checks(site) if c.question]
    drain = "its availability is drain"
    faults = {docker: FAULT, **{c: drain for c in asked if c.target == "node"}}
    faults |= {c: "?" for c in asked if c.host == "control"}
    told = Told(site, faults)
    all_say_the_same(told)
    assert [(place(c), c.fault) for c in told.doctor.causes] == [
        (("service", "control", docker.hop), FAULT),
        (("service", "worker", "node as the swarm's managers have it"), drain),
    ]  # fmt: skip
    assert told.page.health.not_run == told.live_page.health.not_run == 0


def test_where_no_manager_has_an_answer_their_docker_is_the_cause() -> None:
    site = rich_site("a swarm of three")
    managers = [site.host(name) for name in ("control", "worker", "third")]
    asked = [c for c in checks(site) if c.question]
    dockers = [of_unit(site, manager, unit_names.DOCKER) for manager in managers]
    told = Told(site, {**dict.fromkeys(asked, "?"), **dict.fromkeys(dockers, FAULT)})
    all_say_the_same(told)
    assert [place(cause) for cause in told.doctor.causes] == [
        (docker.layer, docker.host, docker.hop) for docker in dockers
    ]
    report = told.doctor.by_path()["node node of the swarm"]
    assert (report.state, place(report.cause)) == (
        "broken", ("service", "control", dockers[0].hop),
    )  # fmt: skip
