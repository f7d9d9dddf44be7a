"""`phoenix history`: what the site itself remembers of its runs."""

from __future__ import annotations

from typing import Annotated

import typer

from phoenix.cli import options

MostOption = Annotated[
    int, typer.Option("--lines", "-n", min=1, help="Number of runs to show, the latest last.")
]


def history(
    most: MostOption = 20,
    inventory: options.InventoryOption = options.DEFAULT_INVENTORY,
    as_json: options.JsonOption = False,
) -> None:
    """Show who ran what on this site, from which revision, when, and with what result.

    The hypervisor keeps the history of all operators' runs, by `phoenix` and by plain pyinfra. Runs
    that failed, were interrupted, lost their connection or were refused are in it too.

    Examples:
      phoenix history
      phoenix history -n 200 --json | jq '.runs[] | select(.end.result != "ok")'

    Exit code: 0 shown, 1 the hypervisor could not be asked.
    """
    from phoenix.cli import output, project
    from phoenix.cli.reports.history import look, print_history

    site = project.load(inventory)
    runs = look(site, quiet=as_json)[-most:]
    answer = {"site": site.name, "runs": [run.model_dump(mode="json") for run in runs]}
    output.emit(as_json, answer, lambda console: print_history(console, runs))
