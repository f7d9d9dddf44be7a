"""`phoenix doctor`: walk each path hop by hop, and name the first cause and its fix."""

from __future__ import annotations

from typing import Annotated

import typer

from phoenix.cli import complete, exits, options

NameArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="NAME",
        help="A service, URL, guest, component or stack. Default: everything.",
        show_default=False,
        autocompletion=complete.names,
    ),
]


def doctor(
    name: NameArgument = None,
    inventory: options.InventoryOption = options.DEFAULT_INVENTORY,
    as_json: options.JsonOption = False,
) -> None:
    """Check each hop of a request on the guest that makes it, and name the first cause.

    Nothing is changed.

    Examples:
      phoenix doctor                    every path of the site
      phoenix doctor qdrant             the paths that one service needs
      phoenix doctor nginx              the paths through one component
      phoenix doctor 102 --json         what concerns one guest, for a script

    Exit code: 0 all is well, 1 something is broken or could not be asked.
    """
    from phoenix.cli import output, project
    from phoenix.cli.observe_hosts import observe
    from phoenix.cli.reports.doctor import Report, print_report
    from phoenix.cli.undeclared import of_observed
    from phoenix.health import observation, paths
    from phoenix.health.diagnosis import diagnose
    from phoenix.health.undeclared import Undeclared
    from phoenix.watch.causes import Findings

    site = project.load(inventory)
    chosen = paths.paths(site.site) if name is None else paths.select(site.site, name)
    hosts = {host.name for host in site.site.hosts}
    hosts &= {host for path in chosen for host in path.hosts}
    # What is declared nowhere is told with the whole site, and is no fault.
    kinds = [
        observation.CHECKS,
        observation.ISSUED,
        observation.ASKED,
        *(observation.LEFT if name is None else ()),
    ]
    observed, _ = observe(site, kinds, hosts, quiet=as_json)
    outcomes, silent = observation.outcomes(site.site, observed, hosts)
    diagnosis = diagnose(site.site, chosen, Findings(outcomes, silent))
    left = of_observed(site, observed) if name is None else Undeclared()
    report = Report.of(site.name, name or "", diagnosis, left)
    output.emit(as_json, report, lambda console: print_report(console, report))
    if not report.ok:
        raise typer.Exit(exits.ERROR)
