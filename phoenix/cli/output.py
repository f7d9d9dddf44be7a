"""Two voices: JSON on standard output for scripts, or words and tables for a person."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel
from rich.console import Console

DEFAULT_INVENTORY = Path("inventories/phoenix.py")

InventoryOption = Annotated[
    Path,
    typer.Option(
        "--inventory", "-i", envvar="PHOENIX_INVENTORY", help="The site's pyinfra inventory."
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="One JSON object on standard output instead of words.")
]


def console() -> Console:
    """For a person, on standard output."""
    return Console(highlight=False, soft_wrap=True)


def notes() -> Console:
    """For progress and notes: standard error, so that standard output stays a result's."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def emit(as_json: bool, data: BaseModel | dict[str, Any], tell: Callable[[Console], None]) -> None:
    """Give `data` as JSON, or let `tell` say it to a person."""
    if not as_json:
        tell(console())
        return
    plain = data.model_dump(mode="json") if isinstance(data, BaseModel) else data
    sys.stdout.write(json.dumps(plain, indent=2, default=str) + "\n")
