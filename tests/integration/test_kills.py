"""Runs that are killed at random: never an outage, and the next whole run always converges."""

from __future__ import annotations

import os
import random
import time

import pytest

from tests.integration.load import load
from tests.integration.project import Project
from tests.integration.site_lab import SiteLab, seen

KILLS = 21
KILLS_PER_ROUND = 3
SEED = int(os.environ.get("PHOENIX_TEST_SEED") or random.SystemRandom().randrange(2**32))
EDGE = """from pyinfra import local

local.include("deploys/dns.py")
local.include("deploys/traefik.py")
local.include("deploys/nginx.py")
"""
LIMIT = ("--limit", "hypervisor", "--limit", "traefik", "--limit", "nginx")
# What runs on a guest for a deploy: a guest that loses power loses it as well.
GUEST_SIDE = (
    "for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline 2>/dev/null"
    " | grep -qE '/apply (install|load)|phoenix-acme (ensure|placeholder)|traefik-check'"
    " && kill -9 ${p#/proc/}; done; true"
)


def with_another_route(project: Project) -> Project:
    """The same site with one stack more: a DNS record, a route, a server name and a SAN."""
    found = project.variant("another-route")
    file = "inventories/phoenix_vm_configs.json"
    declared = found.json(file)
    vm = next(vm for vm in declared["vms"] if vm["name"] == "drphoenix")
    vm["docker_stacks"].append({"name": "qdrant_service", "environment": "testing"})
    found.write_json(file, declared)
    return found


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("mended")
def test_killed_runs_are_finished_by_the_next(site: SiteLab, variant: Project) -> None:
    seen("PHOENIX_TEST_SEED", SEED)
    chance = random.Random(SEED)  # noqa: S311 - not for a secret
    variant.write("deploys/edge.py", EDGE)
    other = with_another_route(variant)
    projects = (other, variant)
    fates: list[str] = []

    def options(number: int) -> list[str]:
        # DNS, Traefik and the certificate change with the route, Nginx with its route and this.
        return ["inventories/lab.py", "deploys/edge.py", "-y", "--json", *LIMIT,
                "--data", f"nginx_max_body={100 + number}m"]  # fmt: skip

    begin = time.monotonic()
    whole = other.start(*options(0)).finish()
    longest = time.monotonic() - begin
    assert whole.returncode == 0, whole.explain()
    seen("a whole run of this kind", f"{longest:.1f} s, {whole.changes}")
    with load(site) as requests:
        for number in range(1, KILLS + 1):
            project = projects[number % 2]
            started = project.start(*options(number))
            moment = chance.uniform(0.5, longest)
            power_loss = chance.random() < 0.5
            time.sleep(moment)
            alive = started.process.poll() is None
            started.kill()
            if power_loss:
                for host in ("hypervisor", "traefik", "gateway"):
                    site.sh(host, GUEST_SIDE)
            fates.append(f"{number}: {'killed' if alive else 'had ended'} at {moment:.1f} s"
                         f"{', guests too' if power_loss else ''}")  # fmt: skip
            assert requests.failures() == {}, fates
            if number % KILLS_PER_ROUND == 0:
                mend = project.start(*options(number)).finish()
                assert mend.returncode == 0, f"{fates}\n{mend.explain()}"
                again = project.start(*options(number)).finish()
                assert again.returncode == 0, f"{fates}\n{again.explain()}"
                assert again.changes == [], f"{fates}\n{again.explain()}"
                for route in site.backends:
                    assert site.serves(route) == "", fates
    seen("kills", fates)
    seen("answers under load", dict(requests.answers()))
    assert requests.failures() == {}, fates
    killed = [fate for fate in fates if "killed" in fate]
    assert len(killed) >= KILLS - 6, f"too few runs were still going: {fates}"
