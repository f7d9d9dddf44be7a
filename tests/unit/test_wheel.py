"""The wheel: what is in it, and that the command works from it, outside any checkout."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import socket
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path, PurePosixPath
from unittest import mock

import pytest
import setuptools  # type: ignore[import-untyped]

from tests.unit.project_copy import ROOT

IGNORED = shutil.ignore_patterns("__pycache__", "*.pyc")


def copies() -> dict[str, str]:
    """What setup.py puts into the wheel from beside phoenix/, and where."""
    with mock.patch.object(setuptools, "setup"):
        setup_module = runpy.run_path(str(ROOT / "setup.py"))
    places = {".": "phoenix/project", "example": "phoenix/project/example"}
    return {name: places[folder] for folder, names in setup_module["COPIES"] for name in names}


def run(*words: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command that sees no variable of whoever runs the tests but PATH."""
    return subprocess.run(
        [str(word) for word in words], cwd=cwd, text=True, capture_output=True, check=False,
        env={"PATH": os.environ["PATH"], "HOME": str(cwd), "COLUMNS": "120", **environment},
    )  # fmt: skip


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("source")
    own = ("phoenix", "pyproject.toml", "setup.py", "MANIFEST.in", "README.md")
    for name in (*own, *copies()):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=IGNORED)
        else:
            shutil.copy(ROOT / name, source / name)
    result = run(
        sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index",
        "--wheel-dir", source / "made", source, cwd=source,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    (wheel_file,) = (source / "made").glob("*.whl")
    return wheel_file


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean environment's Python: it has the wheel, and sees what the wheel needs."""
    folder = tmp_path_factory.mktemp("clean")
    environment = run(sys.executable, "-m", "venv", "--without-pip", folder / "venv", cwd=folder)
    assert environment.returncode == 0, environment.stderr
    interpreter = folder / "venv" / "bin" / "python"
    (packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
    process = run(
        sys.executable, "-m", "pip", "--python", interpreter, "install", "--no-deps", "--no-index",
        wheel, cwd=folder,
    )  # fmt: skip
    assert process.returncode == 0, process.stdout + process.stderr
    # Python reads no .pth file of a directory that is named so: the checkout stays unseen.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return interpreter


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A site's folder as an operator has it: declaration and stacks, and no code."""
    for name in ("inventories", "stacks"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=IGNORED)
    for name in ("lab.py", "directory.py"):
        (tmp_path / "inventories" / name).unlink()
    return tmp_path


def test_wheel_holds_every_file_and_installs_one_name(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    code = {name for name in names if not PurePosixPath(name).parts[0].endswith(".dist-info")}
    assert {PurePosixPath(name).parts[0] for name in code} == {"phoenix"}
    expected = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "phoenix").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    for name, place in copies().items():
        for path in [ROOT / name, *(ROOT / name).rglob("*")]:
            if path.is_file() and "__pycache__" not in path.parts:
                expected.add(f"{place}/{path.relative_to(ROOT).as_posix()}")
    assert code == expected
    # pyinfra runs in phoenix/project: what the example site sets is nobody else's setting.
    assert not any(name.startswith("phoenix/project/group_data") for name in code)


@pytest.mark.long
def test_offline_verbs_on_a_site_folder(python: Path, folder: Path) -> None:
    phoenix = python.with_name("phoenix")
    version = run(phoenix, "--version", cwd=folder)
    assert version.returncode == 0, version.stderr
    assert version.stdout.split()[0] == "phoenix"
    assert "revision" not in version.stdout, "a wheel is a release"
    for verb in ("validate", "explain", "graph", "plan", "sync", "status"):
        assert run(phoenix, verb, "--help", cwd=folder).returncode == 0, verb
    for inventory in ((), ("-i", "inventories/phoenix.py"), ("-i", "inventories")):
        result = run(phoenix, "validate", "--json", *inventory, cwd=folder)
        assert result.returncode == 0, result.stdout + result.stderr
        assert json.loads(result.stdout)["errors"] == 0, result.stdout
        # As in the checkout: nothing that the code reads is told to be unread.
        assert "no code reads this setting" not in result.stdout, result.stdout
    explained = run(phoenix, "explain", "qdrant", cwd=folder)
    assert (explained.returncode, "drphoenix" in explained.stdout) == (0, True), explained.stderr
    graph = run(phoenix, "graph", "-f", "svg", "-o", "site.svg", cwd=folder)
    assert graph.returncode == 0, graph.stderr
    assert "<svg" in (folder / "site.svg").read_text()


@pytest.mark.long
def test_an_empty_folder_is_told_where_an_example_is(python: Path, tmp_path: Path) -> None:
    result = run(python.with_name("phoenix"), "validate", cwd=tmp_path)
    assert result.returncode == 1
    words = "".join(result.stderr.split())
    assert "thereisnoinventoryinventories/phoenix.py" in words, result.stderr
    assert f"{python.parents[1]}/lib" in words, result.stderr


@pytest.mark.long
def test_plan_starts_pyinfra_on_the_site_of_the_folder(python: Path, folder: Path) -> None:
    """No host answers: pyinfra has read the folder's inventory and settings, and the deploys."""
    with socket.socket() as closed:  # bound and not listening: a connection is refused
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        inventory = folder / "inventories" / "phoenix.py"
        inventory.write_text(
            inventory.read_text().replace(
                '"ssh_user": "root",',
                '"ssh_user": "root", "ssh_hostname": "127.0.0.1", '
                f'"ssh_known_hosts_file": "/dev/null", "ssh_port": {port},',
            )
        )
        plan = (python.with_name("phoenix"), "plan", "nginx")
        refused = run(*plan, cwd=folder, XDG_STATE_HOME="state")
        (folder / "group_data").mkdir()
        (folder / "group_data" / "all.py").write_text("dns_upstreams = 1 / 0\n")
        broken = run(*plan, cwd=folder, XDG_STATE_HOME="state")
    output = refused.stdout + refused.stderr
    assert refused.returncode == 1, output
    assert f"Unable to connect to port {port} on 127.0.0.1" in output, output
    assert "nginx-phoenix" in output, output
    output = broken.stdout + broken.stderr
    assert broken.returncode == 1, output
    assert "division by zero" in output, output


@pytest.mark.long
def test_every_module_of_the_deploys_is_importable(python: Path, tmp_path: Path) -> None:
    """The modules that the scripts share: operations, facts, and deploys without a host."""
    code = (
        "import importlib, sys\n"
        "from pathlib import Path\n"
        "from phoenix.locations import CHECKOUT, PROJECT\n"
        "assert not CHECKOUT\n"
        "sys.path.insert(0, str(PROJECT))\n"
        "names = [f'{folder}.{path.stem}' for folder in ('operations', 'facts')"
        " for path in (PROJECT / folder).glob('[a-z]*.py')] + ['deploys.context']\n"
        "for name in names:\n"
        "    found = importlib.import_module(name)\n"
        "    assert Path(found.__file__).is_relative_to(PROJECT), found\n"
        "print(len(names))\n"
    )
    result = run(python, "-c", code, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) > 20
