"""Requests per second and latency of the data path, beside Traefik alone in the same run.

The client is always wrk: in the gateway's network, the one address that Traefik admits, and for the
backend alone in Traefik's, for the same reason. The targets take turns, so that other load of the
machine falls on all of them alike.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict
from statistics import median
from typing import Any

import yaml

from benchmarks import wrk
from benchmarks.bench_site import ANSWER, SPENDERS, Bench, execute, running
from benchmarks.figures import Figure, print_figures
from benchmarks.report import sample, table
from lab import preflight
from lab.image import pack
from lab.progress import say
from lab.settings import LabError
from lab.state import LabState
from lab.up import up
from phoenix.components.nginx import nginx_conf
from phoenix.components.traefik import traefik_yml

FULL, PROXY, BACKEND = "Nginx + Traefik + backend", "Traefik + backend", "backend"
GOAL = 0.85
"""Of Traefik's own rate with keep-alive, on a quiet machine."""

FORMER = "Traefik with log and metrics + backend"
"""As Traefik was when the goals were set."""
LOG_AND_METRICS: Mapping[str, Any] = {
    "metrics": {"prometheus": {}},
    "accessLog": {"format": "json", "filePath": "/tmp/access.log"},  # noqa: S108 - PrivateTmp
}
"""What its install configuration had then, beside what is deployed."""
TRAEFIK_BEFORE, TRAEFIK_GOAL, NGINX_BEFORE = 430.0, 270.0, 144.0
"""Microseconds of CPU that a request cost on the goal's machine, and what it was to cost there."""
COST_GOAL = TRAEFIK_GOAL / TRAEFIK_BEFORE
"""What a request may cost in Traefik, of what it cost then, on whatever machine."""
RATE_BEFORE = 2400.0
"""Requests a second of the whole path, on the goal's machine."""


def targets(bench: Bench) -> dict[str, str]:
    """Target -> URL."""
    return {
        FULL: f"https://{bench.service_fqdn}/",
        PROXY: f"https://{bench.open_fqdn}/",
        BACKEND: f"https://{bench.backend_fqdn}:{bench.backend_port}/",
    }


def measure(*, connections: int, seconds: int, repeat: int) -> dict[str, Any]:
    """Bring the lab up with the trivial backend, load every target `repeat` times, clean up.

    Args:
        connections: open at once, of one wrk thread.
        seconds: of each load.

    Returns:
        Settings, and loads by mode and target, ready for JSON.

    Raises:
        LabError: a target does not answer, or an answer is not 200.
    """
    lab: LabState = up()
    loads: dict[str, dict[str, list[dict[str, Any]]]] = {}
    with running(preflight.connect(), lab) as bench:
        for name in targets(bench):
            prove(bench, name)
        for keep_alive in (True, False):
            mode = "keep-alive" if keep_alive else "new connection each"
            load(bench, FULL, connections, 1, keep_alive=keep_alive)  # fills caches and pools
            for number in range(repeat):
                say(f"{mode}: {number + 1} of {repeat}")
                of_mode = loads.setdefault(mode, {})
                for name in targets(bench):
                    result = load_with_cpu(bench, name, connections, seconds, keep_alive=keep_alive)
                    of_mode.setdefault(name, []).append(result)
                if keep_alive:
                    with traefik_with(bench, LOG_AND_METRICS):
                        load(bench, PROXY, connections, 1, keep_alive=True)
                        result = load_with_cpu(bench, PROXY, connections, seconds, keep_alive=True)
                    of_mode.setdefault(FORMER, []).append(result)
    settings = {"connections": connections, "seconds": seconds, "repeat": repeat}
    return {"settings": settings, "loads": loads}


@contextmanager
def traefik_with(bench: Bench, more: Mapping[str, Any]) -> Iterator[None]:
    """Until the block ends, Traefik runs with `more` in its install configuration."""
    traefik = bench.spenders["traefik"]
    config = execute(traefik, f"cat {traefik_yml.STATIC}")
    try:
        changed = yaml.safe_dump(yaml.safe_load(config) | more)
        _put(traefik, traefik_yml.STATIC, changed, traefik_yml.UNIT, "restart")
        yield
    finally:
        _put(traefik, traefik_yml.STATIC, config, traefik_yml.UNIT, "restart")


WITH, WITHOUT = "with the gateway's certificate", "without"
ADMISSION_COST = 0.03
"""Of the rate with keep-alive: what the gateway's certificate towards Traefik may cost."""


