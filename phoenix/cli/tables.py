"""Tables that are readable in 100 columns, with words beside every colour."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from phoenix.cli.output import WIDTH

_STYLES = {"ok": "green", "broken": "bold red", "silent": "bold red", "unknown": "yellow"}


Cell = str | Text


def show(
    console: Console, title: str, columns: Sequence[str], rows: Iterable[Sequence[Cell]]
) -> None:
    """Print a table without lines; long cells are folded but the first, empty columns left out.

    It is 100 columns wide where there is no terminal to say how wide.
    """
    cells = [[Text(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
    filled = [n for n in range(len(columns)) if any(row[n].plain for row in cells)]
    console.print(Text(title, style="bold"))
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.show_header = any(columns)
    for number in filled:
        table.add_column(columns[number], overflow="fold", no_wrap=number == 0)
    for row in cells:
        table.add_row(*(row[number] for number in filled))
    if not console.is_terminal:
        console.width = WIDTH
    console.print(table, soft_wrap=False)
    console.print()


def brief(text: str) -> str:
    """A fault for a cell: its beginning."""
    return textwrap.shorten(text, 64, placeholder=" ...")


def state(word: str) -> Text:
    """A state by its word, coloured."""
    return Text(word, style=_STYLES.get(word, ""))
