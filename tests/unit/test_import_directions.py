"""The directions of imports, as pyproject.toml states them; and who reads which files."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("phoenix", "deploys", "operations", "facts", "lab")


def lint(project: Path) -> tuple[int, str]:
    """What import-linter says of a project: its exit code and its report on one line."""
    process = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache", "--no-logo"],
        cwd=project,
        env=os.environ | {"PYTHONPATH": str(project), "COLUMNS": "1000"},
        capture_output=True,
        text=True,
        check=False,
    )
    return process.returncode, " ".join((process.stdout + process.stderr).split())


def test_imports_go_down_the_layers_alone() -> None:
    code, output = lint(ROOT)
    assert code == 0, output


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's code in a place where it can be spoilt."""
    project = tmp_path_factory.mktemp("project")
    only_code = shutil.ignore_patterns("__pycache__", "*.sh", "*.j2", "*.css", "*.svg", "*.html")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, project / name, ignore=only_code)
    shutil.copy(ROOT / "pyproject.toml", project)
    return project


@pytest.fixture
def spoilt(copied: Path) -> Iterator[Path]:
    """`copied`, as it was again after the test."""
    before = {path: path.read_bytes() for path in copied.rglob("*.py")}
    yield copied
    for path in copied.rglob("*.py"):
        if path not in before:
            path.unlink()
        elif path.read_bytes() != before[path]:
            path.write_bytes(before[path])


AGAINST = [
    ("phoenix/site/names.py", "phoenix.health.checks", "phoenix.site", "phoenix.health"),
    ("phoenix/files.py", "lab.settings", "phoenix", "lab"),
    ("facts/home.py", "operations.refusal", "facts", "operations"),
    ("phoenix/site/names.py", "tests.conftest", "phoenix", "tests"),
    ("operations/portainer.py", "portainer_emulator.http", "operations", "portainer_emulator"),
    ("phoenix/derived/dns.py", "phoenix.components.trust", "phoenix.derived", "phoenix.components"),
    ("phoenix/components/trust.py", "phoenix.health.page", "phoenix.components", "phoenix.health"),
    ("phoenix/secrets/store.py", "phoenix.components.trust", "phoenix.secrets",
     "phoenix.components"),
    ("phoenix/proxmox/plan.py", "phoenix.health.checks", "phoenix.proxmox", "phoenix.health"),
    ("phoenix/graph/svg.py", "phoenix.explain.explanation", "phoenix.graph", "phoenix.explain"),
    ("phoenix/cli/app.py", "deploys.context", "phoenix", "deploys"),
]  # fmt: skip


@pytest.mark.fast_cases(2)
@pytest.mark.parametrize(
    ("file", "imported", "importer", "layer"),
    AGAINST,
)
def test_import_against_the_layers_is_reported(
    spoilt: Path, file: str, imported: str, importer: str, layer: str
) -> None:
    path = spoilt / file
    path.write_text(f"{path.read_text()}\nimport {imported}\n")
    code, output = lint(spoilt)
    assert code == 1, output
    assert f"{importer} is not allowed to import {layer}" in output, output


def test_cycle_in_a_package_is_reported(spoilt: Path) -> None:
    path = spoilt / "phoenix/derived/routes.py"
    path.write_text(f"{path.read_text()}\nimport phoenix.derived.firewall\n")
    code, output = lint(spoilt)
    assert code == 1, output
    assert "No cycles are allowed in phoenix.derived" in output, output


def test_package_without_a_place_in_the_layers_is_reported(spoilt: Path) -> None:
    (spoilt / "phoenix/novel.py").write_text("")
    code, output = lint(spoilt)
    assert code == 1, output
    assert "novel" in output, output


def test_unspoilt_copy_keeps_every_contract(spoilt: Path) -> None:
    code, output = lint(spoilt)
    assert code == 0, output


# -- files -----------------------------------------------------------------------------------------

OWN_PLACE = {
    "phoenix/files.py": "the templates and scripts that are shipped",
    "phoenix/locations.py": "the project that this command was installed from",
}
"""Who asks where its own code lies, and for what."""
READS_DEPLOYS = {
    "phoenix/declaration/settings.py": "which settings the deploys read",
    "phoenix/locations.py": "whether a folder is a project; it opens no file there",
}


def own_place(tree: ast.AST) -> bool:
    """Whether code asks where it lies: by `__file__` or by importlib.resources."""
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    return "__file__" in names or "importlib.resources" in modules


def joins_deploys(tree: ast.AST) -> bool:
    """Whether "deploys" stands alone as a text, as a part of a path does.

    `deploys/NAME.py` is what pyinfra is called with.
    """
    texts = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return "deploys" in texts


def code() -> Iterator[tuple[str, ast.AST]]:
    for path in sorted((ROOT / "phoenix").rglob("*.py")):
        yield str(path.relative_to(ROOT)), ast.parse(path.read_text())


def test_shipped_files_are_opened_in_one_place() -> None:
    assert {name for name, tree in code() if own_place(tree)} <= OWN_PLACE.keys()
    assert own_place(ast.parse("from pathlib import Path\nPath(__file__).parent"))
    assert own_place(ast.parse("import importlib.resources"))


def test_no_file_of_the_deploys_is_read() -> None:
    assert {name for name, tree in code() if joins_deploys(tree)} <= READS_DEPLOYS.keys()
    assert joins_deploys(ast.parse('(root / "deploys" / "all.py").read_text()'))
