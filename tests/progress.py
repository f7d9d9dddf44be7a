"""A line for each file of tests that has ended, where several workers run whole files.

Thousands of dots do not tell what runs, nor what never ended.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

WORDS = {"passed": "passed", "failed": "FAILED", "error": "ERROR", "skipped": "SKIPPED"}


@dataclass
class File:
    """One file of tests, as its worker tells of it."""

    left: int
    """Tests that have not ended."""
    seconds: float = 0.0
    """What its tests and their fixtures took until now."""
    counts: Counter[str] = field(default_factory=Counter)
    """Tests by outcome: a word of `WORDS`."""


class Progress:
    """pytest-xdist's controller tells file by file, and each failure at once."""

    def __init__(self, terminal: pytest.TerminalReporter) -> None:
        """Lines go to `terminal`."""
        self._terminal = terminal
        self._began = time.monotonic()
        self._files: dict[str, File] = {}
        self._outcomes: dict[str, str] = {}
        """Outcome of each test that runs now: the worst of its parts."""
        self._ended = 0
        self._tests = 0

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        """The first worker's collection is all workers': pytest-xdist sees to that."""
        if not self._files:
            counts = Counter(map(_file, ids))
            self._files = {file: File(count) for file, count in counts.items()}
            self._tests = len(ids)

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(
        self, report: pytest.CollectReport | pytest.TestReport
    ) -> tuple[str, str, str] | None:
        """No dot for a test; it counts all the same."""
        if not isinstance(report, pytest.TestReport) or hasattr(report, "wasxfail"):
            return None
        if report.failed:
            outcome = _failure(report)
            return outcome, "", WORDS[outcome]
        if report.skipped:
            return "skipped", "", WORDS["skipped"]
        return ("passed" if report.when == "call" else ""), "", ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take in one part of a test; tell a failure, and the end of a file."""
        test, file = report.nodeid, self._files.get(_file(report.nodeid))
        if file is None:
            return
        worker = getattr(report, "node", None)
        name = worker.gateway.id if worker else ""
        file.seconds += report.duration
        if report.failed:
            self._outcomes[test] = _failure(report)
            self._say(name, f"{WORDS[self._outcomes[test]]} {test}")
        else:
            self._outcomes.setdefault(test, report.outcome)
            if report.skipped:
                self._outcomes[test] = "skipped"
        if report.when in ("setup", "call"):
            return  # more comes; what a dead worker was at ends with a report of no such part
        file.counts[self._outcomes.pop(test)] += 1
        file.left -= 1
        self._ended += 1
        if file.left == 0:
            counts = ", ".join(f"{file.counts[word]} {word}" for word in WORDS
                               if file.counts[word])  # fmt: skip
            self._say(name, f"{_file(test)}: {counts} in {file.seconds:.1f} s")

    def _say(self, worker: str, text: str) -> None:
        seconds = time.monotonic() - self._began
        share = 100 * self._ended // max(self._tests, 1)
        self._terminal.write_line(f"[{seconds:7.1f}s] {share:3d}% {worker:<4} {text}")
        self._terminal.flush()


def _failure(report: pytest.TestReport) -> str:
    return "failed" if report.when == "call" else "error"


def _file(test: str) -> str:
    return test.split("::", 1)[0]
