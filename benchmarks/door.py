"""What the loss of a gateway costs, of two: failed requests and the longest silence, under load.

A long measure with a lab of its own: the control plane alone, with a second gateway. Each fault is
made several times, on the gateway that holds the virtual address and on the other one.
"""

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
from statistics import median
from typing import Any

from benchmarks.bench_site import execute
from benchmarks.converge import converge
from benchmarks.door_load import Met, met
from benchmarks.report import table
from lab import preflight
from lab.guests import lab_site
from lab.image import pack
from lab.progress import say
from lab.settings import ROOT, LabError, from_environment
from lab.state import LabState
from lab.up import up
from phoenix.derived.routes import route_for_check
from phoenix.derived.virtual_addresses import VirtualAddress, virtual_addresses
from phoenix.site.model import Site
from phoenix.site.roles import guest_with

CONTAINERS = "inventories/phoenix_lxc_configs.json"
MACHINES = "inventories/phoenix_vm_configs.json"
SECOND = "gateway-second"
PROGRAM = Path(__file__).with_name("door_client.py")
EVERY = 0.05
MOST_FAILED = 20
"""In flight, or refused while the address moves: a second of them."""
MOST_SILENCE = 5000
"""Milliseconds. VRRP takes over after 1.7 s of silence; the rest is the load of the machine."""
CUT = """\
table netdev lost {
  chain from { type filter hook ingress device "eth0" priority 0; policy drop; }
  chain to { type filter hook egress device "eth0" priority 0; policy drop; }
}
"""


@dataclass(frozen=True)
class Fault:
    """What is done to a guest, and what ends it; each takes the guest's container."""

    name: str
    make: Callable[[Any], object]
    end: Callable[[Any], object] = lambda _: None


def _sends(command: str) -> Callable[[Any], object]:
    return lambda guest: execute(guest, command)


CUT_OFF = Fault(
    "network lost",
    _sends(f"nft -f - <<'END'\n{CUT}END\n"),
    _sends("nft delete table netdev lost"),
)
KILLED = Fault("guest killed", lambda guest: guest.kill(), lambda guest: guest.start())
RESTARTED = Fault("guest restarted", lambda guest: guest.restart(timeout=60))
FAULTS = (
    Fault("SIGKILL of Nginx", _sends("systemctl kill -s KILL nginx.service")),
    Fault("SIGKILL of keepalived", _sends("systemctl kill -s KILL keepalived.service")),
    CUT_OFF,
    KILLED,
    RESTARTED,
)


def copied_site(folder: Path) -> Path:
    """Inventories, stacks and settings of the lab's site in `folder`.

    Returns:
        The copied lab inventory.
    """
    for name in ("inventories", "stacks", "group_data"):
        shutil.copytree(ROOT / name, folder / name, dirs_exist_ok=True)
    return folder / "inventories/lab.py"


