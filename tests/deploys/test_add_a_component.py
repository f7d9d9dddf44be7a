"""docs/add-a-component.md, done as it says in a copy of the project, and run there."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploys.recorder import ROOT

PAGE = (ROOT / "docs/add-a-component.md").read_text()
COPIED = (
    "config.py", "deploys", "facts", "group_data", "inventories", "operations", "phoenix",
    "pyproject.toml", "stacks", "tests",
)  # fmt: skip
_NEW = re.compile(r"^`(?P<path>[\w/]+\.py)`\n\n```python\n(?P<text>.*?)^```$", re.M | re.S)
_ADDED = re.compile(
    r"^In `(?P<path>[\w/]+\.py)`, after\n\n```text\n(?P<after>.*?)^```\n\nadd\n\n"
    r"```text\n(?P<text>.*?)^```$",
    re.M | re.S,
)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with the page's component in it."""
    folder = tmp_path_factory.mktemp("component")
    ignored = shutil.ignore_patterns("__pycache__")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, folder / name)
    new = list(_NEW.finditer(PAGE))
    added = list(_ADDED.finditer(PAGE))
    assert (len(new), len(added)) == (4, 2), "the page shows another number of files"
    for block in new:
        path = folder / block["path"]
        assert not path.exists(), path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block["text"])
    for block in added:
        path = folder / block["path"]
        text = path.read_text()
        assert text.count(block["after"]) == 1, f"{path.name} has not: {block['after']}"
        path.write_text(text.replace(block["after"], block["after"] + block["text"]))
    return folder


def in_copy(project: Path, *words: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", *words], cwd=project, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_its_own_test_passes_and_the_two_lists_agree(project: Path) -> None:
    in_copy(
        project, "pytest", "-q", "-p", "no:cacheprovider", "tests/deploys/test_node_exporter.py",
        "tests/unit/test_components.py::test_the_list_is_that_of_the_whole_deploy_in_its_order",
    )  # fmt: skip


def test_the_command_line_knows_it(project: Path) -> None:
    in_copy(project, "phoenix", "explain", "node_exporter", "-i", "inventories/phoenix.py")


def test_the_code_is_clean(project: Path) -> None:
    in_copy(project, "ruff", "check", "deploys", "phoenix", "tests/deploys/test_node_exporter.py")
    in_copy(project, "ruff", "format", "--check", "deploys", "phoenix")
