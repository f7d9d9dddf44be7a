"""The factor of the tests' deadlines: how much slower this machine is than a quiet one."""

from __future__ import annotations

import os
import subprocess
import sys
import time

VARIABLE = "PHOENIX_TEST_DEADLINE_FACTOR"
WORK = (
    "import hashlib, json\nfor _ in range(60): hashlib.sha256(json.dumps([*range(40000)]).encode())"
)
QUIET_SECONDS = 0.5
"""What `WORK` takes, twice side by side, on two quiet cores: 0.38 s measured, rounded up."""
MIN_FACTOR, MAX_FACTOR = 2.0, 12.0
"""A machine may get busy after the start: no deadline is shorter than twice what a quiet one needs.
And one that is slower than `MAX_FACTOR` has another fault."""


def deadline_factor() -> float:
    """The factor: PHOENIX_TEST_DEADLINE_FACTOR where it is set, else measured now.

    Raises:
        ValueError: the variable is no number above 0.
    """
    setting = os.environ.get(VARIABLE)
    if not setting:
        return factor(measured())
    number = float(setting)
    if number <= 0:
        raise ValueError(f"{VARIABLE}={setting} is not above 0")
    return number


def factor(seconds: float) -> float:
    """The factor for a machine on which `WORK` took that long."""
    return round(min(max(MIN_FACTOR, MIN_FACTOR * seconds / QUIET_SECONDS), MAX_FACTOR), 1)


def measured() -> float:
    """Seconds for `WORK` in two processes side by side, as two labs run in the tests."""
    start = time.monotonic()
    workers = [subprocess.Popen([sys.executable, "-c", WORK]) for _ in range(2)]
    for worker in workers:
        worker.wait()
    return time.monotonic() - start
