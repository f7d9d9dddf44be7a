"""The load generator: wrk's command line and output."""

from __future__ import annotations

import re
from dataclasses import dataclass

_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}
_P99 = re.compile(r"^ +99% +([\d.]+)(us|ms|s|m) *$", re.MULTILINE)
_RATE = re.compile(r"^Requests/sec: +([\d.]+)$", re.MULTILINE)
_REQUESTS = re.compile(r"^ +(\d+) requests in ", re.MULTILINE)
_BAD_STATUS = re.compile(r"^ +Non-2xx or 3xx responses: (\d+)$", re.MULTILINE)
_SOCKETS = re.compile(
    r"^ +Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)$", re.MULTILINE
)


@dataclass(frozen=True)
class Load:
    """One run of the load generator. `p99` in milliseconds; `errors` of any kind."""

    rate: float
    p99: float
    requests: int
    errors: int


def command(url: str, *, connections: int, seconds: int, keep_alive: bool = True) -> list[str]:
    """One thread of wrk. TLS asks for the name in `url`."""
    options = [] if keep_alive else ["-H", "Connection: close"]
    return [
        *("wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "5s", "--latency"),
        *options,
        url,
    ]


def parse(output: str) -> Load:
    """Read wrk's report; ValueError, with all of it, where it is none."""
    rate, p99, requests = (pattern.search(output) for pattern in (_RATE, _P99, _REQUESTS))
    if not (rate and p99 and requests):
        raise ValueError(f"this is no report of wrk --latency:\n{output}")
    bad_status, sockets = _BAD_STATUS.search(output), _SOCKETS.search(output)
    errors = int(bad_status[1]) if bad_status else 0
    errors += sum(map(int, sockets.groups())) if sockets else 0
    return Load(float(rate[1]), float(p99[1]) * _UNITS[p99[2]], int(requests[1]), errors)
