"""A version that cannot run: the old one serves, the exit code says so, and so do the logs."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.integration.portainer_lab import PortainerLab
from tests.integration.project import Project, Run
from tests.integration.site_lab import SiteLab

STACKS = "deploys/stacks.py"
COMPOSE = "stacks/thinkheads_ai_app/docker-compose.yml"
LAST_WORDS = "it-42: the database has gone"
SLOW = "      interval: 5s\n      timeout: 5s\n      retries: 4\n      start_period: 30s\n"
QUICK = "      interval: 1s\n      timeout: 1s\n      retries: 2\n      start_period: 0s\n"


@pytest.fixture(scope="module")
def lab_(site: SiteLab) -> Iterator[PortainerLab]:
    """The converged lab; after the module a run has nothing left to put back."""
    lab = PortainerLab(site)
    run = site.project.run(STACKS)
    assert run.returncode == 0, run.explain()
    lab.wait_well()
    yield lab
    run = site.project.run(STACKS)
    assert run.returncode == 0, run.explain()
    lab.assert_serving()


def refused(run: Run, *words: str) -> None:
    assert run.returncode == 1, run.explain()
    assert "Traceback" not in run.output, run.explain()
    for word in words:
        assert word in run.output, f"{word!r} is not said:\n{run.explain()}"


@pytest.mark.parametrize("missing", ["no-such-image-of-the-lab:1", "phoenix-lab-app:no-such-tag"])
def test_missing_image_touches_no_container(lab_: PortainerLab, missing: str) -> None:
    before, row = lab_.running(), lab_.stack(lab_.app)
    images = lab_.site.state.images
    variables = {
        "qdrant_service": {"QDRANT_IMAGE": images["qdrant"]},
        "thinkheads_ai_app": {"THINKHEADS_AI_APP_IMAGE": missing},
    }
    run = lab_.site.project.run(STACKS, data={"stack_variables": json.dumps(variables)})
    refused(run, f"stack {lab_.app}: image {missing} cannot be pulled", "No container was touched")
    assert lab_.running() == before
    assert lab_.stack(lab_.app) == row
    lab_.assert_serving()
    again = lab_.site.project.run(STACKS)
    assert again.returncode == 0, again.explain()
    assert again.changes == [], again.explain()


def test_compose_file_that_docker_refuses(lab_: PortainerLab, variant: Project) -> None:
    """Refused by Compose itself, after the server has taken it: the old version comes back."""
    variant.replace(COMPOSE, "    init: true\n", '    init: true\n    network_mode: "host:no"\n')
    run = variant.run(STACKS)
    refused(run, f"stack {lab_.app}:", "The previous version has been restored and runs")
    assert lab_.stack_file(lab_.app) == (lab_.site.project.path / COMPOSE).read_text()
    lab_.assert_serving()
    again = lab_.site.project.run(STACKS)
    assert again.returncode == 0, again.explain()
    assert again.changes == [], again.explain()


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [("exec sleep 600", "is unhealthy"), ("exit 7", "not healthy within 15 s")],
    ids=["unhealthy", "dies"],
)
def test_version_that_does_not_come_up(
    lab_: PortainerLab, variant: Project, behaviour: str, reason: str
) -> None:
    """Replaced for as long as it takes to see that it fails; then the old version serves again."""
    other, before = lab_.containers(lab_.qdrant), lab_.container_of(lab_.app)
    command = f'    command: ["sh", "-c", "echo {LAST_WORDS} >&2; {behaviour}"]\n'
    variant.replace(COMPOSE, "    init: true\n", f"    init: true\n{command}")
    variant.replace(COMPOSE, SLOW, QUICK)
    argument = "                env=prepared.variables,\n"
    if behaviour == "exit 7":  # Docker starts it again and again: only a deadline ends that
        variant.replace(STACKS, argument, f"{argument}                seconds=15,\n")
    run = variant.run(STACKS)
    name = f"{lab_.app}-thinkheads_ai_app-1"
    refused(
        run, f"stack {lab_.app}:", reason, f"{name} | {LAST_WORDS}",
        "The previous version has been restored and runs",
    )  # fmt: skip
    assert lab_.site.secrets["thinkheads_ai_app_database_pass"] not in run.output
    assert lab_.container_of(lab_.app).image == before.image
    assert lab_.stack_file(lab_.app) == (lab_.site.project.path / COMPOSE).read_text()
    assert lab_.containers(lab_.qdrant) == other, "another stack was touched"
    lab_.assert_serving()
    again = lab_.site.project.run(STACKS)
    assert again.returncode == 0, again.explain()
    assert again.changes == [], again.explain()


def test_unhealthy_container_is_named_and_repaired(lab_: PortainerLab) -> None:
    """It hangs (SIGSTOP): verify names it, a run restarts it."""
    container = lab_.container_of(lab_.app)
    stop = f"docker exec {container.name} sh -c 'kill -STOP $(pgrep -f [l]ab.standin)'"
    lab_.site.sh(lab_.agent, stop, ok=True)
    lab_.eventually("it is unhealthy", lambda: lab_.container_of(lab_.app).health == "unhealthy")
    verify = lab_.site.project.run("deploys/verify.py")
    first = f"first cause: service: containers of {lab_.app}: {container.name} running"
    refused(verify, first, "(unhealthy)")
    run = lab_.site.project.run(STACKS)
    assert run.returncode == 0, run.explain()
    assert [name for name, _ in run.changes if lab_.app in name], run.explain()
    restarted = lab_.container_of(lab_.app)
    assert restarted.health == "healthy"
    assert restarted.started != container.started
    lab_.assert_serving()
