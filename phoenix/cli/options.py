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
