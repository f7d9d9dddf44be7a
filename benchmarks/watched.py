"""A lab that watches itself, with a hook that keeps its alarms: for the measures of the watch."""

from __future__ import annotations

import json
import os
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
from lab import alarm_hook, preflight
from lab.image import pack
from lab.progress import say
from lab.settings import ROOT, LabError
from lab.state import LabState
from phoenix.components.watch import files as watch
from phoenix.declaration.load import load_site
from phoenix.derived.components import WATCHED, WATCHER
from phoenix.site.model import Site
from phoenix.site.roles import guest_with

WITHIN_SECONDS = 180
"""From a fault to its alarm, and from its repair to the word that it is over."""
SETTINGS = "group_data/lab.py"
DECLARATION = "inventories/phoenix_lxc_configs.json"
STATUS = "/var/lib/phoenix-watch/status.json"
MEMORY = "/var/lib/phoenix-watch/state.json"
FORGET = f"""set -e
systemctl stop {watch.JUDGE} {watch.LOOKS}
python3 - <<'END'
import json
with open("{MEMORY}") as file:
    kept = json.load(file)
kept["state"].update(known={{}}, past={{}})
with open("{MEMORY}", "w") as file:
    json.dump(kept, file)
END
systemctl start {watch.JUDGE}
systemctl start --no-block {watch.LOOKS}
"""
"""What was wrong, and not when each host was heard: so each fault is the first, and a check that
fails thrice within an hour is not said to come and go."""


@dataclass(frozen=True)
class Watched:
    """A lab that watches itself: its guests by role, with their names and addresses.

    `inventory`: of the copy of the site that is declared so, for commands of `phoenix`.
    """

    guests: Mapping[str, Any]
    names: Mapping[str, str]
    addresses: Mapping[str, str]
    interval: int
    site: Site
    inventory: Path

    def messages(self) -> list[dict[str, str]]:
        """What the hook got so far."""
        text = execute(self.guests["hypervisor"], f"cat {alarm_hook.MESSAGES} 2>/dev/null; :")
        return [json.loads(line) for line in text.splitlines()]

    def causes(self) -> list[Any]:
        """What the watcher takes for wrong now."""
        text = execute(self.guests["hypervisor"], f"cat {STATUS} 2>/dev/null || echo null")
        status = json.loads(text)
        return ["it has not looked yet"] if status is None else list(status["causes"])


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


@contextmanager
def watching(
    lab: LabState, interval: int, settings: Mapping[str, str] | None = None
) -> Iterator[Watched]:
    """Let the lab's hypervisor watch it until the block ends; then the lab is as declared again.

    Args:
        lab: one that is up.
        interval: seconds between two rounds of checks (setting `watch_interval`).
        settings: further ones that this site has otherwise, by their values in Python's words.

    Raises:
        LabError: the lab does not converge, or the watcher does not look.
    """
    client = preflight.connect()
    site = load_site(
        ROOT / "inventories", ROOT / "stacks", environment="production", subnet=lab.subnet
    )
    names = roles(site)
    guests = {role: client.containers.get(lab.container(name)) for role, name in names.items()}
    data = {"watch_interval": str(interval), "watch_backup_days": "0", **(settings or {})}
    start_hook(guests["hypervisor"])
    try:
        with tempfile.TemporaryDirectory(prefix="phoenix-bench-") as scratch:
            say("the platform, watched (deploys/all.py)")
            os.environ["PHOENIX_SECRET_ALARM_URLS"] = alarm_hook.URL
            inventory = _declared(Path(scratch), data)
            converge(lab, inventory=inventory, data=data)
            watched = Watched(
                guests, names, {role: lab.hosts[name] for role, name in names.items()}, interval,
                site, inventory,
            )  # fmt: skip
            wait(lambda: watched.causes() == [], "a first look that finds all well")
            yield watched
    finally:
        os.environ.pop("PHOENIX_SECRET_ALARM_URLS", None)
        say("the lab as declared")
        for name in lab.hosts:
            for tree in (WATCHED, WATCHER):
                apply = f"/var/lib/phoenix/trees/{tree}/current/apply"
                guest = client.containers.get(lab.container(name))
                execute(guest, f"[ ! -e {apply} ] || sh {apply} remove")
        stop = f"{alarm_hook.STOP}; rm -rf {watch.VAR} {' '.join(watch.RUN)}"
        execute(guests["hypervisor"], stop)
        converge(lab)


def start_hook(hypervisor: Any) -> None:
    """Start what takes the alarms on the watcher; a reboot ends it."""
    hook = alarm_hook.SERVER.encode()
    hypervisor.put_archive("/", pack({alarm_hook.PROGRAM[1:]: (hook, 0o600)}))
    execute(hypervisor, f"{alarm_hook.STOP.partition(';')[0]} 2>/dev/null; {alarm_hook.START}")


def _declared(directory: Path, settings: Mapping[str, str]) -> Path:
    """A copy of the site in which the hypervisor watches; its inventory."""
    for name in ("inventories", "stacks", "group_data"):
        shutil.copytree(ROOT / name, directory / name)
    path = directory / DECLARATION
    declared = json.loads(path.read_text())
    declared.setdefault("site", {})["watcher"] = "hypervisor"
    path.write_text(json.dumps(declared, indent=2))
    with (directory / SETTINGS).open("a") as file:
        file.writelines(f"{name} = {value}\n" for name, value in settings.items())
    return directory / "inventories/lab.py"


def is_end(message: Mapping[str, str]) -> bool:
    """Whether a message says that something is over."""
    return "] over: " in message["title"]


def wait(holds: Callable[[], bool], needed: str = "") -> float | None:
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
