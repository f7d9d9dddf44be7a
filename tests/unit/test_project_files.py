"""What holds for every file of the project."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.unit.project_copy import ROOT

FOLDERS = ("benchmarks", "deploys", "docs", "facts", "group_data", "inventories", "lab",
           "operations", "phoenix", "portainer_emulator", "stacks", "tests")  # fmt: skip
# Directories of one machine (/home/*/ means those of each), and the parent of a checkout.
OUTSIDE = re.compile(r"(?<![\w.}/])/(work|home|Users)/(?!\*/)|\.\./shared|shared/(data|reference)")


def texts() -> list[Path]:
    """The project's text files, without what tools and builds leave behind."""
    files = [path for path in ROOT.iterdir() if path.is_file() and path.name != ".git"]
    for folder in FOLDERS:
        files += [path for path in (ROOT / folder).rglob("*") if path.is_file()]
    sources = (path for path in files if "__pycache__" not in path.parts)
    return [path for path in sources if path.suffix not in {".png", ".pyc", ".log"}]


def test_no_file_refers_to_a_place_outside_the_project() -> None:
    offences = []
    for path in texts():
        if path == Path(__file__).resolve():
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if OUTSIDE.search(line):
                offences.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}")
    assert offences == []


@pytest.mark.parametrize("line", ["see /work/x.md", "'../shared'", "in shared/data/original"])
def test_such_a_line_is_found(line: str) -> None:
    assert OUTSIDE.search(line)
