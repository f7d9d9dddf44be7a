"""pyinfra as the command line starts it: each step is named after its component's file."""

from __future__ import annotations

from pathlib import Path

import pytest

from phoenix.runs.process import Request, run
from phoenix.runs.results import component_of, title_of

STEP = """from pyinfra.operations import server

server.shell(name="{name}: a step", commands=["true"])
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Two components, and a file that includes one of them."""
    (folder := tmp_path / "deploys").mkdir()
    for name in ("dns", "nginx"):
        (folder / f"{name}.py").write_text(STEP.format(name=name))
    (folder / "all.py").write_text(
        'from pyinfra import local\n\nlocal.include("deploys/dns.py")\n'
        'local.include("deploys/nginx.py")\n'
    )
    (tmp_path / "inventory.py").write_text('hosts = [("@local", {})]\n')
    return tmp_path


@pytest.mark.parametrize(
    "deploys",
    [("deploys/all.py",), ("deploys/dns.py", "deploys/nginx.py")],
    ids=["included", "called"],
)
def test_steps_have_their_component(project: Path, deploys: tuple[str, ...]) -> None:
    finished = run(Request(project, Path("inventory.py"), deploys, dry=True))
    assert finished.results is not None, finished.last_lines
    names = [step["name"] for step in finished.results["plan"]]
    assert [component_of(name) for name in names] == ["dns", "nginx"]
    assert [title_of(name) for name in names] == ["dns: a step", "nginx: a step"]


@pytest.mark.parametrize(
    ("limit", "hosts"),
    [
        (("@fake/phoenix",), ["@fake/phoenix"]),
        (("@fake/docker",), ["@fake/docker"]),
        (("@fake/docker", "@fake/phoenix"), ["@fake/docker", "@fake/phoenix"]),
        (("pair",), ["@fake/docker", "@fake/worker"]),
    ],
)
def test_a_host_that_is_called_like_a_group_is_limited_to_alone(
    project: Path, limit: tuple[str, ...], hosts: list[str]
) -> None:
    everybody = ["@fake/phoenix", "@fake/docker", "@fake/worker"]
    (project / "site.py").write_text(
        f"everybody = {everybody}\npair = {everybody[1:]}\n"
        f"globals().update({{'@fake/phoenix': everybody, '@fake/docker': pair}})\n"
    )
    finished = run(Request(project, Path("site.py"), ("deploys/dns.py",), limit=limit, dry=True))
    assert finished.results is not None, finished.last_lines
    (step,) = finished.results["plan"]
    assert sorted(step["hosts_with_change"]) == hosts
    assert sorted(finished.story.connected) == hosts
