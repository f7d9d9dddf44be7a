"""Hostile and broken files: each is refused with a reason and a fix, or does no harm.

`python -m tests.fuzz` looks for more; what it found is kept in tests/data/hostile.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from phoenix.declaration.load import load_site
from phoenix.site.findings import ConfigError
from tests.fuzz.__main__ import run_case
from tests.fuzz.cases import site_files
from tests.fuzz.targets import readable, write
from tests.unit.project_copy import ROOT

CORPUS = sorted((ROOT / "tests/data/hostile").glob("*.json"))


@pytest.mark.parametrize("file", CORPUS, ids=[file.stem for file in CORPUS])
def test_case_that_once_did_harm(file: Path) -> None:
    stored = json.loads(file.read_text())
    run_case(stored["target"], stored["case"])


def test_generated_files_give_findings_within_time_and_memory() -> None:
    """Few examples, the same each time, in a child with a limit on its memory."""
    from tests.fuzz.targets import TARGETS

    words = ["--seed", "1", "--examples", "25", "--targets", ",".join(TARGETS)]
    result = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", *words], cwd=ROOT, check=False, capture_output=True,
        text=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    assert int(result.stdout.rpartition("COUNT ")[2]) >= 25 * len(TARGETS), result.stdout


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "too long", "no text"])
def test_file_that_is_none(tmp_path: Path, kind: str) -> None:
    for label, data in site_files().items():
        write(tmp_path, label, json.dumps(data))
    for label in site_files():
        file = tmp_path / label
        before = file.read_bytes()
        file.unlink()
        if kind == "pipe":
            os.mkfifo(file)
        elif kind == "device":
            file.symlink_to("/dev/zero")
        elif kind == "folder":
            file.mkdir()
        elif kind == "too long":
            with file.open("wb") as handle:
                handle.truncate(200 * 1024 * 1024)
        else:
            file.write_bytes(b"\xff\xfe{}")
        with pytest.raises(ConfigError) as caught:
            load_site(tmp_path)
        assert [finding.file for finding in caught.value.findings] == [label], caught.value
        readable(caught.value.findings)
        file.rmdir() if kind == "folder" else file.unlink()
        file.write_bytes(before)
