"""What is declared nowhere is told: by plan, status, sync and doctor, with their exit codes."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from phoenix.cli import converge
from phoenix.cli.reports import doctor, plan, status
from phoenix.cli.targets import Work
from phoenix.cli.undeclared import print_undeclared
from phoenix.components.docker.projects import to_json
from phoenix.derived import register
from phoenix.health import observation
from phoenix.health.diagnosis import diagnose
from phoenix.health.observation import LEFT, Observed
from phoenix.health.paths import paths
from phoenix.health.status import Drift, build
from phoenix.health.undeclared import PLACED, REGISTER, Item, Placed, Undeclared, undeclared
from phoenix.site.model import Site
from phoenix.watch.causes import Findings
from tests.unit.site_builder import minimal
from tests.unit.test_undeclared import project

STACK = Item(kind="stack", name="old", host="worker", holds=("1 container",),
             command="phoenix remove old")  # fmt: skip
VOLUMES = Item(kind="volumes", name="older", host="worker", holds=("volume v",), kept=True,
               command="phoenix remove older --volumes")  # fmt: skip
LEFT_OVER = Undeclared(items=(STACK, VOLUMES))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return minimal().load(tmp_path)


def printed(show: Callable[[Console], None]) -> str:
    stream = io.StringIO()
    show(Console(file=stream, width=200))
    return stream.getvalue()


def a_plan(left: Undeclared) -> plan.Plan:
    return plan.Plan(site="s", targets=["all"], changes=[], looked_at=["worker"],
                     first_cause=None, undeclared=left)  # fmt: skip


def test_a_plan_ends_with_2_and_names_the_command() -> None:
    assert a_plan(LEFT_OVER).exit_code == 2
    text = printed(lambda console: plan.print_plan(console, a_plan(LEFT_OVER)))
    assert "stack old" in text
    assert "phoenix remove old\n" in "".join(f"{line.rstrip()}\n" for line in text.splitlines())
    assert "older" not in text, "what was kept on purpose is told by status alone"
    assert "there is 1 thing that is declared nowhere" in text


def test_what_was_kept_is_no_change() -> None:
    leftovers = Undeclared(items=(VOLUMES,))
    assert a_plan(leftovers).exit_code == 0
    text = printed(lambda console: plan.print_plan(console, a_plan(leftovers)))
    assert text == "nothing to do on 1 host\n"


def test_a_kept_plan_does_not_depend_on_it() -> None:
    assert plan.differences(a_plan(LEFT_OVER), a_plan(Undeclared())) == []


def test_the_status_of_a_site_that_is_well(site: Site) -> None:
    diagnosis = diagnose(site, paths(site), Findings((), {}))
    result = build(site, "s", Observed({}, {}), (), diagnosis, Drift(), datetime.now(UTC),
                   left=LEFT_OVER)  # fmt: skip
    text = printed(lambda console: status.print_status(console, result))
    assert "phoenix remove old" in text
    assert "phoenix remove older --volumes" in text


def test_a_sync_tells_it_at_its_end_and_is_converged_all_the_same() -> None:
    summary = converge.Summary(
        site="s", command="phoenix sync all", ok=True, verified=True, seconds=1, hosts=[],
        failures=[], first_cause=None, notes=[], taken_over=[], log="/log", undeclared=LEFT_OVER,
    )  # fmt: skip
    text = printed(lambda console: converge.print_summary(console, summary))
    assert "phoenix remove old" in text
    assert "converged and verified" in text


def test_doctor_mentions_it_and_finds_no_fault(site: Site) -> None:
    diagnosis = diagnose(site, (), Findings((), {}))
    report = doctor.Report.of("s", "", diagnosis, LEFT_OVER)
    text = printed(lambda console: doctor.print_report(console, report))
    assert report.ok
    assert "no fault, but there is 1 thing that is declared nowhere" in text


def test_only_a_call_for_the_whole_platform_looks_for_it() -> None:
    whole = converge.with_undeclared(Work(("deploys/all.py",)))
    assert (whole.deploys, whole.data) == (
        ("deploys/observe.py", "deploys/all.py"), {"observe": LEFT},
    )  # fmt: skip
    for part in (Work(("deploys/all.py",), ("worker",)), Work(("deploys/nginx.py",))):
        assert converge.with_undeclared(part) == part


def test_what_hosts_tell_is_read_and_who_does_not_tell_is_named(site: Site) -> None:
    hosts = [host.name for host in site.hosts]
    placed = PLACED.dump_python(Placed(("base",)), mode="json")
    values = {
        observation.CONTAINERS: {host: to_json([]) for host in hosts},
        observation.PLACED: dict.fromkeys(hosts, placed),
        observation.REGISTER: {
            site.hypervisor.name: REGISTER.dump_python(register.entries(site), mode="json")
        },
        observation.GUESTS: {site.hypervisor.name: []},
        observation.PORTAINER: {"control": None},
        observation.UNREAD: {"worker": "its Docker does not answer"},
    }
    values[observation.CONTAINERS]["worker"] = None
    values[observation.CONTAINERS]["control"] = to_json([project("x")])
    del values[observation.PLACED]["proxy"]
    sightings = observation.sightings(
        site, Observed(values, {"proxy": "timed out"}), frozenset(), frozenset()
    )
    assert list(sightings.unknown) == [
        "proxy: timed out", "worker: its Docker does not answer", "Portainer's API gives no answer",
    ]  # fmt: skip
    assert [listed.name for listed in sightings.projects["control"]] == ["x"]
    assert not sightings.unlisted
    values[observation.GUESTS] = {site.hypervisor.name: observation.NO_LIST}
    without = observation.sightings(site, Observed(values, {}), frozenset(), frozenset())
    leftovers = undeclared(site, without)
    assert (list(without.guests), leftovers.items) == ([], undeclared(site, sightings).items)
    (line,) = leftovers.unlisted
    assert "cannot be known" in line
    assert "has no pvesh" in line
    assert line in printed(lambda console: print_undeclared(console, leftovers)).replace("\n", " ")
    assert not any("pvesh" in why for why in leftovers.unknown), "it is no fault"
    values[observation.CONTAINERS]["worker"] = to_json([])
    values[observation.PLACED]["proxy"] = placed
    for kind, host in ((observation.SWARM, "worker"), (observation.RULES, site.hypervisor.name)):
        values[kind] = {host: None}
        values[observation.UNREAD] = {host: "it hangs"}
        incomplete = observation.sightings(site, Observed(values, {}), frozenset(), frozenset())
        assert f"{host}: it hangs" in incomplete.unknown, kind
        values[kind] = {host: {}} if kind == observation.RULES else {}
    values[observation.REGISTER] = {site.hypervisor.name: []}
    new = observation.sightings(site, Observed(values, {}), frozenset(), frozenset())
    assert "Portainer's API gives no answer" not in new.unknown, "a new site has none yet"
