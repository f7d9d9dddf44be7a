"""Shell completion of names: from the site where there is one, and silent where there is none."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import typer

from phoenix.cli.output import DEFAULT_INVENTORY


def names(context: typer.Context, incomplete: str) -> list[str]:
    """Every name of the site that begins so. A shell waits for this: no error, and no output."""
    from phoenix.cli import declared
    from phoenix.derived.find import completions

    inventory = Path(context.params.get("inventory") or DEFAULT_INVENTORY)
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        try:
            return completions(declared.read(inventory).sound(), incomplete)
        except (Exception, SystemExit):  # noqa: BLE001 - whatever an inventory's Python raises
            return []


def targets(context: typer.Context, incomplete: str) -> list[str]:
    """The same names, and `all`, for verbs that may be given the whole platform."""
    every = [word for word in ("all",) if word.startswith(incomplete.lower())]
    return [*every, *names(context, incomplete)]
