"""Deadlines follow the machine, a lab that is not there is one failure, and the end says why."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lab import pace
from tests.unit.project_copy import ROOT


def run_pytest(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    other_variables = {
        k: v for k, v in os.environ.items() if not k.startswith(("PHOENIX_", "PYTEST_"))
    }
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words],
        cwd=ROOT, env=other_variables | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_factor_grows_with_the_time_that_the_machine_needs() -> None:
    assert pace.factor(0.1) == pace.MIN_FACTOR
    assert pace.factor(pace.QUIET_SECONDS) == pace.MIN_FACTOR
    assert pace.factor(2 * pace.QUIET_SECONDS) == 2 * pace.MIN_FACTOR
    assert pace.factor(1000) == pace.MAX_FACTOR


def test_the_environment_sets_the_factor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "measured", lambda: pytest.fail("measured though it was given"))
    monkeypatch.setenv(pace.VARIABLE, "2.5")
    assert pace.deadline_factor() == 2.5
    monkeypatch.setenv(pace.VARIABLE, "0")
    with pytest.raises(ValueError, match="not above 0"):
        pace.deadline_factor()
    monkeypatch.setattr(pace, "measured", lambda: 3 * pace.QUIET_SECONDS)
    monkeypatch.delenv(pace.VARIABLE)
    assert pace.deadline_factor() == 3 * pace.MIN_FACTOR


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_lab_that_does_not_come_up_is_one_failure(tmp_path: Path, workers: str) -> None:
    result = run_pytest(
        "-n", workers, "--dist", "loadfile", "tests/integration/test_chain.py",
        "tests/integration/test_refusals.py",
        CI="1", DOCKER_HOST=f"unix://{tmp_path}/none.sock", PHOENIX_TEST_DEADLINE_FACTOR="1",
        TMPDIR=str(tmp_path),
    )  # fmt: skip
    assert result.returncode == 1, result.stdout + result.stderr
    counted = re.search(r"(\d+) skipped, 1 error in", result.stdout)
    assert counted, result.stdout
    assert int(counted[1]) > 10
    assert "failed" not in result.stdout.splitlines()[-1]
    assert "not run: " in result.stdout
    assert f"No Docker Engine answers at DOCKER_HOST=unix://{tmp_path}/none.sock" in result.stdout


def test_the_end_names_the_deadlines_that_passed(tmp_path: Path) -> None:
    (tmp_path / "test_late.py").write_text(
        "import time\n"
        "import pytest\n"
        "from tests.integration.project import missed\n\n"
        "def test_run():\n    raise missed('pyinfra deploys/all.py', 600, 'its last words')\n\n"
        "@pytest.mark.timeout(0.2, func_only=True)\n"
        "def test_slow():\n    time.sleep(30)\n\n"
        "def test_wrong():\n    assert 1 == 2\n"
    )
    result = run_pytest(str(tmp_path), "-p", "tests.conftest", "--rootdir", str(tmp_path),
                      PHOENIX_TEST_DEADLINE_FACTOR="2", PYTHONPATH=str(ROOT))  # fmt: skip
    assert result.returncode == 1
    _, _, output = result.stdout.partition("deadlines that passed")
    output, _, failures = output.partition("what failed first")
    lines = [line for line in output.splitlines() if "::" in line and not line.startswith("FAILED")]
    assert len(lines) == 2, result.stdout
    first, *_, last = [line for line in failures.splitlines() if "::" in line]
    assert "::test_run (call): tests.integration.project.DeadlineError: pyinfra" in first
    assert last.endswith("::test_wrong (call): assert 1 == 2")
    line = "pyinfra deploys/all.py had no end in 600 s (2 times a quiet machine's; "
    assert lines[0].endswith(f"test_run: {line}PHOENIX_TEST_DEADLINE_FACTOR sets another factor)")
    assert "test_slow: Timeout (>0.2s)" in lines[1]


@pytest.mark.long
def test_each_file_and_each_failure_is_told_and_a_test_without_end_ends_its_worker_alone(
    tmp_path: Path,
) -> None:
    (tmp_path / "test_outcomes.py").write_text(
        "import pytest\n\n"
        "@pytest.fixture\ndef broken():\n    raise OSError('no disk')\n\n"
        "def test_right():\n    pass\n\n"
        "def test_left():\n    pytest.skip('not here')\n\n"
        "def test_wrong():\n    assert 1 == 2\n\n"
        "def test_without_its_fixture(broken):\n    pass\n"
    )
    (tmp_path / "test_endless.py").write_text(
        "import time\n\n"
        "def test_before():\n    pass\n\n"
        "def test_endless():\n    time.sleep(100)\n\n"
        "def test_after():\n    pass\n"
    )
    result = run_pytest(
        str(tmp_path), "-p", "tests.conftest", "--rootdir", str(tmp_path), "-n", "2",
        "--dist", "loadfile", "-o", "faulthandler_timeout=2",
        "-o", "faulthandler_exit_on_timeout=1", PYTHONPATH=str(ROOT),
    )  # fmt: skip
    assert result.returncode == 1
    told = [line for line in result.stdout.splitlines() if re.match(r"\[ *[0-9.]+s\]", line)]
    lines = [line.split("%", 1)[1].split(maxsplit=1)[1].split(" in ")[0] for line in told]
    assert sorted(lines) == [
        "ERROR test_endless.py::test_endless",
        "ERROR test_outcomes.py::test_without_its_fixture",
        "FAILED test_outcomes.py::test_wrong",
        "test_endless.py: 2 passed, 1 error",
        "test_outcomes.py: 1 passed, 1 failed, 1 error, 1 skipped",
    ]
    assert "1 failed, 3 passed, 1 skipped, 2 errors in" in result.stdout
    assert re.search(r"test_endless.py\", line \d+ in test_endless", result.stderr)
