"""What it costs to start the command: help, shell completion, and the verbs that ask no host."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any, NamedTuple

from benchmarks.figures import Figure, print_figures
from benchmarks.report import operators_environment, sample, table
from lab.settings import ROOT, LabError

GOAL = 0.25
"""Seconds of CPU, in user and kernel mode, for help and for completion."""
BEFORE = 1.3


class Case(NamedTuple):
    """One call of `phoenix`; `typed` is a line to be completed, empty where the verb runs.

    `goal`: whether it must cost `GOAL` at most. `keeps`: whether the names of the site are kept for
    the next completion, as they are until something of the site changes.
    """

    words: tuple[str, ...] = ()
    typed: str = ""
    goal: bool = True
    keeps: bool = True

    @property
    def name(self) -> str:
        """As an operator sees it."""
        if not self.typed:
            return f"phoenix {' '.join(self.words)}"
        return f"{self.typed}<TAB>{'' if self.keeps else ', the first after a change'}"

    @property
    def environment(self) -> dict[str, str]:
        """What bash sets for completion."""
        if not self.typed:
            return {}
        return {
            **({} if self.keeps else {"XDG_CACHE_HOME": os.devnull}),
            "_PHOENIX_COMPLETE": "complete_bash",
            "COMP_WORDS": self.typed,
            "COMP_CWORD": str(len(self.typed.split(" ")) - 1),
        }


CASES = (
    Case(("--help",)),
    Case(typed="phoenix "),
    Case(typed="phoenix sync --"),
    Case(typed="phoenix sync ngin"),
    Case(typed="phoenix sync ngin", goal=False, keeps=False),
    Case(("explain", "qdrant"), goal=False),
    Case(("validate",), goal=False),
)


def cpu_seconds(case: Case) -> float:
    """CPU time of one call, in user and kernel mode, by what the kernel accounts to the process.

    Raises:
        LabError: the call fails.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "phoenix", *case.words],
        cwd=ROOT,
        env={
            **operators_environment(),
            "PHOENIX_INVENTORY": "inventories/phoenix.py",
            **case.environment,
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise LabError(f"{case.name} ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def measure(runs: int) -> dict[str, Any]:
    """Seconds of CPU of each case, `runs` times; in turns, after one call that counts for nothing.

    Raises:
        LabError: a call fails.
    """
    seconds: dict[str, list[float]] = {case.name: [] for case in CASES}
    for case in CASES:  # Python compiles what it meets for the first time
        cpu_seconds(case)
    for _ in range(runs):
        for case in CASES:
            seconds[case.name].append(cpu_seconds(case))
    return {"cpu_seconds": seconds}


def print_report(result: dict[str, Any]) -> bool:
    """Print two tables; whether every goal is met."""
    samples = {case: sample(result["cpu_seconds"][case.name]) for case in CASES}
    rows = [(case.name, measured.text(".3f")) for case, measured in samples.items()]
    print("\n" + table(("start", "CPU seconds"), rows))
    return print_figures(
        [
            Figure(f"{case.name}, CPU seconds", BEFORE, GOAL, measured.median)
            for case, measured in samples.items()
            if case.goal
        ]
    )
