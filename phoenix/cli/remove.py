"""`phoenix remove`: take away one thing that runs on the site and is declared nowhere."""

from __future__ import annotations

from typing import Annotated

import typer

from phoenix.cli import complete, options


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
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    inventory: options.InventoryOption = options.DEFAULT_INVENTORY,
    as_json: options.JsonOption = False,
) -> None:
    """Remove one thing that Phoenix deployed and that is declared nowhere any more.

    It shows what it will do, and asks in a terminal; elsewhere it needs -y. What is still declared
    is refused, and what a person started is never touched. Volumes stay unless --volumes. A guest
    of Proxmox VE is shut down and keeps its disks unless --destroy, and needs the tag `phoenix`.
    An interrupted removal is finished by the next.

    Examples:
      phoenix remove shop-production              a stack; its volumes stay
      phoenix remove shop-production --volumes    its data, also later
      phoenix remove docker01                     a host that left the declaration
      phoenix remove portainer-agent@docker02     a component

    Exit code: 0 removed, or there is nothing to remove; 1 something failed, or was refused; 2 you
    were asked and did not want it.
    """
    from phoenix.cli import project
    from phoenix.cli.removal import remove_one

    options.named(name)
    site = project.load(inventory)
    remove_one(site, name, volumes=volumes, destroy=destroy, yes=yes, as_json=as_json)
