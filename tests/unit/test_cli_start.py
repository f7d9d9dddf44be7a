"""A command imports, loads and reads what it uses, once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from phoenix.cli.commands import VERBS
from phoenix.declaration import group_data
from phoenix.declaration.load import load_site
from phoenix.site.findings import Report
from phoenix.site.model import Site
from tests.unit.project_copy import ROOT, changed, phoenix
from tests.unit.project_copy import project as project
from tests.unit.test_cached_names import settle
from tests.unit.test_cli_help import VERBS as COMMANDS

_MODULES = """
import json, os, sys
from phoenix.cli.app import main
runs = json.loads(sys.argv[1])
for words, environment in runs:
    before = set() if words is runs[0][0] else set(sys.modules)
    os.environ.update(environment)
    sys.argv = ["phoenix", *words]
    try:
        main()
    except SystemExit:
        pass
    sys.stdout.flush()
    sys.stderr.write("\\n" + json.dumps(sorted(set(sys.modules) - before)))
"""
SLOW = ("pyinfra", "pyinfra_cli", "gevent", "paramiko", "cryptography", "requests", "bcrypt",
        "jinja2", "pyrage", "proxmoxer")  # fmt: skip


SITE = ("phoenix.site.model", "phoenix.declaration", "phoenix.derived", "phoenix.health")
"""typer itself takes pydantic to read a verb's options; these must not be needed for that."""


def imported(*words: str, cwd: Path, environment: dict[str, str] | None = None) -> set[str]:
    """The modules that a process has which runs `phoenix` with these words."""
    return added((words, environment or {}), cwd=cwd)[0]


