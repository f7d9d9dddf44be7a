"""`phoenix exec`: a command on the host that a name stands for."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from phoenix.cli import complete, exits, options


def exec_(
    target: Annotated[
        str,
        typer.Argument(
            help="A guest; or a service, stack or component on one host.",
            autocompletion=complete.names,
        ),
    ],
    command: Annotated[
        list[str], typer.Argument(metavar="-- COMMAND...", help="The command and its arguments.")
    ],
    inventory: options.InventoryOption = options.DEFAULT_INVENTORY,
) -> None:
    """Run a command on the host that a name stands for.

    It runs by ssh(1) with your terminal and standard input, each word as you gave it. A name that
    stands for several hosts is refused.

    Examples:
      phoenix exec 101 -- nginx -T
      phoenix exec guest:drphoenix -- docker ps
      phoenix exec step_ca -- sh -c 'journalctl -u step-ca | tail'

    Exit code: that of the command; 255 where ssh could not connect.
    """
    from phoenix.cli import project
    from phoenix.cli.ssh import run_each, ssh_words
    from phoenix.cli.targets import host_of

    site = project.load(inventory)
    name = host_of(target, site.site)
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    code = run_each({name: ssh_words(site, name, command, terminal=terminal)})
    if code != exits.OK:
        raise typer.Exit(code)
