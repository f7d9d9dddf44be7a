"""Two voices: JSON on standard output for scripts, or words and tables for a person.

Rich turns `:CD:` into a picture of a disc unless it is told not to (`emoji`), and a fingerprint has
such letters between colons.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel
from rich.console import Console

WIDTH = 100
"""Columns of what is written to a pipe or a file."""


def console() -> Console:
    """The console for results, on standard output; `WIDTH` columns without a terminal."""
    console = Console(highlight=False, soft_wrap=True, emoji=False)
    if not console.is_terminal:
        console.width = WIDTH
    return console


def notes() -> Console:
    """The console for progress and notes, on standard error: standard output has only results."""
    return Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


def count(number: int, noun: str) -> str:
    """A number and what is counted, as a person writes it: `1 host`, `2 hosts`, `0 hosts`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def emit(
    as_json: bool, data: BaseModel | dict[str, Any], print_text: Callable[[Console], None]
) -> None:
    """Give `data` as JSON, or let `print_text` write it for a person."""
    if not as_json:
        print_text(console())
        return
    plain = data.model_dump(mode="json") if isinstance(data, BaseModel) else data
    sys.stdout.write(json.dumps(plain, indent=2, default=str) + "\n")
