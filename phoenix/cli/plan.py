"""`phoenix plan`: what a run would change, and what only the run can know. Nothing is touched."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from phoenix.cli import options
from phoenix.cli.sync import TargetsArgument


def plan(
    target: TargetsArgument = None,
    inventory: options.InventoryOption = options.DEFAULT_INVENTORY,
    as_json: options.JsonOption = False,
    full: Annotated[bool, typer.Option("--full", help="Show long differences in full.")] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Keep the plan in this file, for `phoenix sync FILE`."),
    ] = None,
) -> None:
    """Show what `phoenix sync` with the same targets would change, with differences.

    Examples:
      phoenix plan                      the whole platform
      phoenix plan nginx --json         one component, for a script
      phoenix plan --out change.json    then: phoenix sync change.json

    Exit code: 0 nothing to do, 2 there are changes or things declared nowhere, 1 a host
    could not be looked at.
    """
    from phoenix.cli import output, project, targets
    from phoenix.cli.reports.plan import make_plan, print_plan, write_plan

    chosen = list(target or [])
    site = project.load(inventory)
    site.print_warnings()
    result = make_plan(site, chosen, targets.work(chosen, site.site))
    if out is not None:
        write_plan(result, out)
    output.emit(as_json, result, lambda console: print_plan(console, result, full=full))
    raise typer.Exit(result.exit_code)
