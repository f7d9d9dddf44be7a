"""Tables that are readable in 100 columns, with words beside every colour."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDTH = 100
_STYLES = {"ok": "green", "broken": "bold red", "unknown": "yellow", "follows": "dim"}


def table(title: str, *columns: str) -> Table:
    """A table without lines; cells that are too long are folded."""
    made = Table(
        *columns, title=Text(title, style="bold"), title_justify="left", box=None,
        padding=(0, 2, 0, 0), header_style="dim",
    )  # fmt: skip
    for column in made.columns:
        column.overflow = "fold"
    return made


def show(console: Console, made: Table) -> None:
    """Print a table, 100 columns wide where there is no terminal to say how wide."""
    console.print(made, width=None if console.is_terminal else WIDTH, soft_wrap=False)
    console.print()


def state(word: str) -> Text:
    """A state by its word, coloured."""
    return Text(word, style=_STYLES.get(word, ""))
