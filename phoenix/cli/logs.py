"""`phoenix logs`: the journal of a component's units, or the logs of a stack's containers."""

from __future__ import annotations

from typing import Annotated

import typer

from phoenix.cli import complete, exits, options


def logs(
    name: Annotated[
        str,
        typer.Argument(help="A component, stack, service or guest.", autocompletion=complete.names),
    ],
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Follow the log, until Ctrl-C.")
    ] = False,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=0, help="Number of lines to show, from the end.")
    ] = 100,
    inventory: options.InventoryOption = options.DEFAULT_INVENTORY,
) -> None:
    """Show the log of a component, stack, service or guest.

    The log is read by ssh(1). Where several hosts have one, each line begins with its host. For a
    stack you see all of its containers; for a service or stack:NAME/SERVICE, its own container.

    Examples:
      phoenix logs nginx                the journal of its units
      phoenix logs stack:qdrant_service -f
      phoenix logs guest:portainer -n 500

    Exit code: 0 shown, else that of ssh or of the command on the host.
    """
    from phoenix.cli import project
    from phoenix.cli.containers import check_service, split
    from phoenix.cli.ssh import run_each, ssh_words
    from phoenix.derived.logs import logs as logs_of

    site = project.load(inventory)
    stack, service = split(name)
    check_service(stack, service, site.site)
    commands_by_log = logs_of(site.site, stack, lines=lines, follow=follow, container=service)
    commands = {
        log.host.name: ssh_words(site, log.host.name, log.command) for log in commands_by_log
    }
    code = run_each(commands)
    if code != exits.OK:
        raise typer.Exit(code)
