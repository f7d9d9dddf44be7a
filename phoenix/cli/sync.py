"""`phoenix sync`: converge the site or a part of it, and say what happened."""

from __future__ import annotations

from typing import Annotated

import typer

from phoenix.cli import complete, options

TargetsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[all|TARGET...]",
        help="Components (as nginx), services, guests or stacks. Default: all.",
        autocompletion=complete.targets,
        show_default=False,
    ),
]


def sync(
    target: TargetsArgument = None,
    inventory: options.InventoryOption = options.DEFAULT_INVENTORY,
    as_json: options.JsonOption = False,
) -> None:
    """Converge the site, or the targets alone; a second run changes nothing.

    Examples:
      phoenix sync                      the whole platform, in dependency order
      phoenix sync nginx traefik        two components, on their hosts alone
      phoenix sync drphoenix            all that concerns one guest
      phoenix sync qdrant               what one service needs
      phoenix sync stack:qdrant_service
      phoenix sync guest:portainer      not the component of this name

    Exit code: 0 converged and verified, 1 something failed (its first cause is named).
    """
    from phoenix.cli import project, targets
    from phoenix.cli.converge import converge, finish

    chosen = list(target or [])
    site = project.load(inventory)
    site.print_warnings()
    planned = targets.work(chosen, site.site)
    summary = converge(site, planned, f"sync {' '.join(chosen) or targets.ALL}", quiet=as_json)
    finish(summary, as_json)
