"""A site in a folder of its own: its settings are its own, not those of the checkout's site."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from phoenix.cli.project import load
from phoenix.declaration.settings import Settings
from phoenix.runs.process import Request
from tests.unit.project_copy import ROOT, phoenix

HERE = Settings.model_validate({})
"""What Phoenix does by itself. The checkout's site has another time zone and organisation."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A site's folder without deploys: the checkout's deploy it."""
    for name in ("inventories", "stacks"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("lab.py"))
    return tmp_path


@pytest.mark.parametrize("inventory", ["inventories/phoenix.py", "inventories"])
def test_without_settings_it_has_the_defaults(folder: Path, inventory: str) -> None:
    settings = load(folder / inventory).settings
    assert (settings.timezone, settings.step_ca_organisation) == (
        HERE.timezone,
        HERE.step_ca_organisation,
    )


@pytest.mark.parametrize("inventory", ["inventories/phoenix.py", "inventories"])
def test_its_own_settings_alone_are_read(folder: Path, inventory: str) -> None:
    (folder / "group_data").mkdir()
    (folder / "group_data" / "all.py").write_text('timezone = "Europe/Berlin"\n')
    settings = load(folder / inventory).settings
    assert settings.timezone == "Europe/Berlin"
    assert settings.step_ca_organisation == HERE.step_ca_organisation


def test_files_of_the_checkout_are_none_of_its_findings(folder: Path) -> None:
    """`no group is called 'lab'` was said of the checkout's group_data/lab.py."""
    result = phoenix("validate", "--json", "-i", folder / "inventories/phoenix.py")
    files = {finding["file"] for finding in json.loads(result.stdout)["findings"]}
    assert "group_data/lab.py" not in files


def test_pyinfra_gives_each_host_the_same(folder: Path) -> None:
    (folder / "group_data").mkdir()
    (folder / "group_data" / "all.py").write_text('timezone = "Europe/Berlin"\n')
    request = load(folder / "inventories/phoenix.py").request()
    assert isinstance(request, Request)
    words = [sys.executable, *request.words()[1:-2], "debug-inventory"]
    done = subprocess.run(
        words,
        cwd=request.root,
        env=request.variables(),
        capture_output=True,
        text=True,
        check=False,
    )
    output = done.stdout + done.stderr
    assert output.count('"timezone": "Europe/Berlin"') == 6, output
    assert "step_ca_organisation" not in output, output
