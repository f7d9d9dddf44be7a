"""The work on a declaration grows with the site, not with its square: counted, not timed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from benchmarks import declare, synthetic
from phoenix.components.guard.ruleset import ruleset
from phoenix.declaration.load import load_site
from phoenix.derived import certificates, dns, firewall, routes
from phoenix.health.checks import checks
from phoenix.health.paths import paths
from phoenix.site.model import Host, Site

SMALL, LARGE = 20, 80


def calls(work: Callable[[], object]) -> int:
    """How many calls of functions `work` makes, those of built-in ones too."""
    count = 0

    def notice(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(notice)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    folder_of = {}
    for size in (SMALL, LARGE):
        folder_of[size] = tmp_path_factory.mktemp(f"site{size}")
        synthetic.write(folder_of[size], size)
    return folder_of


def test_synthetic_site_loads_without_a_warning(folders: dict[int, Path]) -> None:
    site = load_site(folders[SMALL])
    assert site.warnings == ()
    assert sum(service.kind == "backend" for service in site.services) == SMALL
    assert len(site.agents) == SMALL // synthetic.PER_HOST


def test_loading_is_linear(folders: dict[int, Path]) -> None:
    load_site(folders[SMALL])  # what is made once
    small, large = (calls(partial(load_site, folders[size])) for size in (SMALL, LARGE))
    assert large < 1.3 * LARGE / SMALL * small, (small, large)


DERIVED: dict[str, Callable[[Site], object]] = {
    "routes": routes.routes,
    "names": routes.gateway_names,
    "records": dns.records,
    "certificates": certificates.certificates,
    "firewall": firewall.rules,
    "guards": lambda site: [ruleset(site, host) for host in site.hosts],
    "checks": checks,
    "paths": paths,
    "hosts": lambda site: [site.host(service.owner.name) for service in site.services],
    "services": lambda site: [site.service(service.name) for service in site.services],
    "deployments": lambda site: [service.deployment for service in site.services],
}


@pytest.mark.fast_cases(4)
@pytest.mark.parametrize("derive", DERIVED.values(), ids=DERIVED.keys())
def test_deriving_is_linear(folders: dict[int, Path], derive: Callable[[Site], object]) -> None:
    sites = [load_site(folders[size]) for size in (SMALL, LARGE)]
    small, large = (calls(partial(derive, site)) for site in sites)
    assert large < 1.3 * LARGE / SMALL * small, (small, large)


def test_every_step_of_the_benchmark_does_its_work(folders: dict[int, Path]) -> None:
    steps = declare.steps(folders[SMALL])
    assert {"load", "checks", "Traefik's configuration"} < steps.keys()


@pytest.mark.parametrize(("growth", "met"), [(10, True), (100, False)])
def test_goals_are_judged(growth: int, met: bool, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = {"10": {"load": 0.001}, "100": {"load": 0.01}, "1000": {"load": 0.01 * growth}}
    assert declare.print_report({"sizes": sizes}) is met
    assert ("MISSED" in capsys.readouterr().out) is not met


def test_what_is_derived_once_does_not_outlive_a_change(folders: dict[int, Path]) -> None:
    site = load_site(folders[SMALL])
    assert site.host("gateway") is site.gateway
    renamed = tuple(
        host.model_copy(update={"name": "edge"}) if host is site.gateway else host
        for host in site.guests
    )
    changed = site.model_copy(update={"guests": renamed})
    assert changed.host("edge") is changed.gateway
    with pytest.raises(KeyError):
        changed.host("gateway")
    assert site.host("gateway").name == "gateway"


def test_a_pure_function_is_asked_once_of_each_site(folders: dict[int, Path]) -> None:
    first, second = load_site(folders[SMALL]), load_site(folders[SMALL])
    assert checks(first) is checks(first)
    assert first == second, "what is kept with a site is not a part of it"
    assert checks(second) is not checks(first), "a site keeps its own alone"
    (guest, *others) = first.guests
    renamed = guest.model_copy(update={"name": "edge", "fqdn": f"edge.{first.domain}"})
    changed = first.model_copy(update={"guests": (renamed, *others)})
    assert f"edge.{first.domain}" in {record.name for record in dns.records(changed)}


def test_hosts_compare_by_value_and_hash_alike(folders: dict[int, Path]) -> None:
    first, second = load_site(folders[SMALL]), load_site(folders[SMALL])
    assert first == second
    assert hash(first) == hash(second)
    (guest, *_), (other, *_) = first.guests, second.guests
    assert guest == other
    assert hash(guest) == hash(other)
    changed: Host = other.model_copy(update={"cores": 99})
    assert guest != changed
    assert guest != guest.name
