"""Constant load through the whole chain while certificates, CA and secrets are replaced.

In one go: every certificate is renewed, then the intermediate is replaced, then the root, then
each secret of the hops. The client keeps connections and opens new ones, asks each service of the
site, and the agent's Docker by Portainer through the tunnel.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.bench_site import execute
from benchmarks.commands import phoenix
from benchmarks.converge import converge
from benchmarks.report import table
from lab import preflight
from lab.image import pack
from lab.progress import say
from lab.settings import ROOT, LabError
from lab.state import LabState
from lab.up import up
from phoenix.components.portainer.compose_files import API_KEY_FILE
from phoenix.declaration.load import load_site
from phoenix.derived.certificates import certificates
from phoenix.derived.routes import routes
from phoenix.site.model import Site
from phoenix.site.roles import guest_with
from phoenix.site.secret_names import (
    ADMIN_PASSWORD,
    AGENT_SECRET,
    DASHBOARD_PASSWORD,
    GATEWAY_CERTIFICATE,
    ISSUANCE_KEY,
)

CLIENT = (Path(__file__).parent / "soak_client.py").read_text()
ROOTS_FILE = "/root/soak-roots.pem"
PROGRAM = "/root/soak_client.py"
STREAMS = "/root/soak-streams.json"
"""What the client asks, with Portainer's API key; it is there while the load goes on."""
CA_ROOT = "/etc/step-ca/certs/root_ca.crt"
NEXT_ROOT = "/etc/step-ca/rotation/next/certs/root_ca.crt"
TUNNEL = "portainer -> agent"
_ENDS = {AGENT_SECRET: "portainer", ADMIN_PASSWORD: TUNNEL}
"""Secret -> how streams begin that its new value ends: Portainer reads the agents' secret when it
starts, and a new password comes with a new API key, which the load does not have."""


@dataclass(frozen=True)
class Phase:
    """One step of a soak; `start` and `end` in seconds since 1970."""

    name: str
    start: float
    end: float