def rewrite(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Put what `change` makes of a JSON file in its place."""
    path.write_text(json.dumps(change(json.loads(path.read_text())), indent=2))


def with_second_gateway(declared: dict[str, Any]) -> dict[str, Any]:
    """The declaration of containers with one more gateway, and an address between the two."""
    guests = declared["lxc_configs"]
    (first,) = [guest for guest in guests.values() if guest.get("role") == "nginx"]
    network, _, part = first["network_config"]["ip"].partition("/")[0].rpartition(".")
    card = first["network_config"] | {"ip": f"{network}.{int(part) + 1}/24"}
    second = {"name": SECOND, "mac_address": "52:54:00:AA:BB:CE", "network_config": card}
    site = declared.get("site", {}) | {"virtual_address": f"{network}.{int(part) + 2}"}
    return declared | {"site": site, "lxc_configs": guests | {"109": first | second}}


def declare(folder: Path) -> Path:
    """The lab's site in `folder`, without VMs, with a second gateway.

    Returns:
        The copied lab inventory.
    """
    inventory = copied_site(folder)
    rewrite(folder / CONTAINERS, with_second_gateway)
    rewrite(folder / MACHINES, lambda declared: declared | {"vms": []})
    return inventory


@dataclass(frozen=True)
class Door:
    """Two gateways that run: their containers by name, the client, and the address between them."""

    gateways: Mapping[str, Any]
    client: Any
    address: VirtualAddress
    url: str
    root: str

    def holders(self) -> list[str]:
        """The names of the gateways that have the address now."""
        look = f"ip -4 -o address show to {self.address.address}/32"
        return [
            name
            for name, gateway in self.gateways.items()
            if gateway.exec_run(["sh", "-c", look]).output.strip()
        ]

    def settled(self) -> str:
        """Who has the address, once one alone has it and both keepalived have seen Nginx answer."""
        for _ in range(240):
            holders = self.holders()
            if len(holders) == 1 and all(self.is_well(name) for name in self.gateways):
                return holders[0]
            time.sleep(0.5)
        raise LabError(f"the virtual address does not settle: held by {self.holders() or 'nobody'}")

    def is_well(self, name: str) -> bool:
        """Whether a gateway's units run, and its keepalived has had time to see that."""
        look = "systemctl is-active --quiet nginx.service keepalived.service"
        try:
            return bool(self.gateways[name].exec_run(["sh", "-c", look]).exit_code == 0)
        except Exception:  # noqa: BLE001  # it is being started
            return False

    @contextmanager
    def loaded(self) -> Iterator[Callable[[], Met]]:
        """Load until the block ends; what is yielded then tells what the requests met with."""
        log = f"/root/door-{time.monotonic_ns()}"
        words = ["python3", "/root/door_client.py", self.url, self.root, log, str(EVERY)]
        self.client.exec_run(words, detach=True)
        begun = f"for i in $(seq 600); do [ -s {log} ] && exit; sleep 0.1; done; exit 1"
        execute(self.client, begun)  # a request has ended
        time.sleep(1)

        def result() -> Met:
            return met(execute(self.client, f"cat {log}"))

        try:
            yield result
        finally:
            end = f"touch {log}.stop; for i in $(seq 300); do [ -e {log}.done ] && exit; sleep 0.1"
            execute(self.client, f"{end}; done; exit 1")


def tried(door: Door, fault: Fault, *, holder: bool, pause: float = 6.0) -> Met:
    """Make a fault once, on the holder of the address or on the other gateway.

    Raises:
        LabError: before or after it the address is with none, or with both.
    """
    has_it = door.settled()
    time.sleep(3)  # Nginx is taken for well after two answers
    target = next(name for name in door.gateways if (name == has_it) == holder)
    with door.loaded() as result:
        fault.make(door.gateways[target])
        time.sleep(pause)
        fault.end(door.gateways[target])
        door.settled()
        time.sleep(2)
    return result()


def door_of(lab: LabState, site: Site) -> Door:
    """The two gateways of a lab that has converged, and its client with what makes the load.

    Raises:
        LabError: the site has no route to ask for.
    """
    docker = preflight.connect()
    (address,), route = virtual_addresses(site), route_for_check(site)
    if route is None:
        raise LabError("the site has no route to ask for")
    client = docker.containers.get(lab.client)
    ca = docker.containers.get(lab.container(guest_with(site, "step_ca").name))
    root = execute(ca, "cat /etc/step-ca/certs/root_ca.crt").encode()
    files = {"root/door_client.py": (PROGRAM.read_bytes(), 0o644),
             "root/door-root.pem": (root, 0o644)}  # fmt: skip
    client.put_archive("/", pack(files))
    gateways = {
        host.name: docker.containers.get(lab.container(host.name)) for host in site.gateways
    }
    return Door(gateways, client, address, f"https://{route.fqdn}/", "/root/door-root.pem")


@contextmanager
def running() -> Iterator[Door]:
    """A lab with two gateways, converged, until the block ends."""
    with tempfile.TemporaryDirectory(prefix="phoenix-bench-") as scratch:
        inventory = declare(Path(scratch))
        os.environ["PHOENIX_LAB_SITE"] = scratch
        try:
            settings = from_environment()
            lab = up(settings)
            say("two gateways (deploys/all.py)")
            converge(lab, inventory=inventory)
            if converge(lab, inventory=inventory).changed > 1:  # the start page tells the time
                raise LabError("a second run of deploys/all.py changes something")
            yield door_of(lab, lab_site(settings))
        finally:
            del os.environ["PHOENIX_LAB_SITE"]


def measure(times: int) -> dict[str, Any]:
    """Make each fault so many times on either gateway.

    Raises:
        LabError: the lab does not converge, or the address is lost.
    """
    rows: list[dict[str, Any]] = []
    with running() as door:
        for fault in FAULTS:
            for holder in (True, False):
                on = "the holder" if holder else "the other"
                say(f"{fault.name}, on {on}, {times} times")
                tries = [tried(door, fault, holder=holder) for _ in range(times)]
                rows.append(
                    {"fault": fault.name, "on": on, "met": [result._asdict() for result in tries]}
                )
    return {"times": times, "faults": rows}


def print_report(result: dict[str, Any]) -> bool:
    """Print a row for each fault and gateway; return whether the goals are met."""
    head = ("fault", "on", "times", "requests", "failed", "most failed", "longest silence, ms",
            "median, ms", "slowest answer, ms")  # fmt: skip
    rows, well = [], True
    for row in result["faults"]:
        every = [Met(**result) for result in row["met"]]
        worst, silence = max(result.failed for result in every), [result.gap for result in every]
        rows.append((
            row["fault"], row["on"], str(len(every)), str(sum(result.requests for result in every)),
            str(sum(result.failed for result in every)), str(worst), str(max(silence)),
            f"{median(silence):.0f}", str(max(result.slowest for result in every)),
        ))  # fmt: skip
        well = well and worst <= MOST_FAILED and max(silence) <= MOST_SILENCE
    say(table(head, rows))
    return well
