"""What a release and a contributor rely on: version, changelog, and paths in the documents."""

from __future__ import annotations

import re
import tomllib

import pytest
import yaml

from tests.unit.project_copy import ROOT

CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()


def test_version_is_that_of_the_newest_release() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    headings = re.findall(r"^## \[(.+?)\](.*)$", CHANGELOG, re.M)
    assert headings[0] == ("Unreleased", "")
    assert headings[1][0] == project["version"]
    for version, rest in headings[1:]:
        assert re.fullmatch(r"\d+\.\d+\.\d+", version), version
        assert re.fullmatch(r" - \d{4}-\d\d-\d\d", rest), rest


def test_changelog_has_the_sections_of_its_form() -> None:
    sections = set(re.findall(r"^### (.+)$", CHANGELOG, re.M))
    assert sections <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def tasks() -> list[tuple[str, str]]:
    table = CONTRIBUTING.partition("## Where is it?")[2].partition("\n## ")[0]
    return re.findall(r"^\| (?!task|-)(.+?) \| (.+?) \|$", table, re.M)


def test_tasks_name_files_that_exist() -> None:
    assert len(tasks()) == 15
    for task, files in tasks():
        names = re.findall(r"`([^`]+)`", files)
        assert names, task
        for name in names:
            assert (ROOT / name).is_file(), f"{task}: {name}"


@pytest.mark.parametrize("document", ["CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"])
def test_links_and_folders_exist(document: str) -> None:
    text = (ROOT / document).read_text()
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (ROOT / link).exists(), link
    for folder in re.findall(r"`(tests/[a-z_/.]+)`", text):
        assert (ROOT / folder).exists(), folder


def test_pre_commit_downloads_nothing() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert {repository["repo"] for repository in hooks} == {"local"}
    assert {hook["language"] for repository in hooks for hook in repository["hooks"]} == {"system"}
    assert [hook["id"] for repository in hooks for hook in repository["hooks"]] == [
        "ruff",
        "ruff-format",
        "mypy",
    ]
