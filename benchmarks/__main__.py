"""`python -m benchmarks MEASURE`, or `all` but the longest: measure; exit 1 below the goals.

`declare`, `start` and `scale` need no such lab. The others use the lab `bench` unless
PHOENIX_LAB_NAME says otherwise; `converge` takes that lab down first.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

os.environ.setdefault("PHOENIX_LAB_NAME", "bench")  # before the lab reads it

from benchmarks import (
    alarms,
    converge,
    datapath,
    declare,
    door,
    quiet,
    scale,
    soak,
    start,
    whole,
)
from lab.progress import say
from lab.settings import LabError
from lab.up import down

_MEASURES = ("declare", "start", "converge", "datapath", "admission", "soak")
_LONG = ("alarms", "quiet", "scale", "door", "whole")
"""What `all` leaves out: hours, and what needs a lab of its own."""


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


def _arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("what", choices=(*_MEASURES, *_LONG, "all"))
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers there")
    parser.add_argument("--runs", type=_positive, default=3, help="no-change runs, or calls")
    parser.add_argument(
        "--repeat", type=_positive, default=5, help="datapath: loads; declare: runs"
    )
    parser.add_argument("--seconds", type=_positive, default=4, help="of each load (datapath)")
    parser.add_argument("--connections", type=_positive, default=16, help="at once (datapath)")
    parser.add_argument(
        "--interval", type=_positive, default=10, help="seconds between two rounds (alarms)"
    )
    parser.add_argument(
        "--only", default="", help="faults (alarms), parts (scale) or guests (whole) of such names"
    )
    parser.add_argument("--times", type=_positive, default=10, help="of each fault (door, whole)")
    parser.add_argument("--minutes", type=_positive, default=120, help="of normal work (quiet)")
    parser.add_argument(
        "--log", type=Path, metavar="FILE", help="what is seen, as it comes (quiet)"
    )
    parser.add_argument("--keep", action="store_true", help="leave the lab up afterwards")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Run the named measures; 0: goals met, 1: a goal missed or a run failed."""
    options = _arguments(arguments)
    # What was put up is taken down again on any end that can be noticed.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: sys.exit(128 + number))
    machine = f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, {platform.platform()}"
    result: dict[str, Any] = {"time": datetime.now(UTC).isoformat(), "machine": machine}
    measures: dict[str, Callable[[], dict[str, Any]]] = {
        "declare": lambda: declare.measure(options.repeat),
        "start": lambda: start.measure(options.runs),
        "converge": lambda: converge.measure(options.runs),
        "datapath": lambda: datapath.measure(
            connections=options.connections, seconds=options.seconds, repeat=options.repeat
        ),
        "admission": lambda: datapath.measure_admission(
            connections=options.connections, seconds=options.seconds, repeat=options.repeat
        ),
        "soak": soak.measure,
        "scale": lambda: scale.measure(options.only),
        "alarms": lambda: alarms.measure(interval=options.interval, only=options.only),
        "door": lambda: door.measure(options.times),
        "whole": lambda: whole.measure(options.times, options.only),
        "quiet": lambda: quiet.measure(minutes=options.minutes, log=options.log),
    }
    names = _MEASURES if options.what == "all" else (options.what,)
    try:
        for name in names:
            result[name] = measures[name]()
    except LabError as error:
        print(f"\nbenchmarks: {error}", file=sys.stderr)
        return 1
    finally:
        if options.json:
            options.json.write_text(json.dumps(result, indent=2) + "\n")
        if not options.keep and not set(names) <= {"declare", "start", "scale"}:
            down()
    say(machine)
    return 0 if _print_reports(result) else 1


def _print_reports(result: dict[str, Any]) -> bool:
    """Print a table for each benchmark that ran; return whether every goal is met."""
    writers = {
        "declare": declare.print_report,
        "start": start.print_report,
        "converge": converge.print_report,
        "datapath": datapath.print_report,
        "admission": datapath.print_admission,
        "soak": soak.print_report,
        "scale": scale.print_report,
        "alarms": alarms.print_report,
        "quiet": quiet.print_report,
        "door": door.print_report,
        "whole": whole.print_report,
    }
    met = [write(result[name]) for name, write in writers.items() if name in result]
    return all(met)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
