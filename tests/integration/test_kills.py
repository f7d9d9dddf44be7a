"""Runs that are killed at random: never an outage, and the next whole run always converges.

PHOENIX_TEST_KILLS sets how many are killed; a long soak sets hundreds.
"""

from __future__ import annotations

import os
import random
import time

import pytest

from tests.integration.load import load
from tests.integration.project import Project, Run
from tests.integration.site_lab import SiteLab, print_figure

KILLS_PER_ROUND = 3
KILLS = int(os.environ.get("PHOENIX_TEST_KILLS") or 3 * KILLS_PER_ROUND)
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
    variant = project.variant("another-route")
    file = "inventories/phoenix_vm_configs.json"
    declared = variant.json(file)
    vm = next(vm for vm in declared["vms"] if vm["name"] == "drphoenix")
    vm["docker_stacks"].append({"name": "qdrant_service", "environment": "testing"})
    variant.write_json(file, declared)
    return variant


@pytest.mark.timeout(120 + 30 * KILLS)
@pytest.mark.usefixtures("repaired")
def test_killed_runs_are_finished_by_the_next(site: SiteLab, variant: Project) -> None:
    print_figure("PHOENIX_TEST_SEED", SEED)
    chance = random.Random(SEED)  # noqa: S311 - not for a secret
    variant.write("deploys/edge.py", EDGE)
    other = with_another_route(variant)
    projects = (other, variant)
    fates: list[str] = []

    def options(number: int) -> list[str]:
        # DNS, Traefik and the certificate change with the route, Nginx with its route and this.
        return ["inventories/lab.py", "deploys/edge.py", "-y", "--json", *LIMIT,
                "--data", f"nginx_max_body={100 + number}m"]  # fmt: skip

    def converge(number: int) -> Run:
        run = projects[number % 2].start(*options(number)).finish()
        assert run.returncode == 0, f"{fates}\n{run.explain()}"
        return run

    converge(0)
    begin = time.monotonic()
    print_figure("what such a run changes", converge(1).changes)
    usual = time.monotonic() - begin
    number, kills = 1, 0
    with load(site) as requests:
        while kills < KILLS:
            number += 1
            assert number < 3 * KILLS, f"too many runs ended before they were killed: {fates}"
            moment, power_loss = chance.uniform(0.5, usual), chance.random() < 0.5
            started = projects[number % 2].start(*options(number))
            begin = time.monotonic()
            if started.ends_within(moment):
                usual = time.monotonic() - begin
                continue
            started.kill()
            kills += 1
            if power_loss:
                for host in ("hypervisor", "traefik", "gateway"):
                    site.sh(host, GUEST_SIDE)
            fates.append(f"{moment:.1f} of {usual:.1f} s{' and the guests' * power_loss}")
            assert requests.failures() == {}, fates
            if kills % KILLS_PER_ROUND == 0:
                converge(number)
                for route in site.backends:
                    assert site.serves(route) == "", fates
        last = converge(number)
        assert last.changes == [], f"{fates}\n{last.explain()}"
    print_figure(f"{kills} kills of {number} runs", fates)
    print_figure("answers under load", dict(requests.answers()))
    assert requests.failures() == {}, fates
