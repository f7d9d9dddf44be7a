"""A site with everything twice: it converges, and what the loss of each single guest costs.

A long measure with a lab of its own: two gateways, two Traefiks, two name servers and three nodes
of a swarm. Each guest is killed in turn, under two loads: of a route of the site's own, and of a
service of the swarm that runs on two nodes. What the route goes through loses its network and is
restarted as well.
"""

from __future__ import annotations

import json
import os
import shlex
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.bench_site import execute
from benchmarks.converge import converge
from benchmarks.door import (
    CONTAINERS,
    CUT_OFF,
    KILLED,
    MACHINES,
    RESTARTED,
    Door,
    Fault,
    copied_site,
    door_of,
    rewrite,
    with_second_gateway,
)
from benchmarks.door_load import Met
from benchmarks.report import table
from lab import preflight
from lab.guests import lab_site
from lab.progress import say
from lab.settings import LabError, from_environment
from lab.state import LabState
from lab.up import up
from phoenix.site.model import Site

STACK, SERVICE, PORT = "orbit", "orbit", 8771
THIRD = "docker-third"
MOST_FAILED = 40
"""Of a route that no guest serves alone: those of two seconds, in which the address moves."""
SETTLED_SECONDS = 240
_SERVE = (
    "import http.server as h, os; os.chdir('/run'); "
    "h.ThreadingHTTPServer(('', {port}), h.SimpleHTTPRequestHandler).serve_forever()"
)


def declare(folder: Path) -> Path:
    """The site in `folder`: the lab's, with a second one of each and three nodes of a swarm.

    Returns:
        The copied lab inventory.
    """
    inventory = copied_site(folder)
    rewrite(folder / CONTAINERS, _containers)
    rewrite(folder / MACHINES, _machines)
    return inventory


def _containers(declared: dict[str, Any]) -> dict[str, Any]:
    twice = with_second_gateway(declared)
    guests = twice["lxc_configs"]
    guests["109"]["features"] = [*guests["109"].get("features", ()), "name_server"]
    (proxy,) = [guest for guest in guests.values() if guest.get("role") == "traefik"]
    guests["110"] = proxy | _another(proxy, "traefik-second", 160, "52:54:00:AA:BB:CF")
    return twice


def _machines(declared: dict[str, Any]) -> dict[str, Any]:
    for guest in declared["vms"]:
        if not guest.get("is_template"):
            guest["swarm_role"] = "manager"
    (docker,) = [guest for guest in declared["vms"] if guest.get("role") == "docker"]
    third = docker | _another(docker, THIRD, 161)
    third |= {"vmid": 1003, "portainer_environment_name": THIRD, "docker_stacks": [],
              "portainer_agent_hostname": f"agent-{THIRD}"}  # fmt: skip
    docker["docker_stacks"] = [*docker["docker_stacks"], STACK]
    return declared | {"vms": [*declared["vms"], third]}


def _another(guest: dict[str, Any], name: str, part: int, mac: str = "") -> dict[str, Any]:
    network = guest["network_config"]["ip"].rpartition(".")[0]
    card = guest["network_config"] | {"ip": f"{network}.{part}/24"}
    return {"name": name, "network_config": card, **({"mac_address": mac} if mac else {})}


def write_stack(folder: Path, image: str) -> None:
    """Write the stack of the swarm: two tasks, on different nodes, at a port of their node."""
    directory = folder / "stacks" / STACK
    directory.mkdir(exist_ok=True)
    ask = f"import urllib.request as r; r.urlopen('http://127.0.0.1:{PORT}/')"
    web = {
        "image": image, "user": "0",
        "entrypoint": ["python3", "-c", _SERVE.format(port=PORT)],
        "ports": [{"target": PORT, "published": PORT, "protocol": "tcp", "mode": "host"}],
        "healthcheck": {"test": ["CMD", "python3", "-c", ask], "interval": "2s", "retries": 3},
        "deploy": {"replicas": 2, "endpoint_mode": "dnsrr",
                   "placement": {"max_replicas_per_node": 1}},
    }  # fmt: skip
    (directory / "docker-compose.yml").write_text(json.dumps({"services": {"web": web}}))
    route = {"name": SERVICE, "port": PORT, "scheme": "http", "health_path": "/"}
    services = {"web": {"traefik_service": route}}
    manifest = {"type": "swarm", "environments": {"production": {"services": services}}}
    (directory / "phoenix.json").write_text(json.dumps(manifest))


