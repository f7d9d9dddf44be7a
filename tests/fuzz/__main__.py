"""`python -m tests.fuzz`: readers of files on generated hostile files, within time and memory.

    --examples N   for each target (default 2000)
    --seconds S    stop after so long, whatever is left (default: no limit)
    --targets A,B  of: see tests/fuzz/targets.py (default: all)
    --found DIR    where cases that failed are written; keep them in tests/data/hostile
    --fixed        the same examples each time

Each batch runs in a child process of its own with a limit on memory (RLIMIT_AS), and each example
has a deadline. Exit code 1: a case failed.
"""

from __future__ import annotations

import argparse
import json
import resource
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from types import FrameType
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase

from tests.fuzz.cases import strategies
from tests.fuzz.targets import TARGETS, folder

MEMORY = 2 * 1024**3
"""Bytes of address space of a child; its libraries take about a quarter of it."""
SECONDS = 10.0
"""Of processor time, for one example: what a file of its size takes is a hundredth of it."""
BATCHES = {
    "site": 1500,
    "variants": 1500,
    "settings": 1500,
    "stack": 2500,
    "compose": 2500,
    "guests": 5000,
}
BATCH = 10_000
"""Examples for one child: of the slow targets fewer, so that each has its turn."""


class SlowError(BaseException):
    """An example took too long; no `except Exception` of the code under test takes it."""


def _alarm(_number: int, _frame: FrameType | None) -> None:
    raise SlowError


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def run_case(target: str, case: Any) -> None:
    """Run one case within the time. Raises whatever the target lets pass, or SlowError."""
    signal.signal(signal.SIGVTALRM, _alarm)
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        TARGETS[target](case)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def _child(options: argparse.Namespace) -> int:
    """What a child does: each target in turn, within the memory."""
    folder()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    every = [
        _batch(target, options.examples, options.seed, options.found, options.deadline)
        for target in options.targets.split(",")
    ]
    _say(f"COUNT {sum(count for count, _ in every)}")
    return max(code for _, code in every)


def _batch(
    target: str, examples: int, seed: int, output: Path | None, deadline: float
) -> tuple[int, int]:
    """The number of examples, and 1 where one failed: the smallest such case is written."""
    count = 0
    last: tuple[Any, str] = (None, "")

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=examples, deadline=None, database=None, print_blob=False,
        suppress_health_check=list(HealthCheck), phases=(Phase.generate, Phase.shrink),
        report_multiple_bugs=False,
    )  # fmt: skip
    @hypothesis.given(strategies()[target])
    def run(case: Any) -> None:
        nonlocal count, last
        if time.time() > deadline:
            return
        count += 1
        try:
            run_case(target, case)
        except BaseException as error:
            last = (case, "".join(traceback.format_exception(error)[-4:]))
            if isinstance(error, SlowError | MemoryError):
                raise AssertionError(type(error).__name__) from None
            raise

    code = 0
    try:
        run()
    except BaseException:  # noqa: BLE001 - whatever it is, the case is the finding
        code = 1
        case, why = last
        _say(f"{target}, seed {seed}: {why}")
        if output is not None:
            output.mkdir(parents=True, exist_ok=True)
            text = json.dumps({"target": target, "case": case, "why": why.splitlines()[-1]})
            (output / f"{target}-{seed}.json").write_text(text + "\n")
    return count, code


def main(arguments: list[str]) -> int:
    """Run all batches, one after the other; 0: no case failed."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--examples", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--targets", default=",".join(TARGETS))
    parser.add_argument("--found", type=Path)
    parser.add_argument("--fixed", action="store_true")
    parser.add_argument("--seed", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--deadline", type=float, default=1e12, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    targets = options.targets.split(",")
    if options.seed is not None:
        return _child(options)
    start = time.time()
    left = dict.fromkeys(targets, options.examples)
    done = dict.fromkeys(targets, 0)
    failed = 0
    seed = 0 if options.fixed else int(start)
    while any(left.values()) and time.time() < start + options.seconds:
        for target in [name for name in targets if left[name]]:
            if time.time() > start + options.seconds:
                break
            seed += 1
            size = min(BATCHES.get(target, BATCH), left[target])
            left[target] -= size
            command = [sys.executable, "-m", "tests.fuzz", "--targets", target, "--examples",
                       str(size), "--seed", str(seed), "--deadline",
                       str(start + options.seconds)]  # fmt: skip
            command += ["--found", str(options.found)] if options.found else []
            child = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
            output, mark, count = child.stdout.rpartition("COUNT ")
            output, count = (
                (output, count) if mark else (child.stdout, "0")
            )  # killed before its end
            done[target] += int(count)
            failed += child.returncode != 0
            if child.returncode:
                _say(f"{output}(exit code {child.returncode})")
    seconds = time.time() - start
    for target, number in done.items():
        _say(f"{target}: {number} examples")
    _say(f"{sum(done.values())} examples in {seconds:.0f} s, {failed} batches failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
