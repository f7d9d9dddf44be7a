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
        bool, typer.Option("--volumes", help="Remove its volumes too: their data is lost.")
    ] = False,
    destroy: Annotated[
        bool,
        typer.Option("--destroy", help="Destroy the guest in Proxmox VE too, with its disks."),
    ] = False,
    undeclare: Annotated[
        bool,
        typer.Option(
            "--undeclare",
            help="Remove the entry of a service, host or stack from the declaration, and touch no "
            "host.",
        ),
    ] = False,
    dry: Annotated[
        bool,
        typer.Option("--dry", help="With --undeclare: show the difference, and write nothing."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    inventory: options.InventoryOption = options.DEFAULT_INVENTORY,
    as_json: options.JsonOption = False,
) -> None:
    """Remove a thing that Phoenix deployed and that is no longer declared.

    It shows its steps, and asks in a terminal; elsewhere it needs -y. It refuses things that are
    still declared, and never touches what a person started. Volumes stay without --volumes. A guest
    of Proxmox VE needs the tag `phoenix`; it is shut down, and keeps its disks without --destroy.
    Call an interrupted removal again to finish it.

    --undeclare is the step before, and the counterpart of `phoenix add`: it takes the entry out of
    the declaration, if the rest is sound. The next sync removes routes, names and rules.

    Examples:
      phoenix remove shop-production              a stack; its volumes stay
      phoenix remove shop-production --volumes    its data, also later
      phoenix remove docker01                     a host that left the declaration
      phoenix remove portainer-agent@docker02     a component
      phoenix remove wiki --undeclare             its entry in the JSON files

    Exit code: 0 removed, or there is nothing to remove; 1 something failed, or was refused; 2 you
    answered no.
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
