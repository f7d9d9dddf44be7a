"""A copy of this project's declaration that a test may spoil, and the command run on it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from phoenix.cli.app import app

ROOT = Path(__file__).parents[2]
INHERITED = ROOT / "tests" / "data" / "inherited"
"""A site as the system before Phoenix wrote them: keys that nothing reads, ids as text and as
numbers, roles to be inferred, templates and clones, stacks by name and as objects."""


def copied(folder: Path) -> Path:
    """The project's declaration and settings in `folder`; its code is linked. Gives the folder."""
    for name in ("inventories", "stacks", "group_data"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("deploys", "operations", "facts"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def changed(file: Path, change: Callable[[Any], None]) -> None:
    """Change a JSON file in place."""
    data = json.loads(file.read_text())
    change(data)
    file.write_text(json.dumps(data, indent=4))


def phoenix(*words: str | Path, environment: dict[str, str] | None = None) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(app, [str(word) for word in words], env=environment)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copied project, with no secret and no key of whoever runs the tests."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PHOENIX_ENVIRONMENT", raising=False)
    monkeypatch.delenv("PHOENIX_SOPS_FILE", raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    return copied(tmp_path / "project")
