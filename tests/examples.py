"""How much of a test the fast lane takes: a share of hypothesis' examples, and the first cases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import settings

WHOLE, FAST = 100, 20
"""Of a test that names no number, in a whole run and in the fast lane."""


def examples(number: int) -> settings:
    """The settings of a test with so many in a whole run; another profile has its own share."""
    assert settings.default is not None
    return settings(max_examples=-(-number * settings.default.max_examples // WHOLE))


def mark_long_cases(items: Iterable[pytest.Item]) -> None:
    """Of a test with the mark `fast_cases(number)`, the cases beyond that number are `long`."""
    cases = Counter[str]()
    for item in items:
        if mark := item.get_closest_marker("fast_cases"):
            test = item.nodeid.partition("[")[0]
            cases[test] += 1
            if cases[test] > mark.args[0]:
                item.add_marker(pytest.mark.long)
