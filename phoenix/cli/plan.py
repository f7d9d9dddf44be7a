"""`phoenix plan`: what a run would change, and what only the run can know. Nothing is touched."""

from __future__ import annotations

from typing import Annotated

import typer
from pydantic import BaseModel, ConfigDict
from rich.console import Console
from rich.text import Text

from phoenix.cli import exits, output, project, targets
from phoenix.cli.converge import tell_cause
from phoenix.cli.progress import follow
from phoenix.cli.sync import TargetsArgument
from phoenix.runs.process import Finished, run
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
        return exits.ATTENTION if self.changes else exits.OK


def plan(
    target: TargetsArgument = None,
    inventory: output.InventoryOption = output.DEFAULT_INVENTORY,
    as_json: output.JsonOption = False,
    full: Annotated[
        bool, typer.Option("--full", help="Show differences to their end, however long.")
    ] = False,
) -> None:
    """Show what `phoenix sync` with the same targets would change, with differences.

    Examples:
      phoenix plan                      the whole platform
      phoenix plan nginx --json         one component, for a script

    Exit code: 0 nothing to do, 2 there are changes, 1 a host could not be looked at.
    """
    chosen = list(target or [])
    site = project.load(inventory)
    changes: list[Change] = []
    looked_at: list[str] = []
    cause = None
    with follow(output.notes(), quiet=True) as follower:
        for one in targets.work(chosen, site.site):
            request = site.request(*one.deploys, limit=one.limit, data=one.data, dry=True)
            done = run(request, listen=follower)
            changes += changes_of(done)
            looked_at += done.story.connected
            cause = cause or _cause(done)
    made = Plan(
        site=site.name,
        targets=chosen or [targets.ALL],
        changes=changes,
        looked_at=sorted(set(looked_at)),
        first_cause=cause,
    )
    output.emit(as_json, made, lambda console: tell(console, made, full=full))
    raise typer.Exit(made.exit_code)


def _cause(done: Finished) -> Failure | None:
    if done.story.first_cause is not None:
        return done.story.first_cause
    if done.returncode != 0 or done.results is None:
        return Failure(host="", step="", reason=list(done.last_lines))
    return None


def changes_of(done: Finished) -> list[Change]:
    """What a dry run found to do, in the order of the run."""
    found: list[Change] = []
    for step in (done.results or {}).get("plan", ()):
        name = step["name"]
        unknown = done.story.unknown.get(name, {})
        found += [
            Change(
                host=host,
                component=component_of(name),
                step=title_of(name),
                details=done.story.details.get(name, {}).get(host, []),
                unknown=unknown.get(host, ""),
            )
            for host in (*step["hosts_with_change"], *step["hosts_with_conditional_change"])
        ]
    return found


def tell(console: Console, plan: Plan, *, full: bool = False) -> None:
    """The plan for a person: each host, its components, its steps, and their differences."""
    most = None if full else _SHOWN
    for host in dict.fromkeys(change.host for change in plan.changes):
        console.print(Text(host, style="bold"))
        for change in (one for one in plan.changes if one.host == host):
            console.print(Text(f"  {change.component}: {change.step}", style="yellow"))
            for line in change.details[:most]:
                bare = line.strip()
                style = _MARKS.get(bare[:1], "") if line.startswith("  ") else ""
                console.print(Text(f"      {line}", style=style))
            if left := len(change.details[most:] if most else []):
                console.print(Text(f"      … {left} more lines (--full shows them)", "dim"))
            if change.unknown:
                console.print(Text(f"      known only while running: {change.unknown}", "magenta"))
    if plan.first_cause is not None:
        tell_cause(console, plan.first_cause)
    hosts = len({change.host for change in plan.changes})
    if plan.changes:
        steps = f"{len(plan.changes)} step{'s'[: len(plan.changes) != 1]}"
        where = f"{hosts} host{'s'[: hosts != 1]}"
        console.print(f"{steps} would change {where}. Nothing was touched.")
    elif plan.first_cause is None:
        looked_at = len(plan.looked_at)
        console.print(f"nothing to do on {looked_at} host{'s'[: looked_at != 1]}")
