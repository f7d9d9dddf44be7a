"""What `phoenix plan` shows: each change that a run would make, with its differences."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError
from rich.console import Console
from rich.text import Text

from phoenix import bounded
from phoenix.cli import exits, output, project
from phoenix.cli.converge import print_cause, with_undeclared
from phoenix.cli.exits import CommandError
from phoenix.cli.reports.history import lines_of
from phoenix.cli.targets import ALL, Work
from phoenix.cli.undeclared import asked_in_run, of_run, print_undeclared, summary_line
from phoenix.components.move.decision import PENDING
from phoenix.health.undeclared import Undeclared
from phoenix.proxmox.desired import TO_MAKE
from phoenix.runs.history import DEPLOY as HISTORY
from phoenix.runs.history import behind, deployed, missing_revision, parse
from phoenix.runs.process import Finished, run
from phoenix.runs.results import Failure, component_of, first_cause_of, title_of
from phoenix.runs.revision import revision
from phoenix.site.findings import visible

_SHOWN = 30
_MARKS = {"+": "green", "-": "red", "@": "cyan"}


class Change(BaseModel):
    """One step that would change one host. `details`: reasons and differences, secrets masked.

    `unknown` says what about it can only be known while running; empty where all is known.
    `fails`: it would change nothing and fail, for the reasons in `details`.
    """

    host: str
    component: str
    step: str
    details: list[str]
    unknown: str
    fails: bool = False


class Plan(BaseModel):
    """Everything that a run would do, by host in the order of the run.

    `undeclared`: what runs and is declared nowhere, where the whole platform was looked at.
    `deployed`: what the site's history cannot say of what is deployed. `older`: why this checkout
    must not replace it; both are empty where there is nothing to say. `moves`: stacks that change
    their host, which `phoenix sync` does with --move alone. `left_alone`: what each host keeps as
    it is (`leave_alone`), by host. `notes`: what hosts told that no run changes.
    """

    model_config = ConfigDict(extra="forbid")

    site: str
    targets: list[str]
    changes: list[Change]
    looked_at: list[str]
    first_cause: Failure | None
    deployed: str = ""
    older: str = ""
    undeclared: Undeclared = Undeclared()
    moves: list[str] = []
    left_alone: dict[str, list[str]] = {}
    notes: list[str] = []

    @property
    def exit_code(self) -> int:
        """1 if a host could not be looked at, 2 if there is something to do or not declared, or 0.

        The plan of a target tells of what is declared alone.
        """
        if self.first_cause is not None:
            return exits.ERROR
        return exits.CHANGES if self.changes or self.undeclared.running else exits.OK


def make_plan(site: project.Project, chosen: Sequence[str], works: Sequence[Work]) -> Plan:
    """Look at the hosts by a dry run of each call, and touch nothing.

    Args:
        site: the project and its inventory.
        chosen: the targets as the operator named them; none is the whole platform.
        works: the calls of pyinfra that converge them.
    """
    changes: dict[str, Change] = {}  # what two calls find is done by the first of them
    runs: list[Finished] = []
    last = None
    left = Undeclared()
    for number, work in enumerate(works):
        # The history is asked for once, last, so that its host does not come before the others.
        more = () if number else (HISTORY,)
        looking = with_undeclared(work)
        request = site.request(
            *looking.deploys,
            *more,
            limit=work.limit,
            data=looking.data,
            environment=work.environment,
            dry=True,
        )
        finished, absent = without_absent_guests(run(request))
        if asked_in_run(finished):
            left = without_hosts(of_run(site, finished), absent)
        host_changes = [*changes_of(finished), *(to_make(host) for host in absent)]
        changes |= {change.model_dump_json(): change for change in host_changes}
        runs.append(finished)
        last = last or deployed(parse(lines_of(finished) or ()))
    folder = Path(site.data["site_inventories"]).parent
    pending = [run.course.values.get(PENDING, {}) for run in runs]
    return Plan(
        site=site.name,
        targets=list(chosen) or [ALL],
        changes=list(changes.values()),
        looked_at=sorted({host for finished in runs for host in finished.course.connected}),
        first_cause=cause_of(runs),
        deployed=missing_revision(last),
        older=behind(folder, revision(folder), last),
        undeclared=left,
        moves=list(
            dict.fromkeys(m for by_host in pending for moves in by_host.values() for m in moves)
        ),
        left_alone={
            host.name: list(host.left_alone) for host in site.site.hosts if host.left_alone
        },
        notes=list(dict.fromkeys(line for finished in runs for line in finished.course.told)),
    )


def write_plan(plan: Plan, path: Path) -> None:
    """Keep a plan in a file (0600) for `phoenix sync FILE`.

    Raises:
        CommandError: the plan is not whole, or the file cannot be written.
    """
    if plan.first_cause is not None:
        raise CommandError("the plan is not kept: a host could not be looked at")
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(plan.model_dump_json(indent=2) + "\n")
    except OSError as error:
        raise CommandError(f"the plan cannot be kept in {path}: {error.strerror}") from None


def read_plan(path: Path, site: project.Project) -> Plan:
    """A plan that `phoenix plan --out` kept.

    Raises:
        CommandError: the file cannot be read, is no plan, or is one of another site.
    """
    try:
        plan = Plan.model_validate_json(bounded.read(path))
    except OSError as error:
        raise CommandError(f"the plan {path} cannot be read: {error.strerror}") from None
    except ValidationError:
        raise CommandError(
            f"{path} is not a plan of this release: make one by `phoenix plan --out {path}`"
        ) from None
    if plan.site != site.name:
        raise CommandError(f"{path} is a plan for {visible(plan.site)}, and this is {site.name}")
    return plan.model_copy(update={"targets": list(dict.fromkeys(plan.targets))})


def differences(planned: Plan, now: Plan) -> list[str]:
    """What would be done now and was not planned (+), and what was planned and is not (-).

    As a terminal may show it: whoever has the file may write what he likes.
    """
    return [
        visible(line.rstrip("\n"))
        for line in difflib.unified_diff(
            _lines(planned), _lines(now), "planned", "now", lineterm=""
        )
    ]


def _lines(plan: Plan) -> list[str]:
    return [
        line
        for change in plan.changes
        for line in (
            f"{change.host}: {change.component}: {change.step}",
            *(f"    {detail}" for detail in change.details),
        )
    ]


def cause_of(runs: Sequence[Finished]) -> Failure | None:
    """Why dry runs failed, None where they did not; hosts that any of them did not reach first."""
    if cause := first_cause_of([finished.course for finished in runs]):
        return cause
    for finished in runs:
        if finished.returncode != 0 or finished.results is None:
            return Failure(host="", step="", reason=list(finished.last_lines))
    return None


def without_absent_guests(finished: Finished) -> tuple[Finished, tuple[str, ...]]:
    """A dry run with guests that a sync creates first left out, and their names.

    They do not exist yet, so their silence is expected.
    """
    course = finished.course
    named = [name for names in course.values.get(TO_MAKE, {}).values() for name in names]
    absent = tuple(name for name in named if name in course.unreachable)
    if not absent:
        return finished, ()
    silent = {host: why for host, why in course.unreachable.items() if host not in absent}
    whole = finished.results is not None and not silent and not course.failures
    return replace(
        finished,
        course=course.model_copy(update={"unreachable": silent}),
        returncode=0 if whole else finished.returncode,
    ), absent


def without_hosts(undeclared: Undeclared, absent: Sequence[str]) -> Undeclared:
    """What is undeclared, without the notes that guests still to be created did not answer."""
    unknown = tuple(line for line in undeclared.unknown if line.partition(": ")[0] not in absent)
    return undeclared.model_copy(update={"unknown": unknown})


def to_make(host: str) -> Change:
    """All steps on a guest that does not exist yet."""
    return Change(
        host=host,
        component="",
        step="all that is declared for it",
        details=[],
        unknown="the guest does not exist yet: a sync makes it first",
    )


def changes_of(finished: Finished) -> list[Change]:
    """What a dry run found to do, in the order of the run."""
    changes: list[Change] = []
    course = finished.course
    for step in (finished.results or {}).get("plan", ()):
        names = course.named.get(step.get("op_hash", ""), {})
        for host in (*step["hosts_with_change"], *step["hosts_with_conditional_change"]):
            name = names.get(host, step["name"])
            changes.append(
                Change(
                    host=host,
                    component=component_of(name),
                    step=title_of(name),
                    details=course.details.get(name, {}).get(host, []),
                    unknown=course.unknown.get(name, {}).get(host, ""),
                    fails=host in course.failing.get(name, ()),
                )
            )
    return changes


def print_plan(console: Console, plan: Plan, *, full: bool = False) -> None:
    """The plan for a person: each host, its components, its steps, and their differences."""
    print_changes(console, plan.changes, full=full)
    print_undeclared(console, plan.undeclared)
    if plan.first_cause is not None:
        print_cause(console, plan.first_cause)
    for line in _left_alone(plan):
        console.print(line)
    for notice in filter(None, (*plan.notes, plan.deployed, plan.older)):
        console.print(Text(f"note: {notice}", style="yellow"))
    if plan.changes:
        console.print(f"{_counted(plan.changes)}. Nothing was touched.")
    elif plan.first_cause is None:
        where = output.count(len(plan.looked_at), "host")
        left = summary_line(plan.undeclared)
        console.print(f"nothing to do on {where}" + (f"; there {left}" if left else ""))


def _left_alone(plan: Plan) -> Iterator[str]:
    """What the declaration leaves alone, a line for all hosts that keep the same."""
    hosts: dict[str, list[str]] = {}
    for host in plan.looked_at:
        if parts := plan.left_alone.get(host):
            hosts.setdefault(", ".join(parts), []).append(host)
    for text, named in hosts.items():
        everywhere = len(named) == len(plan.looked_at) > 1
        yield f"left alone: {text} on {'every host' if everywhere else ', '.join(named)}"


def print_changes(console: Console, changes: Sequence[Change], *, full: bool = False) -> None:
    """Each host, its components, its steps, and their differences."""
    most = None if full else _SHOWN
    for host in dict.fromkeys(change.host for change in changes):
        console.print(Text(host, style="bold"))
        for change in (candidate for candidate in changes if candidate.host == host):
            console.print(
                Text(f"  {': '.join(filter(None, (change.component, change.step)))}", "yellow")
            )
            for line in change.details[:most]:
                stripped = line.strip()
                style = _MARKS.get(stripped[:1], "") if line.startswith("  ") else ""
                console.print(Text(f"      {line}", style=style))
            if hidden := len(change.details[most:] if most else []):
                console.print(Text(f"      … {hidden} more lines (--full shows them)", "dim"))
            if change.fails:
                console.print(Text("      it would fail, and change nothing", "red"))
            if change.unknown:
                console.print(Text(f"      known only while running: {change.unknown}", "magenta"))


def _counted(changes: Sequence[Change]) -> str:
    """How much would change; apart, what would fail, and how much only the run can know."""
    hosts = [change.host for change in changes if not (change.unknown or change.fails)]
    where = output.count(len(set(hosts)), "host")
    counts = [f"{output.count(len(hosts), 'step')} would change {where}"] if hosts else []
    if failing := sum(change.fails for change in changes):
        counts.append(f"{output.count(failing, 'step')} would fail")
    if open_ := len(changes) - len(hosts) - failing:
        counts.append(f"{output.count(open_, 'step')} may: only the run can know")
    return ", ".join(counts)
