"""How each host's stacks are deployed, and what follows: components, checks, paths."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from phoenix.derived import deployments
from phoenix.derived.components import component_hosts
from phoenix.health.checks import checks
from phoenix.health.paths import agent_paths, stack_paths
from phoenix.site.model import Site
from tests.unit.site_builder import Declaration, minimal, stack

STACK = "shop-production"


def without_agent(declared: Declaration) -> None:
    del declared.vm["vms"][1]["portainer_role"]


def without_portainer(declared: Declaration) -> None:
    without_agent(declared)
    declared.vm["vms"].pop(0)
    declared.vm["vms"][0]["dependencies"] = []


def on_portainers_guest(declared: Declaration) -> None:
    """One Docker host: the one with Portainer."""
    declared.vm["vms"].pop()
    declared.vm["vms"][0]["docker_stacks"] = ["shop"]


def on_both(declared: Declaration) -> None:
    declared.stacks["more"] = stack("more", 8001)
    declared.vm["vms"][0]["docker_stacks"] = ["more"]


SITES: dict[str, tuple[Callable[[Declaration], None], dict[str, str]]] = {
    "agent": (lambda _: None, {"worker": "agent"}),
    "no agent": (without_agent, {"worker": "compose"}),
    "no portainer": (without_portainer, {"worker": "compose"}),
    "one docker host": (on_portainers_guest, {"control": "local"}),
    "two": (on_both, {"control": "local", "worker": "agent"}),
}


def built(name: str, folder: Path) -> Site:
    declared = minimal()
    SITES[name][0](declared)
    return declared.load(folder)


@pytest.mark.parametrize("name", SITES)
def test_every_stack_has_a_way(tmp_path: Path, name: str) -> None:
    site = built(name, tmp_path)
    ways = {placed.host.name: placed.way for placed in deployments.placed(site)}
    assert ways == SITES[name][1]
    hosts = {host.name for host in component_hosts("stacks", site)}
    assert ways.keys() <= hosts
    assert not site.warnings or all("agent" not in one.message for one in site.warnings)


@pytest.mark.parametrize("name", SITES)
def test_every_stack_is_checked_on_its_host_and_where_portainer_holds_it(
    tmp_path: Path, name: str
) -> None:
    site = built(name, tmp_path)
    for host, one, way in deployments.placed(site):
        mine = [check for check in checks(site) if check.stack == one.project]
        by_function = {check.function: check.host for check in mine}
        assert by_function.get("containers_are_well") == host.name
        assert ("stack_is_active" in by_function) is (way != "compose")
        path = stack_paths(site)[host.name, one.project]
        assert set(mine) <= set(path.checks)
    environments = {host.name for host in deployments.environments(site)}
    assert agent_paths(site).keys() == environments
    up = {check.target for check in checks(site) if check.function == "endpoint_is_up"}
    assert up == environments
    every = {check for path in all_paths(site) for check in path}
    assert set(checks(site)) <= every


def all_paths(site: Site) -> list[tuple[object, ...]]:
    from phoenix.health.paths import paths

    return [path.checks for path in paths(site)]


def test_portainers_guest_without_stacks_has_no_environment(tmp_path: Path) -> None:
    site = built("agent", tmp_path)
    assert [host.name for host in deployments.environments(site)] == ["worker"]
    assert "control" not in {host.name for host in deployments.stack_hosts(site)}
