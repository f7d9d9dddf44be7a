"""A run keeps what Python compiles of the project, unless the operator has Python keep nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from phoenix.locations import PROJECT


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize("keeps", [True, False])
def test_a_run_keeps_compiled_modules_as_the_operator_wants(tmp_path: Path, keeps: bool) -> None:
    environment = {
        name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
    }
    environment |= {"PYTHONPYCACHEPREFIX": str(tmp_path)}
    environment |= {} if keeps else {"PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run(
        [sys.executable, "-m", "pyinfra", "inventories/phoenix.py", "debug-inventory"],
        cwd=PROJECT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
    )
    compiled = {path.name.partition(".")[0] for path in tmp_path.glob("**/phoenix/**/*.pyc")}
    assert ("load" in compiled) is keeps
