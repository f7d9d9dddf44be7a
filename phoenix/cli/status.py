"""`phoenix status`: the site at a glance."""

from __future__ import annotations

from typing import Annotated

import typer

from phoenix.cli import exits, options

DriftOption = Annotated[
    bool,
    typer.Option(
        "--drift/--no-drift", help="Also look for drift, that is, what a sync would change: slower."
    ),
]


def status(
    drift: DriftOption = True,
    inventory: options.InventoryOption = options.DEFAULT_INVENTORY,
    as_json: options.JsonOption = False,
) -> None:
    """Show guests, services, certificates, endpoints, stacks, drift and undeclared things.

    Nothing is changed.

    Examples:
      phoenix status                    everything
      phoenix status --no-drift         a quick look
      phoenix status --json             for a script; times are UTC

    Exit code: 0 all is well, 1 something is down, expired or silent, or what a sync
    would change is not known, 2 drift, a step that would fail, or something that is
    declared nowhere, alone.
    """
    from phoenix.cli import output, project
    from phoenix.cli.reports.status import print_status, status_of
    from phoenix.health import observation

    result = status_of(project.load(inventory), observation.ALL, drift=drift, quiet=as_json)
    output.emit(as_json, result, lambda console: print_status(console, result))
    if result.broken or result.drift_unknown:
        raise typer.Exit(exits.ERROR)
    if result.drifted or result.undeclared.running:
        raise typer.Exit(exits.CHANGES)
