"""`phoenix validate`: the whole configuration, offline, with every finding where it stands."""

from __future__ import annotations

from typing import Annotated

import typer

from phoenix.cli import options

_STRICT = "Keys and settings that nothing reads are errors; warnings end with exit code 2."
StrictOption = Annotated[bool, typer.Option("--strict", help=_STRICT)]


def validate(
    strict: StrictOption = False,
    inventory: options.InventoryOption = options.DEFAULT_INVENTORY,
    as_json: options.JsonOption = False,
) -> None:
    """Check the whole configuration, offline: no host is asked and no secret is needed.

    It checks the JSON files, stacks and settings for form, conflicts, keys that nothing reads, and
    everything that a run would refuse. Each finding names file, line, path and fix.

    Examples:
      phoenix validate                      the site in this folder
      phoenix validate --strict             for a commit hook: warnings count
      phoenix validate -i some/directory    two JSON files and their stacks

    Exit code: 0 nothing is wrong, 1 there are errors (with --strict also a key or setting that
    nothing reads), 2 warnings with --strict.
    """
    from phoenix.cli import offline, output
    from phoenix.cli.reports.validate import print_verdict, verdict_of

    verdict = verdict_of(offline.read(inventory), strict=strict)
    output.emit(as_json, verdict, lambda console: print_verdict(console, verdict))
    raise typer.Exit(verdict.exit_code(strict=strict))