def steps(site: Site) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Name and words of the command `phoenix`, in order; without words: the next root is trusted.

    Args:
        site: whose certificates are renewed.
    """
    for holder in dict.fromkeys(certificate.host.name for certificate in certificates(site)):
        yield f"certificates of {holder} renewed", ("certs", "renew", holder)
    yield "intermediate replaced", ("certs", "rotate", "intermediate")
    yield "root: both are trusted", ("certs", "rotate", "root", "--prepare")
    yield "the client trusts both roots", ()
    yield "root replaced", ("certs", "rotate", "continue")
    secrets = [GATEWAY_CERTIFICATE, ISSUANCE_KEY, DASHBOARD_PASSWORD]
    if site.portainer is not None:
        secrets += [AGENT_SECRET, ADMIN_PASSWORD]  # last: see _ENDS
    for name in secrets:
        yield f"secret {name}", ("secrets", "rotate", name)


def streams(site: Site, endpoint: int, key: str) -> list[dict[str, Any]]:
    """What the client asks: each service by kept and by new connections, and the tunnel.

    Args:
        endpoint: Portainer's number of an agent's environment.
        key: the API key, as "HEADER: VALUE".
    """
    header, _, value = key.strip().partition(": ")
    entries = [
        {"host": route.fqdn, "path": route.health_path, "headers": {}, "name": route.service.name}
        for route in routes(site)
        if route.kind == "backend"
    ]
    portainer = next((entry for entry in entries if entry["name"] == "portainer"), None)
    if portainer is not None:
        path = f"/api/endpoints/{endpoint}/docker/_ping"
        entries.append({**portainer, "path": path, "headers": {header: value}, "name": TUNNEL})
    return [
        {**entry, "keep": keep, "name": f"{entry['name']}, {'kept' if keep else 'new'} connections"}
        for entry in entries
        for keep in (True, False)
    ]


def measure() -> dict[str, Any]:
    """Bring the lab up and converge it, unless it is; then run every step under load.

    Returns:
        Phases, and what each stream got, ready for JSON.

    Raises:
        LabError: a step fails; what the load got until then is told.
    """
    lab = up()
    converge(lab)
    site = load_site(
        ROOT / "inventories", ROOT / "stacks", environment="production", subnet=lab.subnet
    )
    docker = preflight.connect()
    client = docker.containers.get(lab.client)

    def guest(host: Any) -> Any:
        return docker.containers.get(lab.container(host.name))

    ca = guest(guest_with(site, "step_ca"))
    client.put_archive("/", pack({PROGRAM[1:]: (CLIENT.encode(), 0o644)}))
    _trusts(client, execute(ca, f"cat {CA_ROOT}"))
    phases: list[Phase] = []
    with _under_load(lab, site, guest, client) as report:
        time.sleep(3)
        for name, words in steps(site):
            say(name)
            start = time.time()
            if words:
                phoenix(lab, *words)
            else:
                _trusts(client, execute(ca, f"cat {CA_ROOT} {NEXT_ROOT}"))
            phases.append(Phase(name, start, time.time()))
        time.sleep(3)
    return {"phases": [vars(phase) for phase in phases], "streams": report}


def _trusts(client: Any, roots: str) -> None:
    """Replace what the client trusts as one: the load reads it all the time."""
    client.put_archive("/", pack({f"{ROOTS_FILE[1:]}.new": (roots.encode(), 0o644)}))
    execute(client, f"mv {ROOTS_FILE}.new {ROOTS_FILE}")


@contextmanager
def _under_load(
    lab: LabState, site: Site, guest: Any, client: Any
) -> Iterator[list[dict[str, Any]]]:
    """Load until the block ends; the list that it gives has the report then."""
    server = guest(guest_with(site, "portainer"))
    key = execute(server, f"cat {API_KEY_FILE}")
    text = json.dumps(streams(site, _endpoint(server, site), key))
    client.put_archive("/", pack({STREAMS[1:]: (text.encode(), 0o600)}))
    gateway = str(guest_with(site, "nginx").address)
    command = ["docker", "exec", "-i", lab.client, "python3", PROGRAM, ROOTS_FILE, gateway, STREAMS]
    report: list[dict[str, Any]] = []
    load = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield report
    finally:
        output, _ = load.communicate(timeout=300)  # which ends its standard input, and so the load
        execute(client, f"rm -f {STREAMS}")
        report += json.loads(output or "[]")
        if not report:
            raise LabError(f"the load has ended by itself, with {load.returncode}")


def _endpoint(server: Any, site: Site) -> int:
    """Portainer's number of the environment of an agent on another guest."""
    (portainer,) = [route for route in routes(site) if route.service.name == "portainer"]
    gateway = guest_with(site, "nginx")
    ask = (
        f"curl -sS --fail -H @{API_KEY_FILE} --resolve {portainer.fqdn}:443:{gateway.address} "
        f"--cacert /etc/phoenix/roots.pem https://{portainer.fqdn}/api/endpoints"
    )
    agents = {host.portainer_environment for host in site.agents if host != site.portainer}
    for container in json.loads(execute(server, ask)):
        if container["Name"] in agents:
            return int(container["Id"])
    raise LabError(f"Portainer has no environment of {sorted(agents)}")


def lost(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(stream, phase, failure) of each failure that counts.

    What `_ENDS` has is shown, and does not count.
    """
    faults = []
    for stream in result["streams"]:
        for when, failure in stream["failures"]:
            phase = phase_of(result, when)
            secret = phase.removeprefix("secret ")
            if not stream["name"].startswith(_ENDS.get(secret, "\0")):
                faults.append((stream["name"], phase, failure))
    return faults


def phase_of(result: dict[str, Any], when: float) -> str:
    """The name of the phase at a time, or after which it was."""
    name = "before"
    for phase in result["phases"]:
        if phase["start"] <= when:
            name = phase["name"]
    return name


def print_report(result: dict[str, Any]) -> bool:
    """Print what each stream got and how long each phase took; whether no request was lost."""
    rows = [
        (
            stream["name"], f"{stream['requests']:,}", f"{stream['connections']:,}",
            f"{len(stream['failures'])}", f"{stream['gap']:.1f}",
        )
        for stream in result["streams"]
    ]  # fmt: skip
    head = ("stream", "requests", "connections", "failures", "longest gap, s")
    print(f"\n{table(head, rows)}\n")
    lines = []
    for phase in result["phases"]:
        failures = [
            failure
            for stream in result["streams"]
            for when, failure in stream["failures"]
            if phase_of(result, when) == phase["name"]
        ]
        seconds = phase["end"] - phase["start"]
        lines.append((phase["name"], f"{seconds:.1f}", f"{len(failures)}"))
    print(table(("phase", "seconds", "failures"), lines))
    counted = lost(result)
    for stream, phase, failure in counted[:20]:
        print(f"lost: {stream}: {phase}: {failure}")
    total = sum(stream["requests"] for stream in result["streams"])
    print(f"\n{total:,} requests, {len(counted)} lost")
    return not counted