@dataclass(frozen=True)
class Twice:
    """The site that runs: its containers by the hosts' names, and its two loads."""

    lab: LabState
    site: Site
    hosts: dict[str, Any]
    loads: dict[str, Door]

    def nodes_are_ready(self) -> bool:
        """Whether the swarm has all its nodes, and both tasks run."""
        manager = self.hosts[self.site.swarm_nodes[0].name]
        nodes = manager.exec_run(["docker", "node", "ls", "--format", "{{.Status}}"])
        tasks = manager.exec_run(["docker", "service", "ls", "--format", "{{.Replicas}}"])
        answers = nodes.output.decode().split(), tasks.output.decode().split("\n")
        return answers[0] == ["Ready"] * 3 and any(row.startswith("2/2") for row in answers[1])

    def settled(self) -> None:
        """Wait until all is well again.

        Raises:
            LabError: it is not in time.
        """
        end = time.monotonic() + SETTLED_SECONDS
        while time.monotonic() < end:
            try:
                up_again = [
                    host.exec_run(["systemctl", "is-system-running"]).output.decode().strip()
                    for host in self.hosts.values()
                ]
                well = all(state in ("running", "degraded") for state in up_again)
                if well and self.nodes_are_ready() and all(map(_answers, self.loads.values())):
                    next(iter(self.loads.values())).settled()
                    time.sleep(8)  # Traefik asks each server all 5 s
                    return
            except Exception as error:  # noqa: BLE001  # it is being started
                say(f"  not yet: {str(error)[:100]}")
            time.sleep(2)
        raise LabError(f"the site is not well {SETTLED_SECONDS} s after a guest was killed")

    def faults_of(self, name: str) -> tuple[Fault, ...]:
        """What is done to a host: all three where requests or their names go through it."""
        site = self.site
        front = {*site.gateways, *site.traefiks, *site.name_servers}
        passed = name in {host.name for host in front}
        return (KILLED, CUT_OFF, RESTARTED) if passed else (KILLED,)

    def tried(self, name: str, fault: Fault, pause: float = 10.0) -> dict[str, Met]:
        """Make a fault once under load, end it, and tell what each load met with.

        Raises:
            LabError: the site is not well before or after it.
        """
        self.settled()
        with ExitStack() as stack:
            results = {
                load: stack.enter_context(door.loaded()) for load, door in self.loads.items()
            }
            fault.make(self.hosts[name])
            time.sleep(pause)
            fault.end(self.hosts[name])
            self.settled()
        return {load: result() for load, result in results.items()}


def _answers(load: Door) -> bool:
    ask = ["curl", "-sS", "-o", "/dev/null", "--fail", "--max-time", "5", "--cacert", load.root]
    return bool(load.client.exec_run([*ask, load.url]).exit_code == 0)


@contextmanager
def running() -> Iterator[Twice]:
    """The lab, converged twice, until the block ends.

    Raises:
        LabError: it does not converge, or the second run changes something.
    """
    with tempfile.TemporaryDirectory(prefix="phoenix-bench-") as scratch:
        inventory = declare(Path(scratch))
        write_stack(Path(scratch), "placeholder:1")
        os.environ["PHOENIX_LAB_SITE"] = scratch
        try:
            settings = from_environment()
            lab = up(settings)
            write_stack(Path(scratch), lab.images["app"])
            say("everything twice (deploys/all.py)")
            say(f"  {converge(lab, inventory=inventory).changed} changes")
            again = converge(lab, inventory=inventory).changed
            if again > 1:  # the start page tells the time
                raise LabError(f"a second run of deploys/all.py changes {again} things")
            site, docker = lab_site(settings), preflight.connect()
            hosts = {name: docker.containers.get(lab.container(name)) for name in lab.hosts}
            door = door_of(lab, site)
            asks_both(door.client, [host.address for host in site.name_servers])
            swarm = replace(door, url=f"https://{SERVICE}.{site.domain}/")
            yield Twice(lab, site, hosts, {"a route": door, "the swarm's service": swarm})
        finally:
            del os.environ["PHOENIX_LAB_SITE"]


def asks_both(client: Any, addresses: Iterable[IPv4Address]) -> None:
    """Have the client know every name server, and ask the next one after a second."""
    lines = [*(f"nameserver {address}" for address in addresses), "options timeout:1 attempts:3"]
    execute(client, f"printf '%s\\n' {shlex.join(lines)} > /etc/resolv.conf")


def measure(times: int, only: str = "") -> dict[str, Any]:
    """Make each fault of each guest so many times.

    Args:
        times: of each guest.
        only: a part of a guest's name and a fault's, as "traefik, network"; empty for all.

    Raises:
        LabError: the lab does not converge, or is not well after a fault.
    """
    rows: list[dict[str, Any]] = []
    with running() as twice:
        for name in twice.hosts:
            for fault in twice.faults_of(name):
                if only not in f"{name}, {fault.name}":
                    continue
                say(f"{name}, {fault.name}, {times} times")
                for _ in range(times):
                    for load, result in twice.tried(name, fault).items():
                        row = {"guest": name, "fault": fault.name, "load": load}
                        rows.append(row | result._asdict())
                        say(f"  {load}: {result}")
    return {"times": times, "faults": rows}


def print_report(result: dict[str, Any]) -> bool:
    """Print a row for each guest, fault and load; return whether the goals are met.

    The goal is for the site's own route, which no guest serves alone.
    """
    head = ("guest", "fault", "load", "times", "requests", "failed", "most failed",
            "longest silence, ms", "median, ms")  # fmt: skip
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in result["faults"]:
        groups.setdefault((row["guest"], row["fault"], row["load"]), []).append(row)
    rows, well = [], True
    for (guest, fault, load), tries in groups.items():
        worst = max(result["failed"] for result in tries)
        total = [sum(result[key] for result in tries) for key in ("requests", "failed")]
        gaps = [result["gap"] for result in tries]
        counts = (len(tries), *total, worst, max(gaps), round(median(gaps)))
        rows.append((guest, fault, load, *map(str, counts)))
        well = well and (worst <= MOST_FAILED or load != "a route")
    say(table(head, rows))
    return well
