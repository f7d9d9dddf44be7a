"""The figures that have a goal: beside each the one of the version that the goal was set for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.report import table


@dataclass(frozen=True)
class Figure:
    """One figure. `before` was measured on another machine, as quiet and of two cores as well.

    Args:
        name: what is measured, with its unit.
        before: as it was when the goal was set; None where it was not measured.
        goal: at most that, or at least; None where it is shown for comparison alone.
        now: as it is.
        form: a format specification for the three.
        at_least: whether more is better.
    """

    name: str
    before: float | None
    goal: float | None
    now: float
    form: str = ".2f"
    at_least: bool = False

    @property
    def is_met(self) -> bool:
        """Whether it reaches its goal, or has none."""
        if self.goal is None:
            return True
        return self.now >= self.goal if self.at_least else self.now <= self.goal

    @property
    def row(self) -> tuple[str, str, str, str, str]:
        """Name, before, now, goal and verdict."""
        verdict = "" if self.goal is None else "met" if self.is_met else "MISSED"
        return (self.name, self._text(self.before), self._text(self.now), self._goal, verdict)

    @property
    def _goal(self) -> str:
        if self.goal is None:
            return "-"
        return f"{'at least' if self.at_least else 'at most'} {self._text(self.goal)}"

    def _text(self, number: float | None) -> str:
        return "-" if number is None else f"{number:{self.form}}"


def print_figures(figures: Sequence[Figure]) -> bool:
    """Print them as a table; whether every goal is met."""
    print(f"\n{table(('figure', 'before', 'now', 'goal', ''), [item.row for item in figures])}")
    return all(item.is_met for item in figures)
