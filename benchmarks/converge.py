"""What a run of the deploys costs: wall time, SSH commands, bytes; beside the floor."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import floor
from benchmarks.counted_pyinfra import Counts, Traffic, read
from benchmarks.figures import Figure, print_figures
from benchmarks.report import operators_environment, sample, table
from lab.progress import say
from lab.settings import ROOT, LabError
from lab.state import LabState
from lab.up import down, up

COMMANDS_LIMIT = 8
"""SSH commands of a no-change run for one host, for all components together."""
FLOORS_LIMIT = 1.8
"""Wall time of a no-change run, by that of the floor."""
SECONDS_BEFORE, FLOOR_BEFORE, VERIFY_BEFORE, COMMANDS_BEFORE = 11.0, 2.7, 3.9, 14
"""Of the version that the goals were set for, on its machine."""
_TOTAL = re.compile(r"^ *Grand total +(\S+) +(\S+) +(\S+) +(\S+) *$", re.MULTILINE)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Run:
    """One run: wall time in seconds, traffic by host name, operations that changed something."""

    seconds: float
    hosts: dict[str, Traffic] = field(default_factory=dict)
    changed: int = 0

    @property
    def total(self) -> Traffic:
        """The traffic of all hosts together."""
        every = [asdict(traffic) for traffic in self.hosts.values()]
        return Traffic(**{key: sum(traffic[key] for traffic in every) for key in asdict(Traffic())})


def changed_operations(output: str) -> int:
    """How many operations of a pyinfra run changed something, from the last line of its table.

    Raises:
        ValueError: there is no such line or an operation failed.
    """
    match = _TOTAL.search(_COLOUR.sub("", output))
    if match is None:
        raise ValueError(f"pyinfra printed no grand total; its last words:\n{output[-1500:]}")
    _hosts, success, errors, _same = (0 if cell == "-" else int(cell) for cell in match.groups())
    if errors:
        raise ValueError(f"{errors} operations failed:\n{output[-1500:]}")
    return success


def converge(
    lab: LabState,
    deploys: Sequence[str] = ("deploys/all.py",),
    inventory: Path | None = None,
    data: Mapping[str, str] | None = None,
) -> Run:
    """Run deploys on the lab and count.

    Args:
        inventory: by default the project's own inventories/lab.py.
        data: settings that this run has otherwise.

    Raises:
        LabError: with pyinfra's last words, where the run does not succeed.
    """
    inventory = inventory or ROOT / "inventories/lab.py"
    overrides = [
        word for name, value in (data or {}).items() for word in ("--data", f"{name}={value}")
    ]
    with tempfile.TemporaryDirectory() as scratch:
        counts = Path(scratch) / "counts.json"
        command = [sys.executable, "-m", "benchmarks.counted_pyinfra", str(counts)]
        began = time.monotonic()
        result = subprocess.run(
            [*command, str(inventory), *deploys, "-y", *overrides],
            cwd=ROOT,
            env={**operators_environment(), "PHOENIX_LAB_NAME": lab.name},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        seconds = time.monotonic() - began
        if result.returncode:
            why = last_words(result.stdout)
            raise LabError(f"pyinfra {' '.join(deploys)} ended with {result.returncode}:\n{why}")
        return Run(seconds, by_name(read(counts), lab.hosts), changed_operations(result.stdout))


def last_words(output: str) -> str:
    """The end of pyinfra's output before its table of results: it holds the failures."""
    lines = [line for line in output.partition("--> Results:")[0].splitlines() if line.strip()]
    return "\n".join(line for line in lines[-40:] if not line.endswith("No changes"))


def by_name(counts: Counts, hosts: dict[str, str]) -> dict[str, Traffic]:
    """Traffic by host name, of every host; LabError where a connection went to none of them.

    Args:
        hosts: name -> address.
    """
    strangers = set(counts) - set(hosts.values())
    if strangers:
        raise LabError(f"SSH went to {sorted(strangers)}, which the lab's state does not know.")
    return {name: counts.get(address, Traffic()) for name, address in hosts.items()}


