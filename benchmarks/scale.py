"""What grows with a site: by hosts, and by names of the gateway."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from benchmarks import counted_pyinfra, handshake, servers, synthetic
from benchmarks.report import operators_environment, table
from lab import keys, light
from lab.settings import ROOT, LabError, Settings, subnet_for

SIMULATED = (5, 20, 40, 100)
LIGHT = (5, 20, 40)
PARALLEL = (5, 10, 20, 40)
GOAL = 3.0
"""How much more time a host may take among 40 than among five."""
_LAB = "light"
_REPEAT = 3
_INVENTORY = """\
from pathlib import Path

from phoenix.declaration import inventory as _inventory

_here = Path(__file__).resolve().parent
_data = {"fake_delay": 0, "fake_delay_jitter": 0, "site_secrets": str(_here / "secrets.json")}
_groups = _inventory.of_directory(_here, _here / "stacks", environment="production", data=_data)
"""


class Run(NamedTuple):
    """What one run of pyinfra took: seconds, CPU seconds of its process, its largest RSS in MiB."""

    wall: float
    cpu: float
    memory: float


def measure(only: str) -> dict[str, Any]:
    """The parts whose names have the word `only`; all of them where it is empty."""
    return {name: part() for name, part in _PARTS.items() if only in name}


def print_report(result: dict[str, Any]) -> bool:
    """Print a table for each part; whether the goals are met."""
    met = [_REPORTS[name](part) for name, part in result.items()]
    return all(met)


def _run(words: Sequence[str | Path]) -> Run:
    """Run a module of Python to its end.

    Raises:
        LabError: it fails; with the end of what it said.
    """
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", *map(str, words)],
            cwd=ROOT,
            env=operators_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            end = "".join(output.readlines()[-40:])
            raise LabError(f"{words[0]} ended with {process.returncode}:\n{end}")
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def _median(runs: Sequence[Run]) -> dict[str, float]:
    return {name: median(getattr(run, name) for run in runs) for name in Run._fields}


def _simulated() -> list[dict[str, Any]]:
    """A first run of base, guard and docker on so many Docker hosts, each with ten stacks."""
    result = []
    for hosts in SIMULATED:
        with tempfile.TemporaryDirectory() as folder:
            synthetic.write(Path(folder), hosts * synthetic.PER_HOST)
            inventory = Path(folder) / "inventory.py"
            groups = ("hypervisor", "lxc", "vm", "step_ca", "traefik", "nginx", "portainer")
            lines = [f'{group} = _groups["{group}"]\n' for group in (*groups, "docker")]
            inventory.write_text(_INVENTORY + "".join(lines))
            deploys = [f"deploys/{name}.py" for name in ("base", "guard", "docker")]
            words: list[str | Path] = ["benchmarks.simulated", inventory, *deploys]
            words += ["-y", "--group-data", folder]
            result.append({"hosts": hosts, **_median([_run(words) for _ in range(_REPEAT)])})
    return result


def _print_simulated(result: list[dict[str, Any]]) -> bool:
    head = ["Docker hosts, simulated", "CPU seconds", "a host", "memory, MiB", "a host more"]
    rows, least = [], result[0]
    for row in result:
        more = (row["memory"] - least["memory"]) / max(row["hosts"] - least["hosts"], 1)
        rows.append(
            [
                f"{row['hosts']}",
                f"{row['cpu']:.2f}",
                f"{row['cpu'] / row['hosts']:.3f}",
                f"{row['memory']:.0f}",
                f"{more:.2f}",
            ]
        )
    print(f"\n{table(head, rows)}")
    return True


def _light() -> list[dict[str, Any]]:
    """Runs on light hosts, each that changes and one that changes nothing, by SSH."""
    settings = Settings(_LAB, subnet_for(_LAB))
    try:
        addresses = light.up(settings, max(LIGHT))
        cases = [(hosts, hosts) for hosts in LIGHT]
        cases += [(max(LIGHT), parallel) for parallel in PARALLEL if parallel != max(LIGHT)]
        return [_light_runs(settings, addresses, *case) for case in cases]
    finally:
        light.down(settings)


def _light_runs(
    settings: Settings, addresses: Mapping[str, str], number: int, parallel: int
) -> dict[str, Any]:
    data = {
        "ssh_user": "root",
        "ssh_key": str(settings.directory / keys.CLIENT_KEY),
        "ssh_look_for_keys": False,
        "ssh_allow_agent": False,
        "ssh_known_hosts_file": str(settings.directory / keys.KNOWN_HOSTS),
        "ssh_strict_host_key_checking": "yes",
    }
    hosts = [(name, {"ssh_hostname": addresses[name], **data}) for name in [*addresses][:number]]
    with tempfile.TemporaryDirectory() as folder:
        inventory, counts = Path(folder) / "inventory.py", Path(folder) / "counts.json"
        inventory.write_text(f"light = {hosts!r}\n")

        def run(value: str) -> Run:
            return _run(
                ["benchmarks.counted_pyinfra", counts, inventory, "benchmarks/light_deploy.py",
                 "-y", "--parallel", f"{parallel}", "--data", f"light_round={value}"]
            )  # fmt: skip

        rounds = [f"{number}-{parallel}-{each}" for each in range(_REPEAT)]
        pairs = [(run(value), run(value)) for value in rounds]
        traffic = counted_pyinfra.read(counts).values()
    return {
        "hosts": number,
        "parallel": parallel,
        "changing": _median([first for first, _ in pairs]),
        "unchanged": _median([second for _, second in pairs]),
        "connections": sum(counted.logins for counted in traffic) / number,
        "commands": sum(counted.commands for counted in traffic) / number,
    }


def _print_light(result: list[dict[str, Any]]) -> bool:
    head = ["light hosts", "parallel", "a change, s", "a host", "no change, s", "a host",
            "CPU, s", "memory, MiB", "connections", "commands a host"]  # fmt: skip
    rows = [
        [
            f"{row['hosts']}",
            f"{row['parallel']}",
            *(
                text
                for kind in ("changing", "unchanged")
                for text in (
                    f"{row[kind]['wall']:.1f}",
                    f"{row[kind]['wall'] / row['hosts']:.2f}",
                )
            ),
            f"{row['unchanged']['cpu']:.2f}",
            f"{row['unchanged']['memory']:.0f}",
            f"{row['connections']:g}",
            f"{row['commands']:g}",
        ]
        for row in result
    ]
    print(f"\n{table(head, rows)}")
    few, many = (
        max(row[kind]["wall"] / row["hosts"] for kind in ("changing", "unchanged"))
        for row in (result[0], next(row for row in result if row["hosts"] == max(LIGHT)))
    )
    met: bool = many <= GOAL * few
    print(f"a host of {max(LIGHT)} takes {many / few:.2f} of what one of {LIGHT[0]} does, "
          f"goal {GOAL:g}: {'met' if met else 'MISSED'}")  # fmt: skip
    return met


_FIGURES: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("names of the gateway", ("names",), ",.0f"),
    ("certificates", ("certificates",), ".0f"),
    ("Nginx: MiB", ("nginx", "memory"), ".0f"),
    ("Nginx: MiB after a reload and load", ("nginx", "memory_loaded"), ".0f"),
    ("Nginx: CPU s to check the configuration", ("nginx", "check_cpu"), ".2f"),
    ("Nginx: s until a reload is at work", ("nginx", "reload"), ".2f"),
    ("Traefik: MiB", ("traefik", "memory"), ".0f"),
    ("Traefik: MiB after a reload and load", ("traefik", "memory_loaded"), ".0f"),
    ("Traefik: s until a reload is at work", ("traefik", "reload"), ".2f"),
    ("Traefik: CPU s of a reload", ("traefik", "reload_cpu"), ".2f"),
    ("dnsmasq: MiB", ("dnsmasq", "memory"), ".1f"),
    ("dnsmasq: s until it answers", ("dnsmasq", "start"), ".2f"),
    ("dnsmasq: CPU us a question", ("dnsmasq", "us"), ".0f"),
    ("requests/s, kept connections", ("path", "rate"), ",.0f"),
    ("  CPU us of Nginx", ("path", "nginx_us"), ".0f"),
    ("  CPU us of Traefik", ("path", "traefik_us"), ".0f"),
    ("requests/s, a connection each", ("connections", "rate"), ",.0f"),
    ("  CPU us of Nginx", ("connections", "nginx_us"), ".0f"),
    ("  CPU us of Traefik", ("connections", "traefik_us"), ".0f"),
)


def _print_servers(result: list[dict[str, Any]]) -> bool:
    rows = []
    for title, keys_of, form in _FIGURES:
        values: list[Any] = list(result)
        for key in keys_of:
            values = [value[key] for value in values]
        rows.append([title, *(f"{value:{form}}" for value in values)])
    head = ["servers", *(f"{row['names']:,} names" for row in result)]
    print(f"\n{table(head, rows)}")
    return True


def _certificates() -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        return [handshakes._asdict() for handshakes in handshake.measure(Path(folder))]


def _print_certificates(result: list[dict[str, Any]]) -> bool:
    head = ["names", "certificate, bytes", "sent, bytes", "server, CPU us", "client, CPU us", ""]
    rows = [
        [
            *(f"{row[key]:,.0f}" for key in ("names", "certificate", "sent", "server", "client")),
            "more than a window" if row["sent"] > handshake.WINDOW else "",
        ]
        for row in result
    ]
    print(f"\n{table(head, rows)}")
    return True


_PARTS: dict[str, Callable[[], Any]] = {
    "certificates": _certificates,
    "simulated": _simulated,
    "light": _light,
    "servers": lambda: servers.measure(servers.SIZES, 4),
}
_REPORTS: dict[str, Callable[[Any], bool]] = {
    "certificates": _print_certificates,
    "simulated": _print_simulated,
    "light": _print_light,
    "servers": _print_servers,
}
