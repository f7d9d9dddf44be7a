"""What `phoenix plan` shows: each change that a run would make, with its differences."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from rich.console import Console
from rich.text import Text

from phoenix.cli import exits, output
from phoenix.cli.converge import print_cause
from phoenix.runs.process import Finished
from phoenix.runs.results import Failure, component_of, title_of

_SHOWN = 30
_MARKS = {"+": "green", "-": "red", "@": "cyan"}


class Change(BaseModel):
    """One step that would change one host. `details`: reasons and differences, secrets masked.

    `unknown` says what about it can only be known while running; empty where all is known.
    """

    host: str
    component: str
    step: str
    details: list[str]
    unknown: str


class Plan(BaseModel):
    """Everything that a run would do, by host in the order of the run."""

    model_config = ConfigDict(extra="forbid")

    site: str
    targets: list[str]
    changes: list[Change]
    looked_at: list[str]
    first_cause: Failure | None

    @property
    def exit_code(self) -> int:
        """1 if a host could not be looked at, 2 if there is something to do, else 0."""
        if self.first_cause is not None:
            return exits.ERROR
        return exits.CHANGES if self.changes else exits.OK


def cause_of(finished: Finished) -> Failure | None:
    """Why a dry run failed; None where it did not."""
    if finished.story.first_cause is not None:
        return finished.story.first_cause
    if finished.returncode != 0 or finished.results is None:
        return Failure(host="", step="", reason=list(finished.last_lines))
    return None


def changes_of(finished: Finished) -> list[Change]:
    """What a dry run found to do, in the order of the run."""
    changes: list[Change] = []
    for step in (finished.results or {}).get("plan", ()):
        name = step["name"]
        unknown = finished.story.unknown.get(name, {})
        changes += [
            Change(
                host=host,
                component=component_of(name),
                step=title_of(name),
                details=finished.story.details.get(name, {}).get(host, []),
                unknown=unknown.get(host, ""),
            )
            for host in (*step["hosts_with_change"], *step["hosts_with_conditional_change"])
        ]
    return changes


def print_plan(console: Console, plan: Plan, *, full: bool = False) -> None:
    """The plan for a person: each host, its components, its steps, and their differences."""
    most = None if full else _SHOWN
    for host in dict.fromkeys(change.host for change in plan.changes):
        console.print(Text(host, style="bold"))
        for change in (candidate for candidate in plan.changes if candidate.host == host):
            console.print(
                Text(f"  {': '.join(filter(None, (change.component, change.step)))}", "yellow")
            )
            for line in change.details[:most]:
                stripped = line.strip()
                style = _MARKS.get(stripped[:1], "") if line.startswith("  ") else ""
                console.print(Text(f"      {line}", style=style))
            if hidden := len(change.details[most:] if most else []):
                console.print(Text(f"      … {hidden} more lines (--full shows them)", "dim"))
            if change.unknown:
                console.print(Text(f"      known only while running: {change.unknown}", "magenta"))
    if plan.first_cause is not None:
        print_cause(console, plan.first_cause)
    hosts = len({change.host for change in plan.changes})
    if plan.changes:
        steps = output.count(len(plan.changes), "step")
        where = output.count(hosts, "host")
        console.print(f"{steps} would change {where}. Nothing was touched.")
    elif plan.first_cause is None:
        console.print(f"nothing to do on {output.count(len(plan.looked_at), 'host')}")