def added(*runs: tuple[tuple[str, ...], dict[str, str]], cwd: Path) -> list[set[str]]:
    """The modules that one process has after the first run, and that each further one adds."""
    process = subprocess.run(
        [sys.executable, "-c", _MODULES, json.dumps(runs)],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "HOME": str(cwd), "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return [set(json.loads(line)) for line in process.stderr.split("\n")[-len(runs) :]]


def of(modules: set[str], *packages: str) -> list[str]:
    return sorted(
        module
        for module in modules
        if any(f"{module}.".startswith(f"{package}.") for package in packages)
    )


def completing(words: str) -> dict[str, str]:
    return {"_PHOENIX_COMPLETE": "complete_bash", "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split(" ")) - 1)}  # fmt: skip


def test_help_imports_no_verb_and_nothing_slow(tmp_path: Path) -> None:
    modules = imported("--help", cwd=tmp_path)
    assert of(modules, *SLOW, "pydantic", "rich.live", "rich.progress") == []
    assert of(modules, *(f"phoenix.cli.{verb.module}" for verb in VERBS.values())) == []
    assert of(modules, *SITE) == []


def test_completion_of_verbs_imports_no_verb(tmp_path: Path) -> None:
    modules = imported(cwd=tmp_path, environment=completing("phoenix d"))
    assert of(modules, *SLOW, *SITE, "rich", "phoenix.cli.doctor") == []


def test_completion_of_options_imports_no_site(tmp_path: Path) -> None:
    modules_added = added(*(((), completing(f"phoenix {verb} --")) for verb in VERBS), cwd=tmp_path)
    for verb, modules in zip(VERBS, modules_added, strict=True):
        assert of(modules, *SLOW, *SITE, "rich") == [], verb
    assert all(
        of(set[str]().union(*modules_added), f"phoenix.cli.{VERBS[verb].module}") for verb in VERBS
    )


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize(
    "verb",
    ["plan", "sync", "doctor", "explain"],
)
def test_completion_of_names_loads_the_site_and_nothing_slow(project: Path, verb: str) -> None:
    modules = imported(cwd=project, environment=completing(f"phoenix {verb} ngin"))
    assert "phoenix.declaration.load" in modules
    settle(project)  # what has just changed is not kept
    imported(cwd=project, environment=completing(f"phoenix {verb} ngin"))
    settle(project)  # a folder for what is kept was made in it
    imported(cwd=project, environment=completing(f"phoenix {verb} ngin"))
    again = imported(cwd=project, environment=completing(f"phoenix {verb} ngin"))
    assert of(again, *SLOW, *SITE, "rich") == []
    (project / "stacks" / "new").mkdir()
    modules = imported(cwd=project, environment=completing(f"phoenix {verb} ngin"))
    assert "phoenix.declaration.load" in modules
    assert of(modules, *SLOW, "rich", "phoenix.components", "phoenix.health") == []


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize("words", [["validate"], ["explain", "qdrant"], ["graph"]])
def test_offline_verbs_import_no_connection(project: Path, words: list[str]) -> None:
    modules = imported(*words, cwd=project)
    assert of(modules, "paramiko", "requests", "proxmoxer", "pyrage") == [] or words == ["validate"]


def test_the_summaries_are_the_verbs_own() -> None:
    for name, verb in VERBS.items():
        assert COMMANDS.get(name) is None or COMMANDS[name].help.startswith(f"{verb.summary}\n")
        module = __import__(f"phoenix.cli.{verb.module}", fromlist=["app"])
        if verb.name == "app":
            assert module.app.info.help == verb.summary


# -- loaded once -----------------------------------------------------------------------------------


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The directories from which a site was loaded."""
    files_found: list[Path] = []
    original = load_site

    def counted(folder: Path, *values: object, **options: object) -> Site:
        files_found.append(folder)
        return original(folder, *values, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("phoenix.declaration.inventory.load_site", counted)
    monkeypatch.setattr("phoenix.cli.offline.load_site", counted)
    return files_found


@pytest.mark.parametrize(
    "words", [["validate"], ["explain", "qdrant"], ["graph"], ["secrets", "list"],
              ["secrets", "rotate", "nothing"], ["certs", "renew", "nobody"], ["sync", "nobody"],
              ["plan", "nobody"], ["doctor", "nobody"]]
)  # fmt: skip
def test_a_command_loads_the_site_once(project: Path, loads: list[Path], words: list[str]) -> None:
    phoenix(*words, "-i", project / "inventories/phoenix.py")
    assert loads == [project / "inventories"]


def test_a_directory_is_loaded_once(project: Path, loads: list[Path]) -> None:
    phoenix("validate", "-i", project / "inventories")
    assert loads == [project / "inventories"]


def test_settings_are_executed_once(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from phoenix.cli.project import load

    reads: list[Path] = []
    original = group_data.read

    def counted(root: Path, report: Report) -> tuple[group_data.SettingsFile, ...]:
        reads.append(root)
        return original(root, report)

    monkeypatch.setattr(group_data, "read", counted)
    file = project / "inventories/phoenix.py"
    file.write_text(file.read_text().replace('"ssh_user"', '"proxmox_node": "pve2", "ssh_user"'))
    (project / "group_data/phoenix.py").write_text('proxmox_node = "pve1"\n')
    loaded = load(file)
    loaded.print_warnings()
    assert loaded.settings.timezone == loaded.settings.timezone == "America/New_York"
    assert loaded.settings.proxmox.node == "pve2", "the inventory's own data come first"
    assert reads == [project]


def test_secrets_are_one_store(project: Path) -> None:
    from phoenix.cli.project import load

    loaded = load(project / "inventories/phoenix.py")
    assert loaded.secrets is loaded.secrets


# -- a directory as the site -----------------------------------------------------------------------


def test_every_verb_takes_a_directory(project: Path) -> None:
    from phoenix.cli.project import load

    for links in (True, False):
        loaded = load(project / "inventories")
        assert loaded.site.service("qdrant").owner.name == "drphoenix"
        assert loaded.root == project
        request = loaded.request("deploys/dns.py", environment={"A": "b"})
        assert (request.root, request.site) == ((project, None) if links else (ROOT, project))
        assert request.root / request.inventory == request.root / "inventories/directory.py"
        assert request.environment == {"PHOENIX_DIRECTORY": str(project / "inventories"), "A": "b"}
        assert "PHOENIX_DIRECTORY" not in os.environ
        (project / "deploys").unlink(missing_ok=True)


def test_a_faulty_directory_is_an_error_with_its_findings(project: Path) -> None:
    def spoil(data: Any) -> None:
        data["vms"][2]["network_config"]["ip"] = "10.0.0.111/24"

    changed(project / "inventories/phoenix_vm_configs.json", spoil)
    result = phoenix("plan", "-i", project / "inventories")
    assert result.exit_code == 1
    assert "vms[2].network_config.ip" in str(result.exception)
