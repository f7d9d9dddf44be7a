"""`phoenix remove`: take away one thing that runs on the site and is declared nowhere.

With --undeclare its entry alone, from the declaration: what `phoenix add` made.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from phoenix.cli import complete, options
from phoenix.cli.exits import CommandError


def remove(
    name: Annotated[
        str,
        typer.Argument(
            help="What `phoenix plan` or `status` lists as declared nowhere: NAME, NAME@HOST or "
            "KIND:NAME.",
            autocompletion=complete.left,
        ),
    ],
    volumes: Annotated[
        bool, typer.Option("--volumes", help="Its volumes as well: their data is lost.")
    ] = False,
    destroy: Annotated[
        bool,
        typer.Option("--destroy", help="A guest of Proxmox VE as well, with its disks."),
    ] = False,
    undeclare: Annotated[
        bool,
        typer.Option(
            "--undeclare",
            help="Take the entry of a service, host or stack out of the declaration, and touch no "
            "host.",
        ),
    ] = False,
    dry: Annotated[
        bool,
        typer.Option("--dry", help="Of --undeclare: show the difference, and write nothing."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    inventory: options.InventoryOption = options.DEFAULT_INVENTORY,
    as_json: options.JsonOption = False,
) -> None:
    """Remove one thing that Phoenix deployed and that is declared nowhere any more.

    It shows what it will do, and asks in a terminal; elsewhere it needs -y. What is still declared
    is refused, and what a person started is never touched. Volumes stay unless --volumes. A guest
    of Proxmox VE is shut down and keeps its disks unless --destroy, and needs the tag `phoenix`.
    An interrupted removal is finished by the next.

    --undeclare is what comes before: the counterpart of `phoenix add`. It writes only what is
    sound, and the next sync takes routes, names and rules away.

    Examples:
      phoenix remove shop-production              a stack; its volumes stay
      phoenix remove shop-production --volumes    its data, also later
      phoenix remove docker01                     a host that left the declaration
      phoenix remove portainer-agent@docker02     a component
      phoenix remove wiki --undeclare             its entry in the JSON files

    Exit code: 0 removed, or there is nothing to remove; 1 something failed, or was refused; 2 you
    were asked and did not want it.
    """
    from phoenix.cli import project

    options.named(name)
    if undeclare:
        if volumes or destroy:
            raise CommandError("--undeclare touches no host: leave --volumes and --destroy out")
        _undeclare(inventory, name, dry=dry, as_json=as_json)
        return
    if dry:
        raise CommandError("--dry is of --undeclare; without it a removal shows its steps and asks")
    from phoenix.cli.removal import remove_one

    site = project.load(inventory)
    remove_one(site, name, volumes=volumes, destroy=destroy, yes=yes, as_json=as_json)


def _undeclare(inventory: Path, name: str, *, dry: bool, as_json: bool) -> None:
    from phoenix.cli import offline, output
    from phoenix.cli.adding import Draft, print_added

    draft = Draft(offline.read(inventory))
    stays = draft.take_out(name)
    report = draft.finish("phoenix plan", dry=dry)
    output.emit(as_json, report, lambda console: print_added(console, report, stays))
