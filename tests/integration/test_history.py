"""The site remembers its runs, refuses a second one and an older checkout; logs and exec."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from operations.site_lock import FILE as LOCK
from phoenix.runs.history import FILE, Entry
from phoenix.runs.lock import this_process
from tests.integration.project import Project
from tests.integration.site_lab import SiteLab

ANYTHING = "deploys/dns.py"
HOLDER = "/run/phoenix-test-holder"


def last_run(site: SiteLab) -> Entry:
    done = site.project.phoenix("history", "-n", "1", "--json")
    assert done.returncode == 0, done.stderr
    (run,) = json.loads(done.stdout)["runs"]
    return Entry.model_validate(run)


def test_runs_by_phoenix_and_by_pyinfra_are_remembered(site: SiteLab) -> None:
    done = site.project.phoenix("sync", "dns", "--json")
    assert done.returncode == 0, done.stderr
    last_start = last_run(site)
    assert (last_start.start.command, last_start.end.result) == ("phoenix sync dns", "ok")
    assert last_start.start.deploys
    run = site.project.run(ANYTHING)
    assert run.returncode == 0, run.explain()
    last_start = last_run(site)
    assert last_start.start.command == f"pyinfra inventories/lab.py {ANYTHING}"
    assert last_start.end.result == "ok"
    mode = site.sh("hypervisor", f"stat -c %a {FILE}", ok=True).out.strip()
    assert mode == "600"
    shown = site.project.phoenix("history")
    assert "phoenix sync dns: 0 changes" in shown.stdout


def test_plans_and_looks_are_no_runs(site: SiteLab) -> None:
    site.project.phoenix("sync", "dns", "--json")
    before = last_run(site)
    assert site.project.phoenix("plan", "dns", "--json").returncode == 0
    assert site.project.phoenix("doctor", "dns", "--json").returncode == 0
    assert last_run(site) == before


@pytest.fixture
def somebody(site: SiteLab) -> Iterator[str]:
    """Another operator's run, which holds the site's lock."""
    owner = this_process("phoenix sync all").model_copy(update={"user": "somebody"})
    text = owner.model_dump_json()
    container = site.docker.containers.get(site.state.container(site.roles["hypervisor"]))
    hold = (
        f"exec 9<>{LOCK}; flock 9; printf %s '{text}' >{LOCK}; echo $$ >{HOLDER}.new;"
        f" mv {HOLDER}.new {HOLDER}; exec sleep 600"
    )
    container.exec_run(["sh", "-c", hold], detach=True)
    site.sh("hypervisor", f"until [ -e {HOLDER} ]; do sleep 0.02; done", ok=True)
    try:
        yield owner.user
    finally:
        site.sh("hypervisor", f"kill $(cat {HOLDER}); rm {HOLDER}; flock {LOCK} true", ok=True)


def test_a_second_operator_by_pyinfra_is_refused(site: SiteLab, somebody: str) -> None:
    run = site.project.run(ANYTHING)
    assert run.returncode != 0, run.explain()
    assert f"another run is at work on this site: {somebody}@" in run.output, run.explain()
    assert run.changes == [], run.explain()


def git(project: Project, *words: str) -> str:
    author = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", "-C", str(project.path), *author, *words],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.fixture
def deployed(site: SiteLab, variant: Project) -> Iterator[Project]:
    """A checkout with two revisions, of which the second one is deployed."""
    git(variant, "init", "-q")
    git(variant, "add", "-A")
    git(variant, "commit", "-qm", "one")
    git(variant, "commit", "-qm", "two", "--allow-empty")
    try:
        done = variant.phoenix("sync", "dns", "--json")
        assert done.returncode == 0, done.stderr
        assert last_run(site).start.commit == git(variant, "rev-parse", "HEAD")
        yield variant
    finally:  # for the checkouts of other tests
        site.sh("hypervisor", f"rm -f {FILE}", ok=True)


def test_an_older_checkout_is_told_and_refused(deployed: Project) -> None:
    git(deployed, "checkout", "-q", "HEAD~1")
    plan = deployed.phoenix("plan", "dns", "--json")
    assert "not part of this checkout" in json.loads(plan.stdout)["older"]
    refused = deployed.phoenix("sync", "dns")
    assert refused.returncode == 1
    assert "--older" in refused.stdout + refused.stderr
    by_pyinfra = deployed.run(ANYTHING)
    assert by_pyinfra.returncode != 0
    assert "not part of this checkout" in by_pyinfra.output, by_pyinfra.explain()
    assert by_pyinfra.changes == []
    done = deployed.phoenix("sync", "dns", "--older", "--json")
    assert done.returncode == 0, done.stderr


def test_exec_and_logs(site: SiteLab) -> None:
    done = site.project.phoenix("exec", "102", "--", "sh", "-c", "hostname; exit 3")
    assert done.returncode == 3, done.stderr
    assert done.stdout.strip()
    logs = site.project.phoenix("logs", "nginx", "-n", "5")
    assert logs.returncode == 0, logs.stderr
    assert logs.stdout.strip()
    stack = site.project.phoenix("logs", "stack:qdrant_service", "-n", "5")
    assert stack.returncode == 0, stack.stderr


def test_a_kept_plan_is_applied_or_refused(site: SiteLab, variant: Project) -> None:
    """Between plan and sync somebody changes the declaration."""
    plan_file: Any = variant.path / "change.json"
    variant.replace("phoenix/components/nginx/nginx.conf.j2", "4096", "4095")
    assert variant.phoenix("plan", "nginx", "--out", str(plan_file)).returncode == 2
    variant.replace("phoenix/components/nginx/nginx.conf.j2", "4095", "4094")
    refused = variant.phoenix("sync", str(plan_file))
    assert refused.returncode == 1
    assert "4094" in refused.stderr
    variant.replace("phoenix/components/nginx/nginx.conf.j2", "4094", "4095")
    done = variant.phoenix("sync", str(plan_file), "--json")
    assert done.returncode == 0, done.stderr
    again = site.project.phoenix("sync", "nginx", "--json")
    assert again.returncode == 0, again.stderr
