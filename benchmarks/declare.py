"""What the work on a declaration costs: CPU time by step, for sites of growing size."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import synthetic
from benchmarks.figures import Figure, print_figures
from benchmarks.report import table

SIZES = (10, 100, 1000)
GOAL_SECONDS = 3.0
"""CPU time for all steps of the largest size."""
SECONDS_BEFORE = 18.4 + 1.8 + 1.2
"""To load 1,105 services, for their checks and for Traefik's configuration."""
GOAL_GROWTH = 1.5
"""How much more a service may cost in the largest site than in the one of a tenth of its size."""


def measure(repeat: int) -> dict[str, Any]:
    """Measure each size in a process of its own, `repeat` times; seconds by size and step."""
    sizes: dict[str, dict[str, float]] = {}
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            synthetic.write(Path(folder), size)
            runs = [_run(folder) for _ in range(repeat)]
        sizes[str(size)] = {step: median(run[step] for run in runs) for step in runs[0]}
    return {"sizes": sizes}


def _run(folder: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.declare", folder]
    result = subprocess.run(
        command, check=True, capture_output=True, text=True, env=os.environ, cwd=_ROOT
    )
    pairs = (line.rsplit(maxsplit=1) for line in result.stdout.splitlines())
    return {step: float(seconds) for step, seconds in pairs}


_ROOT = Path(__file__).parents[1]


def steps(folder: Path) -> dict[str, float]:
    """CPU seconds of each step on the site in `folder`."""
    from phoenix.components.dnsmasq.dnsmasq_conf import config as dnsmasq_config
    from phoenix.components.guard.ruleset import ruleset
    from phoenix.components.traefik.traefik_yml import dynamic_config
    from phoenix.declaration import positions
    from phoenix.declaration.load import LXC_FILE, load_site
    from phoenix.derived import certificates, dns, firewall, routes
    from phoenix.health.checks import checks
    from phoenix.health.paths import paths
    from phoenix.validation.project import missing_roles

    seconds: dict[str, float] = {}

    @contextmanager
    def step(name: str) -> Iterator[None]:
        start = time.process_time()
        yield
        seconds[name] = time.process_time() - start

    with step("load"):
        site = load_site(folder)
    derivations: dict[str, Callable[[], object]] = {
        "routes": lambda: routes.routes(site),
        "gateway names": lambda: routes.gateway_names(site),
        "DNS records": lambda: dns.records(site),
        "certificates": lambda: certificates.certificates(site),
        "firewall rules": lambda: firewall.rules(site),
        "dnsmasq's configuration": lambda: dnsmasq_config(site, dns.records(site), ["9.9.9.9"]),
        "Traefik's configuration": lambda: dynamic_config(site),
        "checks": lambda: checks(site),
        "paths of requests": lambda: paths(site),
        "what each host lets in": lambda: [ruleset(site, host) for host in site.hosts],
        "look up each host and service": lambda: [
            (site.host(service.owner.name), site.service(service.name), service.deployment)
            for service in site.services
        ],
        "validate: the chain": lambda: missing_roles(site),
        "validate: lines of the files": lambda: positions.lines(folder / LXC_FILE),
    }
    for name, derive in derivations.items():
        with step(name):
            derive()
    return seconds


def print_report(result: dict[str, Any]) -> bool:
    """Print seconds by step and the growth between sizes; whether the goals are met."""
    sizes: dict[str, dict[str, float]] = result["sizes"]
    rows = [
        _row(step, [sizes[size][step] for size in sizes]) for step in next(iter(sizes.values()))
    ]
    totals = [sum(phases.values()) for phases in sizes.values()]
    rows.append(_row("all", totals))
    head = ["CPU seconds", *(f"{size} services" for size in sizes), "growth a service"]
    print(f"\n{table(head, rows)}")
    return print_figures(
        [
            Figure(
                f"{SIZES[-1]:,} services, CPU seconds", SECONDS_BEFORE, GOAL_SECONDS, totals[-1]
            ),
            Figure("growth a service", None, GOAL_GROWTH, _growth(totals)),
        ]
    )


def _row(name: str, seconds: Sequence[float]) -> list[str]:
    return [name, *(f"{value:.4f}" for value in seconds), f"{_growth(seconds):.2f}"]


def _growth(seconds: Sequence[float]) -> float:
    """Cost of a service in the largest site by its cost in the one before: 1 is linear."""
    before, last = seconds[-2:]
    return last / max(before, 1e-6) / (SIZES[-1] / SIZES[-2])


if __name__ == "__main__":
    for name, value in steps(Path(sys.argv[1])).items():
        print(name, value)
