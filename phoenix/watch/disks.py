"""When a file system will be full, if it goes on as it did. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from phoenix.watch.report import Room

Samples = list[list[int]]
"""Of one file system: time in seconds since 1970, KiB used; oldest first."""
DAY = 86_400
_EACH, _KEPT = 3600, 7 * DAY
_LEAST = DAY
"""A forecast needs samples of a whole day: most of what grows, grows by day."""
_WARN = 7
_STEADY = 0.8


def added(samples: Samples, now: int, used: int) -> Samples:
    """The samples with one more an hour, those of a week."""
    if samples and now - samples[-1][0] < _EACH:
        return samples
    return [*(sample for sample in samples if now - sample[0] <= _KEPT), [now, used]]


def days_left(samples: Samples, room: Room) -> float | None:
    """Days until nothing is left, by the line through the samples (least squares).

    Returns:
        None where they cover less than a day, do not grow, or do not lie on a line, as with a
        backup that comes and goes.
    """
    if len(samples) < 3 or samples[-1][0] - samples[0][0] < _LEAST:
        return None
    days = [(time - samples[0][0]) / DAY for time, _ in samples]
    sizes = [float(used) for _, used in samples]
    slope, fit = _line(days, sizes)
    return room.left / slope if slope > 0 and fit >= _STEADY else None


def warnings(history: Mapping[str, Samples], rooms: Mapping[str, Room]) -> dict[str, str]:
    """By place, what to tell of file systems that are full within a week."""
    warned = {}
    for place, room in rooms.items():
        left = days_left(history.get(place, []), room)
        if left is not None and left < _WARN:
            warned[place] = (
                f"{place} will be full in {max(1, round(left))} days, if it goes on as in the last "
                f"{round((history[place][-1][0] - history[place][0][0]) / DAY)} days: "
                f"{room.left // 1024} MiB are left"
            )
    return warned


def _line(xs: Sequence[float], ys: Sequence[float]) -> tuple[float, float]:
    """Slope of the least-squares line, and how much of the variance it explains (R squared)."""
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    across = sum((x - mean_x) ** 2 for x in xs)
    along = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
    up = sum((y - mean_y) ** 2 for y in ys)
    if not across or not up:
        return 0.0, 0.0
    return along / across, along**2 / (across * up)
