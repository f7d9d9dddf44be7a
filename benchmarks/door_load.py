"""What a load of `benchmarks.door_client` met with: failed requests, and the longest silence."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import NamedTuple


class Met(NamedTuple):
    """What became of the requests of a load. Times are milliseconds.

    `gap` is the longest time between two answers, one after the other; `slowest` the longest that
    a request took which was answered.
    """

    requests: int
    failed: int
    why: dict[str, int]
    gap: int
    slowest: int


def met(log: str) -> Met:
    """Read the log of a load.

    Raises:
        ValueError: no request was answered: there was nothing to measure.
    """
    answered: list[tuple[float, float]] = []
    why: Counter[str] = Counter()
    for line in log.splitlines():
        began, ended, word = line.split(" ", 2)
        if word == "ok":
            answered.append((float(began), float(ended)))
        else:
            why[word] += 1
    if not answered:
        raise ValueError(f"no request was answered: {dict(why)}")
    ends = sorted(end for _, end in answered)
    gap = max((after - before for before, after in pairwise(ends)), default=0.0)
    return Met(
        requests=len(answered) + why.total(),
        failed=why.total(),
        why=dict(why),
        gap=round(gap * 1000),
        slowest=round(max(end - began for began, end in answered) * 1000),
    )
