"""Targets of plan and sync: each becomes calls of pyinfra, or an error before any host."""

from __future__ import annotations

from pathlib import Path

import pytest

from phoenix.cli.exits import CommandError
from phoenix.cli.targets import Work, components, work
from phoenix.declaration.load import load_site
from phoenix.site.model import Site

ROOT = Path(__file__).parents[2]
KNOWN = components(ROOT)


@pytest.fixture(scope="module")
def site() -> Site:
    return load_site(ROOT / "inventories", ROOT / "stacks")


def test_components_are_those_of_the_whole_deploy_in_its_order() -> None:
    assert KNOWN[0] == "proxmox"
    assert KNOWN[-1] == "verify"
    assert KNOWN.index("step_ca") < KNOWN.index("trust") < KNOWN.index("traefik")
    for name in KNOWN:
        assert (ROOT / "deploys" / f"{name}.py").is_file(), name


@pytest.mark.parametrize("targets", [[], ["all"], ["nginx", "all"]])
def test_everything(site: Site, targets: list[str]) -> None:
    assert work(targets, site, KNOWN) == [Work(("deploys/all.py",))]


def test_components_run_in_the_platforms_order(site: Site) -> None:
    assert work(["nginx", "dns"], site, KNOWN) == [Work(("deploys/dns.py", "deploys/nginx.py"))]


@pytest.mark.parametrize("name", ["drphoenix", "1002", " DrPhoenix "])
def test_a_guest_by_name_or_id(site: Site, name: str) -> None:
    assert work([name], site, KNOWN) == [Work(("deploys/all.py",), ("drphoenix",))]


def test_a_name_that_is_both_is_the_component(site: Site) -> None:
    assert work(["portainer"], site, KNOWN) == [Work(("deploys/portainer.py",))]
    assert work(["1001"], site, KNOWN) == [Work(("deploys/all.py",), ("portainer",))]


def test_guests_and_components_are_both_done(site: Site) -> None:
    assert work(["101", "docker", "step-ca"], site, KNOWN) == [
        Work(("deploys/docker.py",)),
        Work(("deploys/all.py",), ("nginx-phoenix", "step-ca")),
    ]


@pytest.mark.parametrize("name", ["qdrant_service", "qdrant_service-production"])
def test_a_stack_alone(site: Site, name: str) -> None:
    assert work([f"stack:{name}"], site, KNOWN) == [
        Work(
            ("deploys/stacks.py",),
            ("drphoenix",),
            {"stacks_only": ["qdrant_service-production"]},
        )
    ]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("ngnix", "Did you mean nginx?"),
        ("drphenix", "Did you mean drphoenix?"),
        ("stack:qdrant", "Did you mean stack:qdrant_service?"),
        ("900", "There are:"),
        ("", "There are:"),
    ],
)
def test_what_matches_nothing_is_an_error(site: Site, name: str, hint: str) -> None:
    with pytest.raises(CommandError) as caught:
        work(["dns", name], site, KNOWN)
    assert repr(name) in str(caught.value)
    assert hint in str(caught.value)
