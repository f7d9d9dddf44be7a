"""A host's report: what its checks found, as `phoenix-watch` writes it. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from phoenix.watch.issued import Asked, Issued

FIRST = "phoenix-watch 1"
"""The first line: what it is, and the version of its form."""
LONGEST = 1024 * 1024
"""Bytes: no report is longer."""
_MAX_LINES = 50_000
KEY_LETTERS = 16
"""So much of a key's digest tells it from others; `phoenix-watch` reports no more."""
_LAST = 253_402_300_799
"""The end of the year 9999, the last one of a certificate (RFC 5280, 4.1.2.5)."""


class ReportError(ValueError):
    """Text that is no report."""


@dataclass(frozen=True)
class Room:
    """A file system: KiB that are used, and that may be written."""

    used: int
    left: int


@dataclass(frozen=True)
class Validity:
    """From when to when a certificate is valid, in seconds since 1970."""

    not_before: int
    not_after: int


@dataclass(frozen=True)
class Run:
    """The last run of a kind. Times are seconds since 1970.

    Attributes:
        result: as `phoenix.runs.history.Result`.
        ended: when it ended.
        by: who ran it, as user@machine.
        commit: of the revision; empty where it came from no checkout.
        succeeded: when the last one ended that succeeded; 0: none did.
    """

    result: str
    ended: int
    by: str
    commit: str
    succeeded: int


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
        certificates: those that it holds, by name.
        runs: of the host that remembers them, the last run that deploys (`deploy`), and the last
            `backup`.
        asked: by certificate, for which keys it was asked; "" are certificates that were removed.
        issued: of the CA's guest, what the CA has issued and is valid.
    """

    host: str
    plan: str
    took: int | None
    outcomes: tuple[str, ...]
    disks: Mapping[str, Room] = field(default_factory=dict)
    locked: bool = False
    warnings: Mapping[str, str] = field(default_factory=dict)
    certificates: Mapping[str, Validity] = field(default_factory=dict)
    runs: Mapping[str, Run] = field(default_factory=dict)
    asked: Mapping[str, Asked] = field(default_factory=dict)
    issued: tuple[Issued, ...] = ()


class _Reader:
    """What the lines so far have said."""

    def __init__(self) -> None:
        self.host = self.plan = ""
        self.took: int | None = None
        self.locked = False
        self.outcomes: list[str] = []
        self.disks: dict[str, Room] = {}
        self.warnings: dict[str, str] = {}
        self.certificates: dict[str, Validity] = {}
        self.runs: dict[str, Run] = {}
        self.asked: dict[str, Asked] = {}
        self.issued: list[Issued] = []

    def take(self, fields: list[str]) -> None:
        """One line; raises ValueError where it is damaged."""
        match fields:
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
            case _:
                self._take_known(fields)

    def _take_known(self, fields: list[str]) -> None:
        """A line of what the host knows beside its checks."""
        match fields:
            case ["certificate", name, begins, ends]:
                self.certificates[name] = Validity(_time(begins), _time(ends))
            case ["run", kind, result, ended, by, commit, succeeded]:
                self.runs[kind] = Run(result, _time(ended), by, commit, _time(succeeded))
            case ["asked", name, since, keys]:
                self.asked[name] = Asked(_moment(since), frozenset(keys.split()))
            case ["issued", told]:
                self.issued.append(_issued(told))


def _time(text: str) -> int:
    """Seconds since 1970, of a year that Python knows.

    Raises:
        ValueError: it is none.
    """
    seconds = int(text)
    if not 0 <= seconds <= _LAST:
        raise ValueError(f"no time: {text}")
    return seconds


def _moment(seconds: Any) -> datetime:
    return datetime.fromtimestamp(_time(str(seconds)), UTC)


def _issued(line: str) -> Issued:
    """A certificate, from a line of `phoenix/components/step_ca/issued.py`.

    Raises:
        ValueError: it is none.
    """
    try:
        data = json.loads(line)
        return Issued(
            str(data["serial"]),
            tuple(map(str, data["names"])),
            _moment(data["not_before"]),
            _moment(data["not_after"]),
            str(data["key"])[:KEY_LETTERS],
            data.get("was_declared") is True,
        )
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"no certificate: {error}") from None


def parse(text: str) -> Report:
    """The report that a text holds; lines of a later version are passed over.

    Raises:
        ReportError: it is none, or names no host; says which line.
    """
    # What a check has heard may hold other characters that Python takes for the end of a line.
    first, *lines = text.removesuffix("\n").split("\n")[:_MAX_LINES]
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
        read.warnings, read.certificates, read.runs, read.asked, tuple(read.issued),
    )  # fmt: skip
