"""The revision is git's own; it is empty outside a checkout."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from phoenix.runs.revision import NONE, Revision, revision


def git(folder: Path, *words: str) -> str:
    author = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    process = subprocess.run(
        ["git", "-C", str(folder), *author, *words], capture_output=True, text=True, check=True
    )
    return process.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    (tmp_path / "file").write_text("one\n")
    (tmp_path / ".gitignore").write_text("build/\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "one")
    return tmp_path


def test_commit_of_a_clean_checkout(checkout: Path) -> None:
    (checkout / "build").mkdir()
    (checkout / "build" / "ignored").touch()
    assert revision(checkout) == Revision(commit=git(checkout, "rev-parse", "HEAD"), dirty=False)


@pytest.mark.parametrize("name", ["file", "untracked"])
def test_local_changes_are_told(checkout: Path, name: str) -> None:
    (checkout / name).write_text("two\n")
    assert revision(checkout).dirty


def test_checkout_further_up_is_somebody_else_s(checkout: Path) -> None:
    inner = checkout / "project"
    inner.mkdir()
    assert revision(inner) == NONE


def test_no_checkout_no_commit_and_no_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert revision(tmp_path) == NONE
    git(tmp_path, "init", "-q")
    assert revision(tmp_path) == NONE
    monkeypatch.setenv("PATH", "")
    assert revision(tmp_path) == NONE
