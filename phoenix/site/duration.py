"""Durations as Go programs write them ("24h", "1h30m", "90s"): step-ca's and Traefik's form."""

from __future__ import annotations

import re
from datetime import timedelta

from phoenix.site.findings import SettingError

_PART = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,12})?)(h|m|s)")
_LONGEST = 290 * 365 * 24 * 3600  # what an int64 of nanoseconds holds, about 292 years
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0}


def parse(text: str) -> timedelta:
    """Read a positive duration; units h, m and s (https://pkg.go.dev/time#ParseDuration).

    Raises:
        SettingError: says what the text should look like.
    """
    parts = _PART.findall(text)
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != text or not 0 < seconds <= _LONGEST:
        raise SettingError(f"{text[:80]!r} is not a duration: write for example 24h, 1h30m or 90s")
    return timedelta(seconds=seconds)


def to_text(length: timedelta) -> str:
    """For a person, two units at most: `3 days 4 h`, `15 h 20 min`, `4 min`; rounded down."""
    minutes = max(0, int(length.total_seconds() // 60))
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} day{'s' if days > 1 else ''}" + (f" {hours} h" if hours else "")
    if hours:
        return f"{hours} h" + (f" {minutes} min" if minutes else "")
    return f"{minutes} min"
