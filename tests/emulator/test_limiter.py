"""The emulator's login limiter: a bucket, as the real server's."""

from __future__ import annotations

import pytest

from portainer_emulator.accounts import Limiter
from portainer_emulator.http import HttpError


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_ten_at_once_then_one_a_second_and_an_empty_bucket_bans_for_an_hour() -> None:
    clock = Clock()
    limiter = Limiter(clock=clock)
    for _ in range(10):
        limiter.check("a")
    for _ in range(30):  # one a second goes on without end
        clock.now += 1
        limiter.check("a")
    clock.now += 0.5  # less than one hit has come in
    with pytest.raises(HttpError):
        limiter.check("a")
    limiter.check("b")
    clock.now += 3599
    with pytest.raises(HttpError):
        limiter.check("a")
    clock.now += 2
    limiter.check("a")


def test_eleven_within_a_few_seconds_are_too_many() -> None:
    clock = Clock()
    limiter = Limiter(clock=clock)
    for _ in range(12):  # two a second empty the bucket all the same
        limiter.check("a")
        clock.now += 0.2
    with pytest.raises(HttpError):
        limiter.check("a")