def measure_admission(*, connections: int, seconds: int, repeat: int) -> dict[str, Any]:
    """As `measure`, for the whole path with and without the gateway's certificate, in turns.

    Without: Traefik asks for no client certificate and Nginx presents none; all else is the same.

    Args:
        connections: open at once, of one wrk thread.
        seconds: of each load.
        repeat: loads of each kind.

    Raises:
        LabError: a configuration is refused, or an answer is not 200.
    """
    lab: LabState = up()
    loads: dict[str, dict[str, list[dict[str, Any]]]] = {}
    with running(preflight.connect(), lab) as bench:
        for number in range(repeat):
            for kind in (WITH, WITHOUT):
                say(f"{kind}: {number + 1} of {repeat}")
                with asked_for(bench) if kind == WITH else not_asked_for(bench):
                    prove(bench, FULL)
                    for keep_alive in (True, False):
                        load(bench, FULL, connections, 1, keep_alive=keep_alive)
                        mode = "keep-alive" if keep_alive else "new connection each"
                        measured = load_with_cpu(
                            bench, FULL, connections, seconds, keep_alive=keep_alive
                        )
                        loads.setdefault(mode, {}).setdefault(kind, []).append(measured)
    settings = {"connections": connections, "seconds": seconds, "repeat": repeat}
    return {"settings": settings, "loads": loads}


def asked_for(_bench: Bench) -> AbstractContextManager[None]:
    """What is deployed."""
    return nullcontext()


@contextmanager
def not_asked_for(bench: Bench) -> Iterator[None]:
    """Until the block ends, Traefik lets every TLS client in, and Nginx shows it no certificate."""
    nginx, traefik = bench.spenders["nginx"], bench.spenders["traefik"]
    config = execute(traefik, f"cat {traefik_yml.ADMISSION}")
    shown = execute(nginx, f"cat {nginx_conf.CONFIG}")
    data = yaml.safe_load(config)
    del data["tls"]["options"]["default"]["clientAuth"]
    silent = re.sub(r"^ *proxy_ssl_certificate(?:_key)? .*;\n", "", shown, flags=re.MULTILINE)
    if silent == shown:
        raise LabError(f"{nginx_conf.CONFIG} presents no certificate: nothing to compare")
    try:
        _put(traefik, traefik_yml.ADMISSION, yaml.safe_dump(data), traefik_yml.UNIT)
        _put(nginx, nginx_conf.CONFIG, silent, "nginx.service")
        yield
    finally:
        _put(nginx, nginx_conf.CONFIG, shown, "nginx.service")
        _put(traefik, traefik_yml.ADMISSION, config, traefik_yml.UNIT)


def _put(guest: Any, path: str, content: str, unit: str, action: str = "reload") -> None:
    """Replace the content of a file behind its links, and let a service read it by `action`."""
    scratch = "/root/phoenix-bench-file"
    guest.put_archive("/", pack({scratch[1:]: (content.encode(), 0o600)}))
    execute(guest, f"cat {scratch} >{path} && rm {scratch} && systemctl {action} {unit} && sleep 2")


def loader(bench: Bench, name: str) -> Any:
    """The container that loads a target."""
    return bench.inner_loader if name == BACKEND else bench.loader


def prove(bench: Bench, name: str) -> None:
    """One verified request, since wrk ignores certificates. LabError where the answer differs.

    The name for Traefik alone is missing from every certificate, so that one is unverified.
    """
    url = targets(bench)[name]
    trust = ["--insecure"] if name == PROXY else ["--cacert", "/root/phoenix-root.pem"]
    curl = shlex.join(["curl", "-fsS", "--max-time", "10", *trust, url])
    answer = execute(loader(bench, name), curl)
    if answer != ANSWER:
        raise LabError(f"{url} answers {answer!r}, not {ANSWER!r}")


def load(bench: Bench, name: str, connections: int, seconds: int, *, keep_alive: bool) -> wrk.Load:
    """Load one target; LabError where a request failed: a rate of errors says nothing."""
    command = wrk.command(
        targets(bench)[name], connections=connections, seconds=seconds, keep_alive=keep_alive
    )
    output = execute(loader(bench, name), shlex.join(command))
    result = wrk.parse(output)
    if result.errors:
        raise LabError(f"{name}: {result.errors} requests failed:\n{output}")
    return result


