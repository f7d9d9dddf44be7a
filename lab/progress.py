"""Progress lines with elapsed time. Standard library only."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

STARTED = "PHOENIX_LAB_STARTED"
# The bootstrap replaces its process by the environment's Python. Linux has one monotonic clock
# for all processes, so the time can be handed on. Nothing that this one starts shall inherit it.
_started = float(os.environ.pop(STARTED, "") or time.monotonic())


def say(text: str) -> None:
    """Print one line, led by the seconds since the command began."""
    print(f"[{time.monotonic() - _started:6.1f}s] {text}", flush=True)


def hand_on() -> dict[str, str]:
    """What a process that replaces this one needs in its environment to go on counting."""
    return {STARTED: str(_started)}


@contextmanager
def timed(text: str) -> Iterator[None]:
    """Print what starts, then how long it took; nothing at the end if it failed."""
    say(f"{text} ...")
    began = time.monotonic()
    yield
    say(f"{text}: done in {time.monotonic() - began:.1f} s")
