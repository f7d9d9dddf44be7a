from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix.site import duration


@pytest.mark.parametrize(
    ("text", "seconds"), [("24h", 86400), ("1h30m", 5400), ("90s", 90), ("1.5h", 5400), ("5m", 300)]
)
def test_reads_what_go_writes(text: str, seconds: int) -> None:
    assert duration.parse(text) == timedelta(seconds=seconds)


@given(st.integers(0, 99), st.integers(0, 59), st.integers(1, 59))
def test_parts_add_up(hours: int, minutes: int, seconds: int) -> None:
    text = f"{hours}h{minutes}m{seconds}s"
    expected = timedelta(hours=hours, minutes=minutes, seconds=seconds)
    assert duration.parse(text) == expected, text


@pytest.mark.parametrize("text", ["", "24", "h", "1d", "-1h", "1h 30m", "24h\n", "0s", "1h30"])
def test_refuses_and_says_how_to_write_it(text: str) -> None:
    with pytest.raises(ValueError, match="write for example 24h, 1h30m or 90s"):
        duration.parse(text)


@pytest.mark.parametrize(
    ("length", "words"),
    [
        (timedelta(days=3, hours=4, minutes=59), "3 days 4 h"),
        (timedelta(days=1), "1 day"),
        (timedelta(hours=15, minutes=20), "15 h 20 min"),
        (timedelta(hours=2), "2 h"),
        (timedelta(seconds=119), "1 min"),
        (-timedelta(hours=1), "0 min"),
    ],
)
def test_words_for_a_person(length: timedelta, words: str) -> None:
    assert duration.to_text(length) == words
