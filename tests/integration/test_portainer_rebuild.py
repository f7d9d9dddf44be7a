"""Portainer's guest is lost with all its data: a run makes it anew, and no stack stops for it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lab.settings import ROOT
from tests.integration.portainer_lab import PortainerLab
from tests.integration.project import Run
from tests.integration.site_lab import SiteLab, print_figure
from tests.integration.test_secrets import logs_with, process_lists

pytestmark = pytest.mark.timeout(420)
SECRETS = ("portainer_admin_password", "portainer_agent_secret", "thinkheads_ai_app_database_pass")


@pytest.fixture(scope="module")
def lab_(site: SiteLab) -> PortainerLab:
    return PortainerLab(site)


Rebuilt = tuple[Run, set[str], dict[str, object], dict[str, object]]


@pytest.fixture(scope="module")
def rebuilt(lab_: PortainerLab, environment: dict[str, str]) -> Rebuilt:
    """The run after the loss, the command lines it caused, the stacks before and after it."""
    site = lab_.site
    run = site.project.run("deploys/stacks.py")
    assert run.returncode == 0, run.explain()
    lab_.wait_well()
    before = stacks(lab_)
    old = lab_.get("/system/status")["InstanceID"]
    name = site.state.container(lab_.server)
    site.docker.containers.get(name).remove(force=True, v=True)
    site.docker.volumes.get(f"{name}-docker").remove()
    up = subprocess.run(
        [sys.executable, "lab", "up"],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert up.returncode == 0, up.stdout + up.stderr
    assert site.sh(lab_.server, "command -v docker").code != 0, "the guest was not made anew"
    with process_lists(site) as lines:
        run = site.project.run("deploys/all.py", "-vvv", "--diff")
    assert run.returncode == 0, run.explain()
    assert lab_.get("/system/status")["InstanceID"] != old, "Portainer's data was not lost"
    return run, lines, before, stacks(lab_)


def stacks(lab_: PortainerLab) -> dict[str, object]:
    return {project: lab_.containers(project) for project in (lab_.qdrant, lab_.app)}


def test_agent_is_registered_once_and_stacks_are_adopted(
    lab_: PortainerLab, rebuilt: Rebuilt
) -> None:
    run, _, before, after = rebuilt
    assert lab_.endpoint()["URL"].endswith(":9001")
    assert {row["Name"]: row["Status"] for row in lab_.get("/stacks")} == {
        lab_.qdrant: 1, lab_.app: 1,
    }  # fmt: skip
    for project in (lab_.qdrant, lab_.app):
        assert f"stack {project}: create, adopting {project}-" in run.output, run.explain()
    assert after == before, "a stack's container was stopped or replaced"


def test_all_is_as_it_was(lab_: PortainerLab, rebuilt: Rebuilt) -> None:
    lab_.assert_serving()
    status, answer = lab_.login(lab_.site.secrets["portainer_admin_password"])
    assert status == 200, answer
    run, requests = lab_.sent_by(lambda: lab_.site.project.run("deploys/all.py"))
    assert run.returncode == 0, run.explain()
    assert run.other_changes == []
    assert {request[0] for request in requests} == {"GET"}, requests


def test_no_secret_of_a_first_start_leaks(lab_: PortainerLab, rebuilt: Rebuilt) -> None:
    """Administrator, API key and AGENT_SECRET were all made or handed over in that run."""
    run, lines, *_ = rebuilt
    site = lab_.site
    key = site.sh(lab_.server, "cut -d' ' -f2 /etc/phoenix/portainer-api.header", ok=True).out
    assert key.startswith("ptr_"), key
    assert "created an API key" in run.output, run.explain()
    assert any("--admin-password-file" in line for line in lines), "the sampler saw no server"
    print_figure("command lines sampled", len(lines))
    for secret in (key.strip(), *(site.secrets[name] for name in SECRETS)):
        assert secret not in run.output, "a secret is in the output"
        assert secret not in "\n".join(lines), "a secret is in the process list"
        for host in site.state.hosts:
            assert logs_with(site, host, secret) == "", f"a secret is in a log of {host}"