def measure(repeat: int) -> dict[str, Any]:
    """Fresh lab, one fresh run, then `repeat` times: a no-change run, verify alone, the floor.

    Returns:
        Runs by kind, ready for JSON.

    Raises:
        LabError: a run fails.
    """
    down()
    lab = up()
    say("fresh run")
    runs: dict[str, list[Run]] = {"fresh": [converge(lab)]}
    for number in range(repeat):
        say(f"no-change run, verify alone, floor: {number + 1} of {repeat}")
        runs.setdefault("no change", []).append(converge(lab))
        runs.setdefault("of that, verify", []).append(converge(lab, ["deploys/verify.py"]))
        seconds, counts = floor.measure(lab)
        runs.setdefault("floor", []).append(Run(seconds, by_name(counts, lab.hosts)))
    return {
        kind: [asdict(run) | {"total": asdict(run.total)} for run in kind_runs]
        for kind, kind_runs in runs.items()
    }


def print_report(result: dict[str, Any]) -> bool:
    """Print totals, ratios to the floor, and numbers per host; return whether the goals are met."""
    base = _medians(result["floor"])
    rows = []
    for kind, runs in result.items():
        medians = _medians(runs)
        seconds = sample([run["seconds"] for run in runs])
        rows.append(
            (
                kind,
                str(len(runs)),
                seconds.text(".2f") if len(runs) > 1 else f"{seconds.median:.2f}",
                f"{seconds.median / base['seconds']:.1f}",
                f"{medians['commands']:,.0f}",
                f"{medians['commands'] / base['commands']:.1f}",
                f"{medians['bytes']:,.0f}",
                f"{medians['bytes'] / base['bytes']:.1f}",
                f"{max(run['changed'] for run in runs)}",
            )
        )
    head = ("run", "times", "seconds", "/floor", "commands", "/floor", "bytes", "/floor", "changed")
    print(f"\n{table(head, rows)}\n")
    print(_per_host(result))
    return _judge(result["no change"], _medians(result["of that, verify"]), base)


def _per_host(result: dict[str, Any]) -> str:
    kinds = list(result)
    rows = []
    for host in result["floor"][0]["hosts"]:
        row = [host]
        for kind in kinds:
            runs = [run["hosts"][host] for run in result[kind]]
            row.append(f"{median(run['commands'] + run['subsystems'] for run in runs):,.0f}")
            row.append(f"{median(run['sent'] for run in runs):,.0f}")
            row.append(f"{median(run['received'] for run in runs):,.0f}")
        rows.append(row)
    head = ["host", *(f"{kind}: {label}" for kind in kinds for label in ("commands", "out", "in"))]
    return "\n\n".join(
        table(
            [head[0], *head[first : first + 6]], [[row[0], *row[first : first + 6]] for row in rows]
        )
        for first in range(1, len(head), 6)
    )


def _medians(runs: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Medians over repetitions: seconds, requests (exec and subsystem), bytes of both ways."""
    totals = [run["total"] for run in runs]
    return {
        "seconds": median(run["seconds"] for run in runs),
        "commands": median(total["commands"] + total["subsystems"] for total in totals),
        "bytes": median(total["sent"] + total["received"] for total in totals),
    }


def _judge(
    runs: Sequence[dict[str, Any]], verify: Mapping[str, float], base: Mapping[str, float]
) -> bool:
    seconds = _medians(runs)["seconds"]
    most = {
        host: max(run["hosts"][host]["commands"] + run["hosts"][host]["subsystems"] for run in runs)
        for host in runs[0]["hosts"]
    }
    return print_figures(
        [
            Figure("no-change run, seconds", SECONDS_BEFORE, None, seconds),
            Figure("of that, verify, seconds", VERIFY_BEFORE, None, verify["seconds"]),
            Figure("floor, seconds", FLOOR_BEFORE, None, base["seconds"]),
            Figure(
                "no-change run by floor", SECONDS_BEFORE / FLOOR_BEFORE, FLOORS_LIMIT,
                seconds / base["seconds"],
            ),
            Figure(
                "its SSH commands, most for one host", COMMANDS_BEFORE, COMMANDS_LIMIT,
                max(most.values()), form=".0f",
            ),
            Figure(
                "its operations that changed something", 0, 0,
                max(run["changed"] for run in runs), form=".0f",
            ),
        ]
    )  # fmt: skip
