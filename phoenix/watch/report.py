"""A host's report: what its checks found, as `phoenix-watch` writes it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

FIRST = "phoenix-watch 1"
"""The first line: what it is, and the version of its form."""
LONGEST = 1024 * 1024
"""Bytes: no report is longer."""
_MOST_LINES = 50_000


class ReportError(ValueError):
    """Text that is no report."""


@dataclass(frozen=True)
class Room:
    """A file system: KiB that are used, and that may be written."""

    used: int
    left: int


@dataclass(frozen=True)
class Report:
    """One report.

    Attributes:
        host: who says that it is.
        plan: which list of checks it made.
        took: seconds from its first check to its last; None where it was cut off.
        outcomes: what each check said, in order: nothing is well, "~" begins a warning.
        disks: its file systems, by their place.
        locked: whether a run of the site was at work.
        warnings: what is told beside the checks, by what it is about.
    """

    host: str
    plan: str
    took: int | None
    outcomes: tuple[str, ...]
    disks: Mapping[str, Room] = field(default_factory=dict)
    locked: bool = False
    warnings: Mapping[str, str] = field(default_factory=dict)


class _Reader:
    """What the lines so far have said."""

    def __init__(self) -> None:
        self.host = self.plan = ""
        self.took: int | None = None
        self.locked = False
        self.outcomes: list[str] = []
        self.disks: dict[str, Room] = {}
        self.warnings: dict[str, str] = {}

    def take(self, words: list[str]) -> None:
        """One line; raises ValueError where it is damaged."""
        match words:
            case ["host", host]:
                self.host = host
            case ["plan", plan]:
                self.plan = plan
            case ["locked"]:
                self.locked = True
            case ["disk", place, used, left]:
                self.disks[place] = Room(int(used), int(left))
            case ["check", position, said] if int(position) == len(self.outcomes):
                self.outcomes.append(said)
            case ["check", *_]:
                raise ReportError(f"check {len(self.outcomes)} is missing")
            case ["warning", what, said]:
                self.warnings[what] = said
            case ["took", seconds]:
                self.took = max(0, int(seconds))


def parse(text: str) -> Report:
    """The report that a text holds; lines of a later version are passed over.

    Raises:
        ReportError: it is none, or names no host; says which line.
    """
    first, *lines = text.splitlines()[:_MOST_LINES] or [""]
    if first != FIRST:
        raise ReportError(f"the first line is not {FIRST!r}")
    read = _Reader()
    for number, line in enumerate(lines, 2):
        try:
            read.take(line.split("\t"))
        except ValueError as error:
            raise ReportError(f"line {number}: {error}") from None
    if not read.host:
        raise ReportError("it names no host")
    return Report(
        read.host, read.plan, read.took, tuple(read.outcomes), read.disks, read.locked,
        read.warnings,
    )  # fmt: skip
