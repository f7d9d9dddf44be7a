"""What a person had on a host before Phoenix is told, kept or merged; nothing of it is lost."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.integration.site_lab import SiteLab, seen

DAEMON = "/etc/docker/daemon.json"
TREES = "/var/lib/phoenix/trees"
PERSON = {
    "data-root": "/var/lib/docker",
    "insecure-registries": ["registry.example:5000"],
    "registry-mirrors": ["https://mirror.example"],
    "default-address-pools": [{"base": "172.31.0.0/16", "size": 24}],
    "dns": ["192.0.2.1"],
}


def told(site: SiteLab, *words: str, code: int) -> str:
    done = site.project.phoenix(*words)
    text = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == code, text
    return text


@pytest.fixture
def before_phoenix(site: SiteLab) -> Iterator[str]:
    """A Docker host with a person's daemon.json, and a gateway with a person's nginx."""
    worker = site.backends[0].service.owner.name
    own = json.dumps(PERSON)
    site.sh(
        worker,
        f"mv {TREES}/docker /root/tree.docker && rm {DAEMON} && printf '%s' '{own}' >{DAEMON}",
        ok=True,
    )
    site.sh(
        "gateway",
        f"mv {TREES}/nginx /root/tree.nginx && rm /etc/nginx/nginx.conf"
        " && echo '# edited by a person' >/etc/nginx/nginx.conf"
        " && mkdir -p /etc/nginx/conf.d && echo 'server {}' >/etc/nginx/conf.d/blog.conf",
        ok=True,
    )
    try:
        yield worker
    finally:
        # What this person had is kept in force: take it away as a person would.
        site.sh(worker, f"rm -rf {TREES}/docker {DAEMON} /etc/phoenix/docker/kept.json")
        site.sh(worker, f"mv /root/tree.docker {TREES}/docker")
        site.sh("gateway", f"rm -rf {TREES}/nginx /etc/nginx/conf.d/blog.conf")
        site.sh("gateway", f"mv /root/tree.nginx {TREES}/nginx")
        told(site, "sync", "-y", "docker", "nginx", code=0)


@pytest.mark.timeout(900)
def test_a_persons_files_are_told_merged_and_kept(site: SiteLab, before_phoenix: str) -> None:
    """Bug report 1: a daemon.json was replaced, and "converged" was said."""
    worker = before_phoenix
    plan = told(site, "plan", "docker", "nginx", "--full", code=2)
    for path, tree in ((DAEMON, "docker"), ("/etc/nginx/nginx.conf", "nginx")):
        said = f"{path} replaces a file that Phoenix did not write; kept as {TREES}/{tree}/replaced"
        assert said in plan, plan
    assert "/etc/nginx/conf.d/blog.conf stays, and is no longer read" in plan, plan
    assert "kept: data-root, default-address-pools, insecure-registries, registry-mirrors" in plan

    sync = told(site, "sync", "-y", "docker", "nginx", code=0)
    seen("sync said", sync[-900:])
    assert f"{DAEMON} was not of Phoenix: kept as {TREES}/docker/replaced{DAEMON}" in sync
    assert "/etc/nginx/conf.d/blog.conf is no longer read on" in sync
    kept = site.sh(worker, f"cat {TREES}/docker/replaced{DAEMON}", ok=True).out
    assert json.loads(kept) == PERSON
    merged = json.loads(site.sh(worker, f"cat {DAEMON}", ok=True).out)
    for key, value in PERSON.items():
        assert (merged[key] == value) == (key != "dns"), (key, merged)
    assert "registry.example:5000" in site.sh(worker, "docker info", ok=True).out
    assert site.sh("gateway", f"cat {TREES}/nginx/replaced/etc/nginx/nginx.conf").out == (
        "# edited by a person\n"
    )
    assert told(site, "plan", "docker", "nginx", code=0)


def test_a_data_root_that_would_hide_every_image_is_refused(site: SiteLab) -> None:
    worker = site.backends[0].service.owner.name
    run = site.project.run("deploys/docker.py", data={"docker_data_root": "/srv/elsewhere"})
    assert run.returncode == 1, run.explain()
    assert "dockerd has its images and volumes in /var/lib/docker" in run.output, run.explain()
    assert "move /var/lib/docker to /srv/elsewhere" in run.output, run.explain()
    assert run.changes == [], run.explain()
    assert "/srv/elsewhere" not in site.sh(worker, f"cat {DAEMON}", ok=True).out