def load_with_cpu(
    bench: Bench, name: str, connections: int, seconds: int, *, keep_alive: bool
) -> dict[str, Any]:
    """As `load`, with the CPU time that each guest spent on a request, in microseconds.

    Unlike a rate it hardly depends on what else the machine does meanwhile.
    """
    before = {role: cpu(guest) for role, guest in bench.spenders.items()}
    result = load(bench, name, connections, seconds, keep_alive=keep_alive)
    spent = {role: cpu(guest) - before[role] for role, guest in bench.spenders.items()}
    microseconds = {role: seconds * 1e6 / result.requests for role, seconds in spent.items()}
    return asdict(result) | {"cpu": microseconds}


def cpu(container: Any) -> float:
    """CPU time in seconds that a container's processes have used so far.

    From /proc, since Docker cannot tell it on every machine.
    """
    return cpu_seconds(execute(container, "cat /proc/[0-9]*/stat 2>/dev/null; :"))


def cpu_seconds(stats: str) -> float:
    """Seconds in lines of /proc/PID/stat: utime, stime, and both of the children waited for.

    With the children, a process that ends moves its time to its parent (proc(5), fields 14-17).
    """
    fields = [line.rpartition(") ")[2].split() for line in stats.splitlines()]
    ticks = sum(int(number) for line in fields for number in line[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def ratios(loads: Mapping[str, Sequence[Mapping[str, float]]], name: str, base: str) -> list[float]:
    """Rate of `name` over that of `base`, by repetition: neighbours in time are compared."""
    return [
        result["rate"] / reference["rate"]
        for result, reference in zip(loads[name], loads[base], strict=True)
    ]


def print_report(result: dict[str, Any]) -> bool:
    """Print the table; return whether the goal is met."""
    rows = []
    for mode, loads in result["loads"].items():
        for name, runs in loads.items():
            rows.append(
                (
                    f"{mode}: {name}",
                    sample([run["rate"] for run in runs]).text(),
                    sample([run["p99"] for run in runs]).text(".1f"),
                    sample(ratios(loads, name, PROXY)).text(".2f"),
                    *(f"{median(run['cpu'][role] for run in runs):,.0f}" for role in SPENDERS),
                )
            )
    print("\nwrk, one thread, {connections} connections, {repeat} x {seconds} s; median and "
          "range\n".format(**result["settings"]))  # fmt: skip
    head = ("path", "requests/s", "p99, ms", "of Traefik alone", *(f"{r} us" for r in SPENDERS))
    print(table(head, rows))
    print("\nthe last columns: CPU time spent per request, in microseconds")
    loads = result["loads"]["keep-alive"]
    path, alone = loads[FULL], loads[PROXY]
    rate = median(run["rate"] for run in path)
    nginx = median(run["cpu"]["nginx"] for run in path)
    traefik = median(run["cpu"]["traefik"] for run in alone)
    reached = sample(ratios(loads, FULL, PROXY)).median
    return print_figures(
        [
            Figure("whole path, requests/s", RATE_BEFORE, None, rate, form=",.0f"),
            Figure("Nginx, us of CPU a request", NGINX_BEFORE, None, nginx, form=",.0f"),
            Figure("Traefik, us of CPU a request", TRAEFIK_BEFORE, None, traefik, form=",.0f"),
            Figure("that by what it was, here", 1.0, COST_GOAL, cost_of_traefik(loads)),
            Figure("whole path of Traefik alone", None, GOAL, reached, at_least=True),
        ]
    )


def cost_of_traefik(loads: Mapping[str, Sequence[Mapping[str, Any]]]) -> float:
    """CPU time of a request in Traefik, of what it was with log and metrics."""
    now: float = median(run["cpu"]["traefik"] for run in loads[PROXY])
    before: float = median(run["cpu"]["traefik"] for run in loads[FORMER])
    return now / before


def print_admission(result: dict[str, Any]) -> bool:
    """Print the table of `measure_admission`; return whether the certificate costs little."""
    rows = [
        (
            f"{mode}: {kind}",
            sample([run["rate"] for run in runs]).text(),
            sample([run["p99"] for run in runs]).text(".1f"),
            sample(ratios(loads, kind, WITHOUT)).text(".3f"),
            *(f"{median(run['cpu'][role] for run in runs):,.0f}" for role in SPENDERS),
        )
        for mode, loads in result["loads"].items()
        for kind, runs in loads.items()
    ]
    head = ("path", "requests/s", "p99, ms", "of without", *(f"{role} us" for role in SPENDERS))
    print(f"\n{table(head, rows)}")
    reached = sample(ratios(result["loads"]["keep-alive"], WITH, WITHOUT)).median
    if reached < 1 - ADMISSION_COST:
        print(
            f"\nthe certificate costs {1 - reached:.1%}; the goal is {ADMISSION_COST:.0%} at most"
        )
    return reached >= 1 - ADMISSION_COST
