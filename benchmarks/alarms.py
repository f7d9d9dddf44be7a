"""Each single fault raises one alarm with its true cause, and one word when it is over.

A long measure: the faults of `benchmarks.faults` are made one after the other in a lab that watches
itself, and each is taken away again. What the hook of the alarms got is compared.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from typing import Any

from benchmarks.bench_site import execute
from benchmarks.faults import FAULTS, Fault
from benchmarks.report import table
from benchmarks.watched import FORGET, Watched, is_end, wait, watching
from lab.progress import say
from lab.settings import LabError
from lab.up import up


def measure(*, interval: int, only: str = "") -> dict[str, Any]:
    """Bring the lab up, let it watch itself, make each fault, and put the lab back.

    Args:
        interval: seconds between two rounds of checks (setting `watch_interval`).
        only: regular expression of the names of the faults to make; empty for all.

    Returns:
        A row for each fault, ready for JSON.

    Raises:
        LabError: the lab does not converge, or no fault has such a name.
    """
    chosen = [fault for fault in FAULTS if re.search(only, fault.name)]
    if not chosen:
        raise LabError(f"no fault of benchmarks/faults.py has a name like {only!r}")
    lab = up()
    rows: list[dict[str, Any]] = []
    with watching(lab, interval) as watched:
        for number, fault in enumerate(chosen, 1):
            say(f"{number} of {len(chosen)}: {fault.name}")
            row = _tried(watched, fault)
            rows.append(row)
            say(f"  {_sentence(row)}")
    return {"interval": interval, "faults": rows}


def _tried(watched: Watched, fault: Fault) -> dict[str, Any]:
    """Make one fault, wait for its alarm, take it away, and wait for the end."""
    execute(watched.guests["hypervisor"], FORGET)
    before = len(watched.messages())
    guest = watched.guests[fault.role]
    began = time.monotonic()
    execute(guest, fault.make.format_map(watched.addresses))
    alarm = wait(lambda: len(watched.messages()) > before)
    time.sleep(3 * watched.interval)  # symptoms would be told by now
    during = watched.messages()[before:]
    execute(guest, f"{fault.repair}; :")
    repaired = time.monotonic()
    end = wait(lambda: any(is_end(message) for message in watched.messages()[before:]))
    quiet = wait(lambda: watched.causes() == [])
    time.sleep(2 * watched.interval)
    messages = watched.messages()[before:]
    return {
        "name": fault.name,
        "host": watched.names[fault.blamed or fault.role],
        "cause": fault.cause,
        "alarms": [message["title"] for message in messages if not is_end(message)],
        "ends": [message["title"] for message in messages if is_end(message)],
        "text": during[0]["message"] if during else "",
        "alarm_seconds": alarm - began if alarm else None,
        "end_seconds": end - repaired if end else None,
        "quiet": quiet is not None,
    }


def _sentence(row: Mapping[str, Any]) -> str:
    """One row as it comes: all of it where it is not as wanted."""
    if as_expected(row):
        return f"well after {row['alarm_seconds']:.0f} s: {row['alarms'][0]}"
    return f"NOT AS WANTED: {json.dumps(row)}"


def as_expected(row: Mapping[str, Any]) -> bool:
    """Whether there was one alarm, of the true cause, and one end."""
    if len(row["alarms"]) != 1 or len(row["ends"]) != 1 or not row["quiet"]:
        return False
    title = row["alarms"][0]
    message = f"{title}\n{row['text']}"
    return f": {row['host']}: " in title and re.search(row["cause"], message) is not None


def print_report(result: Mapping[str, Any]) -> bool:
    """Print what each fault raised; whether each raised one alarm of its true cause and one end."""

    def seconds(value: float | None) -> str:
        return "none" if value is None else f"{value:.0f}"

    rows = [
        (
            fault["name"], seconds(fault["alarm_seconds"]), seconds(fault["end_seconds"]),
            f"{len(fault['alarms'])}", f"{len(fault['ends'])}",
            "well" if as_expected(fault) else "NO",
        )
        for fault in result["faults"]
    ]  # fmt: skip
    head = ("fault", "alarm after, s", "end after, s", "alarms", "ends", "as wanted")
    print(f"\n{table(head, rows)}\n")
    for fault in result["faults"]:
        if not as_expected(fault):
            print(f"{fault['name']}: wanted one of {fault['host']} ({fault['cause']}), got:")
            for title in (*fault["alarms"], *fault["ends"]):
                print(f"  {title}")
            print(f"  {fault['text'][:300]!r}")
    well = sum(map(as_expected, result["faults"]))
    print(f"{well} of {len(result['faults'])} faults: one alarm of the true cause, and one end")
    return well == len(result["faults"])
