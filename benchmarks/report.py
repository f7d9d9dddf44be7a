"""Numbers as a plain table: medians, spreads, columns; and where they are measured."""

from __future__ import annotations

import os
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple


class Sample(NamedTuple):
    """The median of some repetitions, with the smallest and the largest of them."""

    median: float
    low: float
    high: float

    def text(self, form: str = ",.0f") -> str:
        """As "median (low to high)"; `form` is a format specification for one number."""
        return f"{self.median:{form}} ({self.low:{form}} to {self.high:{form}})"


def sample(values: Sequence[float]) -> Sample:
    """Summarise repetitions; ValueError where there are none."""
    if not values:
        raise ValueError("no measurement to summarise")
    return Sample(median(values), min(values), max(values))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they need to be: the first to the left, all others to the right."""
    lines = [tuple(head), *(tuple(row) for row in rows)]
    if any(len(line) != len(head) for line in lines):
        raise ValueError(f"every row must have the {len(head)} columns of the head: {lines}")
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, tuple("-" * width for width in widths))
    return "\n".join(
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def operators_environment() -> dict[str, str]:
    """This environment as an operator has it: Python keeps what it has compiled."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
