"""Options that most verbs have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_INVENTORY = Path("inventories/phoenix.py")

InventoryOption = Annotated[
    Path,
    typer.Option(
        "--inventory",
        "-i",
        envvar="PHOENIX_INVENTORY",
        help="The site's pyinfra inventory, or a directory with its two JSON files.",
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="One JSON object on standard output instead of words.")
]


def named(name: str) -> None:
    """Refuse a name that is empty, as a script's unset variable is.

    Raises:
        typer.BadParameter: it is.
    """
    if not name.strip():
        raise typer.BadParameter("it is empty", param_hint="NAME")
