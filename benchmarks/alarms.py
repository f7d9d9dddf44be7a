"""Each single fault raises one alarm with its true cause, and one word when it is over.

A long measure: the faults of `benchmarks.faults` are made one after the other in a lab that watches
itself, and each is taken away again. What the hook of the alarms got is compared.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.bench_site import execute
from benchmarks.converge import converge
from benchmarks.faults import FAULTS, Fault
from benchmarks.report import table
from lab import alarm_hook, preflight
from lab.image import pack
from lab.progress import say
from lab.settings import ROOT, LabError
from lab.state import LabState
from lab.up import up
from phoenix.components.watch import files as watch
from phoenix.declaration.load import load_site
from phoenix.derived.components import WATCHED, WATCHER
from phoenix.site.model import Site
from phoenix.site.roles import guest_with

WITHIN_SECONDS = 180
"""From a fault to its alarm, and from its repair to the word that it is over."""
DECLARATION = "inventories/phoenix_lxc_configs.json"
STATUS = "/var/lib/phoenix-watch/status.json"
MEMORY = "/var/lib/phoenix-watch/state.json"
"""Without it each fault is the first: a check that fails thrice within an hour is flapping."""


@dataclass(frozen=True)
class Watched:
    """A lab that watches itself: its guests by role, with their names and addresses."""

    guests: Mapping[str, Any]
    names: Mapping[str, str]
    addresses: Mapping[str, str]
    interval: int

    def messages(self) -> list[dict[str, str]]:
        """What the hook got so far."""
        told = execute(self.guests["hypervisor"], f"cat {alarm_hook.MESSAGES} 2>/dev/null; :")
        return [json.loads(line) for line in told.splitlines()]

    def causes(self) -> list[Any]:
        """What the watcher takes for wrong now."""
        told = execute(self.guests["hypervisor"], f"cat {STATUS} 2>/dev/null || echo null")
        found = json.loads(told)
        return ["it has not looked yet"] if found is None else list(found["causes"])


def roles(site: Site) -> dict[str, str]:
    """The names of the hosts that faults speak of.

    Raises:
        LabError: the site has no guest of a role.
    """
    docker = next((host for host in site.agents if host != site.portainer), None)
    if docker is None:
        raise LabError("The site has no Docker host beside the control plane.")
    return {
        "hypervisor": site.hypervisor.name,
        "ca": guest_with(site, "step_ca").name,
        "traefik": guest_with(site, "traefik").name,
        "gateway": guest_with(site, "nginx").name,
        "portainer": guest_with(site, "portainer").name,
        "docker": docker.name,
    }


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
    with _watching(lab, interval) as watched:
        for number, fault in enumerate(chosen, 1):
            say(f"{number} of {len(chosen)}: {fault.name}")
            row = _tried(watched, fault)
            rows.append(row)
            say(f"  {_told(row)}")
    return {"interval": interval, "faults": rows}


@contextmanager
def _watching(lab: LabState, interval: int) -> Iterator[Watched]:
    client = preflight.connect()
    site = load_site(
        ROOT / "inventories", ROOT / "stacks", environment="production", subnet=lab.subnet
    )
    names = roles(site)
    watched = Watched(
        {role: client.containers.get(lab.container(name)) for role, name in names.items()},
        names,
        {role: lab.hosts[name] for role, name in names.items()},
        interval,
    )
    hypervisor = watched.guests["hypervisor"]
    hook = alarm_hook.SERVER.encode()
    hypervisor.put_archive("/", pack({alarm_hook.PROGRAM[1:]: (hook, 0o600)}))
    execute(hypervisor, f"{alarm_hook.STOP.partition(';')[0]} 2>/dev/null; {alarm_hook.START}")
    try:
        with tempfile.TemporaryDirectory(prefix="phoenix-bench-") as scratch:
            say("the platform, watched (deploys/all.py)")
            os.environ["PHOENIX_SECRET_ALARM_URLS"] = alarm_hook.URL
            inventory = _declared(Path(scratch))
            settings = {"watch_interval": str(interval), "watch_backup_days": "0"}
            converge(lab, inventory=inventory, data=settings)
        _wait(lambda: watched.causes() == [], "a first look that finds all well")
        yield watched
    finally:
        os.environ.pop("PHOENIX_SECRET_ALARM_URLS", None)
        say("the lab as declared")
        for name in lab.hosts:
            for tree in (WATCHED, WATCHER):
                apply = f"/var/lib/phoenix/trees/{tree}/current/apply"
                guest = client.containers.get(lab.container(name))
                execute(guest, f"[ ! -e {apply} ] || sh {apply} remove")
        execute(hypervisor, f"{alarm_hook.STOP}; rm -rf {watch.VAR} {' '.join(watch.RUN)}")
        converge(lab)


def _declared(directory: Path) -> Path:
    """A copy of the declaration in which the hypervisor watches; its inventory."""
    for name in ("inventories", "stacks"):
        shutil.copytree(ROOT / name, directory / name)
    path = directory / DECLARATION
    declared = json.loads(path.read_text())
    declared.setdefault("site", {})["watcher"] = "hypervisor"
    path.write_text(json.dumps(declared, indent=2))
    return directory / "inventories/lab.py"


def _tried(watched: Watched, fault: Fault) -> dict[str, Any]:
    """Make one fault, wait for its alarm, take it away, and wait for the end."""
    execute(watched.guests["hypervisor"], f"rm -f {MEMORY}")
    time.sleep(2 * watched.interval)  # a watcher that begins hears every host first
    before = len(watched.messages())
    guest = watched.guests[fault.role]
    began = time.monotonic()
    execute(guest, fault.make.format_map(watched.addresses))
    alarm = _wait(lambda: len(watched.messages()) > before)
    time.sleep(3 * watched.interval)  # symptoms would be told by now
    during = watched.messages()[before:]
    execute(guest, f"{fault.repair}; :")
    repaired = time.monotonic()
    end = _wait(lambda: any(_is_end(one) for one in watched.messages()[before:]))
    quiet = _wait(lambda: watched.causes() == [])
    time.sleep(2 * watched.interval)
    told = watched.messages()[before:]
    return {
        "name": fault.name,
        "host": watched.names[fault.blamed or fault.role],
        "cause": fault.cause,
        "alarms": [one["title"] for one in told if not _is_end(one)],
        "ends": [one["title"] for one in told if _is_end(one)],
        "text": during[0]["message"] if during else "",
        "alarm_seconds": alarm - began if alarm else None,
        "end_seconds": end - repaired if end else None,
        "quiet": quiet is not None,
    }


def _told(row: Mapping[str, Any]) -> str:
    """One row as it comes: all of it where it is not as wanted."""
    if good(row):
        return f"well after {row['alarm_seconds']:.0f} s: {row['alarms'][0]}"
    return f"NOT AS WANTED: {json.dumps(row)}"


def _is_end(message: Mapping[str, str]) -> bool:
    return "] over: " in message["title"]


def _wait(holds: Callable[[], bool], needed: str = "") -> float | None:
    """When something holds at last; None after `WITHIN_SECONDS`, or a LabError where it is needed.

    Raises:
        LabError: it did not, and `needed` says what.
    """
    end = time.monotonic() + WITHIN_SECONDS
    while time.monotonic() < end:
        if holds():
            return time.monotonic()
        time.sleep(1)
    if needed:
        raise LabError(f"not within {WITHIN_SECONDS} s: {needed}")
    return None


def good(row: Mapping[str, Any]) -> bool:
    """Whether there was one alarm, of the true cause, and one end."""
    if len(row["alarms"]) != 1 or len(row["ends"]) != 1 or not row["quiet"]:
        return False
    title = row["alarms"][0]
    said = f"{title}\n{row['text']}"
    return f": {row['host']}: " in title and re.search(row["cause"], said) is not None


def print_report(result: Mapping[str, Any]) -> bool:
    """Print what each fault raised; whether each raised one alarm of its true cause and one end."""

    def seconds(value: float | None) -> str:
        return "none" if value is None else f"{value:.0f}"

    rows = [
        (
            one["name"], seconds(one["alarm_seconds"]), seconds(one["end_seconds"]),
            f"{len(one['alarms'])}", f"{len(one['ends'])}", "well" if good(one) else "NO",
        )
        for one in result["faults"]
    ]  # fmt: skip
    head = ("fault", "alarm after, s", "end after, s", "alarms", "ends", "as wanted")
    print(f"\n{table(head, rows)}\n")
    for one in result["faults"]:
        if not good(one):
            print(f"{one['name']}: wanted one of {one['host']} ({one['cause']}), got:")
            for title in (*one["alarms"], *one["ends"]):
                print(f"  {title}")
            print(f"  {one['text'][:300]!r}")
    well = sum(map(good, result["faults"]))
    print(f"{well} of {len(result['faults'])} faults: one alarm of the true cause, and one end")
    return well == len(result["faults"])
