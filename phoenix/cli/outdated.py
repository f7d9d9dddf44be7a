"""`phoenix outdated`: pins for which a newer release is known."""

from __future__ import annotations

import typer

from phoenix.cli import options


def outdated(
    inventory: options.InventoryOption = options.DEFAULT_INVENTORY,
    as_json: options.JsonOption = False,
) -> None:
    """Show pins that have a newer release, with the reason to update, and images without a digest.

    It compares with a list in this release of Phoenix, so it needs no network and no host.

    Examples:
      phoenix outdated            programs, Portainer's images, the stacks' images
      phoenix outdated --json     for a script

    Exit code: 0 no newer release is known, 1 the declaration is faulty, 2 a pin is outdated.
    """
    from phoenix.cli import offline, output
    from phoenix.cli.reports.outdated import print_pins, report

    answer = report(offline.read(inventory))
    output.emit(as_json, answer, lambda console: print_pins(console, answer))
    raise typer.Exit(answer.exit_code)
