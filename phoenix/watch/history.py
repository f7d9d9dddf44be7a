"""What was seen of each service on each of the last days: a small file a day.

A day's file is replaced as a whole with each look. One that cannot be read, after a torn write or a
full disk, costs that day alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from phoenix.watch.atomic_file import write
from phoenix.watch.causes import State

KEPT = 90
"""Days."""
_SERVICES = 2000
"""More services than this are not remembered, so that a file has a bound."""
_DAY = 86_400


@dataclass
class Day:
    """One day, UTC.

    Attributes:
        day: which.
        until: up to when it was seen, in seconds since 1970.
        services: by name, for how many seconds each was seen well, and broken.
    """

    day: date
    until: float = 0
    services: dict[str, list[int]] = field(default_factory=dict)

    def to_json(self) -> str:
        """As `_read` reads it."""
        return json.dumps({"until": self.until, "services": self.services})


class History:
    """The days in a folder, oldest first."""

    def __init__(self, folder: Path) -> None:
        """Read what is there; files that are none of its own are left alone."""
        self.folder = folder
        days = [_read(path) for path in sorted(folder.glob("????-??-??.json"))]
        self.days = [day for day in days if day is not None]

    def add(self, states: Mapping[str, State], now: float, longest: float, least: float) -> bool:
        """Add what a look saw; a service that it did not see counts neither as well nor as broken.

        Args:
            states: of each service.
            now: seconds since 1970.
            longest: after so many seconds without a look, the time between is not known.
            least: looks that come sooner than so many seconds after one that counted do not count.

        Returns:
            Whether anything was written.
        """
        today = datetime.fromtimestamp(now, UTC).date()
        # What lies ahead was written by a clock that was wrong.
        before = max((day.until for day in self.days if day.until <= now), default=0.0)
        if now - before < least:
            return False
        current = next((day for day in self.days if day.day == today), None)
        if current is None:
            current = Day(today)
            self.days = sorted([*self.days, current], key=_day_of)
        seconds = round(min(now - before, now % _DAY)) if now - before <= longest else 0
        for name, state in list(states.items())[:_SERVICES]:
            times = current.services.setdefault(name, [0, 0])
            if state != "unknown":
                times[state == "broken"] += seconds
        current.until = now
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write(self.folder / f"{today}.json", current.to_json(), durable=True)
        for day in self.days[:-KEPT]:
            (self.folder / f"{day.day}.json").unlink(missing_ok=True)
        self.days = self.days[-KEPT:]
        return True

    def of(self, service: str, now: float) -> list[dict[str, Any]]:
        """Each of the last days on which a service was seen, for `home.json`."""
        today = datetime.fromtimestamp(now, UTC).date()
        return [
            {
                "day": str(day.day),
                "ok": day.services[service][0],
                "broken": day.services[service][1],
            }
            for day in self.days
            if 0 <= (today - day.day).days < KEPT and any(day.services.get(service, ()))
        ]


def _day_of(day: Day) -> date:
    return day.day


def _read(path: Path) -> Day | None:
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
        services = {
            str(name): [max(0, min(int(ok), _DAY)), max(0, min(int(broken), _DAY))]
            for name, (ok, broken) in data["services"].items()
        }
        return Day(date.fromisoformat(path.stem), float(data["until"]), services)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        print(f"{path} cannot be read, and counts as not known: {error}", flush=True)  # noqa: T201
        return None
