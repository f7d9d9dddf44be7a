"""`phoenix exec`: a command on the host, or in the container, that a name stands for."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from phoenix.cli import complete, exits, options


def exec_(
    target: Annotated[
        str,
        typer.Argument(
            help="A guest or component (on its host); a service or stack (in its container).",
            autocompletion=complete.names,
        ),
    ],
    command: Annotated[
        list[str], typer.Argument(metavar="-- COMMAND", help="The command and its arguments.")
    ],
    inventory: options.InventoryOption = options.DEFAULT_INVENTORY,
) -> None:
    """Run a command on the host, or in the container, that a name stands for.

    It runs by ssh(1) with your terminal and standard input, each word as you gave it. For a stack
    or its service it runs in the container; if the stack has several services, name one of them as
    stack:NAME/SERVICE. A name that stands for several hosts is refused.

    Examples:
      phoenix exec 101 -- nginx -T
      phoenix exec stack:qdrant_service -- ls /qdrant
      phoenix exec guest:drphoenix -- docker ps
      phoenix exec step_ca -- sh -c 'journalctl -u step-ca | tail'

    Exit code: that of the command; 255 where ssh could not connect.
    """
    from phoenix.cli import project
    from phoenix.cli.containers import place_of_command
    from phoenix.cli.ssh import run_each, ssh_words

    site = project.load(inventory)
    where = place_of_command(target, site.site)
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    words = where.words(command, terminal=terminal)
    code = run_each({where.host: ssh_words(site, where.host, words, terminal=terminal)})
    if code != exits.OK:
        raise typer.Exit(code)
