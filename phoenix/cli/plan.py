"""`phoenix plan`: what a run would change, and what only the run can know. Nothing is touched."""

from __future__ import annotations

from typing import Annotated

import typer

from phoenix.cli import options
from phoenix.cli.sync import TargetsArgument


def plan(
    target: TargetsArgument = None,
    inventory: options.InventoryOption = options.DEFAULT_INVENTORY,
    as_json: options.JsonOption = False,
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
    from phoenix.cli import output, project, targets
    from phoenix.cli.progress import follow
    from phoenix.cli.reports.plan import Change, Plan, cause_of, changes_of, print_plan
    from phoenix.runs.process import run

    chosen = list(target or [])
    site = project.load(inventory)
    site.print_warnings()
    changes: list[Change] = []
    looked_at: list[str] = []
    cause = None
    with follow(output.notes(), quiet=True) as follower:
        for work in targets.work(chosen, site.site):
            request = site.request(*work.deploys, limit=work.limit, data=work.data, dry=True)
            finished = run(request, listen=follower)
            changes += changes_of(finished)
            looked_at += finished.story.connected
            cause = cause or cause_of(finished)
    result = Plan(
        site=site.name,
        targets=chosen or [targets.ALL],
        changes=changes,
        looked_at=sorted(set(looked_at)),
        first_cause=cause,
    )
    output.emit(as_json, result, lambda console: print_plan(console, result, full=full))
    raise typer.Exit(result.exit_code)
