"""`python3 lab`: help is given for every command, without a lab and without its packages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lab import bootstrap
from tests.unit.project_copy import ROOT


@pytest.mark.parametrize(
    "words", [["--help"], ["help"], ["shell", "--help"], ["up", "-h"], ["run", "--help"]]
)
def test_help_is_given_and_nothing_begun(words: list[str]) -> None:
    code = (
        "import sys; sys.argv[1:] = {!r}; import runpy; runpy.run_path('lab', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code.format(words)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: python3 lab COMMAND\n")


def test_a_virtual_environment_of_an_operator_is_completed_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """README's `pip install -r requirements.txt` into .venv, then `python3 lab status` in it."""
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(bootstrap, "VENV", tmp_path)
    monkeypatch.setattr(bootstrap, "STAMP", tmp_path / "stamp")
    assert not bootstrap.in_venv()
    (tmp_path / "stamp").write_text("x")
    assert bootstrap.in_venv()
