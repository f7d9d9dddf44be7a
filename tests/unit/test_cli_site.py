"""`--site DIR`: every verb that works on a site finds it in its folder, from anywhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from typer._click import Command

from phoenix.cli import complete, project
from phoenix.cli.commands import LazyCommands
from tests.unit.project_copy import ROOT, phoenix
from tests.unit.project_copy import project as project_copy

project_folder = project_copy


def verbs() -> Iterator[tuple[str, Command]]:
    for name, command in LazyCommands().items():
        inner = getattr(command, "commands", None)
        yield from ((f"{name} {word}", entry) for word, entry in (inner or {}).items())
        if inner is None:
            yield name, command


def test_every_verb_with_an_inventory_takes_a_site() -> None:
    options = {name: [opt for p in verb.params for opt in p.opts] for name, verb in verbs()}
    with_inventory = {name for name, words in options.items() if "--inventory" in words}
    assert {name for name, words in options.items() if "--site" in words} == with_inventory
    assert {"plan", "sync", "status", "certs list", "secrets rotate", "remove"} <= with_inventory


def test_the_site_in_a_folder_is_read_from_anywhere(
    project_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (project_folder / "group_data" / "all.py").write_text("dns_upstreams = []\n")
    result = phoenix("validate", "--json", "--site", project_folder)
    assert result.exit_code == 1, result.output
    findings = [
        (finding["file"], finding["path"]) for finding in json.loads(result.stdout)["findings"]
    ]
    assert findings == [("group_data/all.py", "dns_upstreams")]
    again = phoenix("validate", "--json", environment={"PHOENIX_SITE": str(project_folder)})
    assert json.loads(again.stdout) == json.loads(result.stdout)


def test_a_folder_that_is_no_site_is_told_which_site_is_meant(
    project_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkout's own site is the last choice, and its hosts are asked: nobody guesses that."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    result = phoenix("explain", "qdrant", "--json")
    assert f"no inventories/phoenix.py here, so this is the site in {ROOT}" in result.stderr
    assert json.loads(result.stdout)["explanation"]["name"].startswith("qdrant.")
    for inside in (ROOT / "docs", project_folder):
        monkeypatch.chdir(inside)
        assert phoenix("explain", "qdrant", "--json").stderr == ""


def test_the_lab_is_found_from_a_site_s_folder(
    project_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project_folder)
    called: list[list[str]] = []

    def run(words: list[str], **_: object) -> CompletedProcess[str]:
        called.append(words)
        return CompletedProcess(words, 0)

    monkeypatch.setattr("phoenix.cli.lab.subprocess.run", run)
    assert phoenix("lab", "status").exit_code == 0
    assert [words[1:] for words in called] == [[str(ROOT / "lab"), "status"]]


def test_a_folder_without_an_inventory_of_its_own_has_settings_and_stacks_beside_the_json_files(
    project_folder: Path,
) -> None:
    for file in (project_folder / "inventories").glob("*.py"):
        file.unlink()
    (project_folder / "deploys").unlink()  # no project of its own: a site alone
    (project_folder / "group_data" / "all.py").write_text('timezone = "Europe/Vienna"\n')
    result = phoenix("explain", "qdrant", "--site", project_folder)
    assert result.exit_code == 0, result.output
    site = project.load(project_folder / "inventories")
    assert site.settings.timezone == "Europe/Vienna"


def test_site_and_inventory_both_given_are_refused(project_folder: Path) -> None:
    words = ("validate", "--site", project_folder, "-i", project_folder / "inventories")
    result = phoenix(*words)
    assert result.exit_code == 64, result.output
    assert "give one of them" in result.output


def test_one_that_is_given_goes_before_one_in_the_environment(
    project_folder: Path, tmp_path: Path
) -> None:
    nowhere = {"PHOENIX_SITE": str(tmp_path / "none"), "PHOENIX_INVENTORY": "none.py"}
    for words in (("--site", project_folder), ("-i", project_folder / "inventories")):
        assert phoenix("validate", *words, environment=nowhere).exit_code == 0, words


def test_completion_offers_the_names_of_the_site(project_folder: Path) -> None:
    verb = LazyCommands()["doctor"]
    context = verb.make_context("doctor", ["--site", str(project_folder)], resilient_parsing=True)
    assert "qdrant" in complete.names(context, "qd")  # type: ignore[arg-type]
