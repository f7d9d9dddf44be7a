"""Targets of plan and sync: each becomes calls of pyinfra, or an error before any host."""

from __future__ import annotations

from pathlib import Path

import pytest

from phoenix.cli.targets import Work, guest, work
from phoenix.declaration.load import load_site
from phoenix.site.findings import NameLookupError
from phoenix.site.model import Site
from tests.unit.site_builder import minimal

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site() -> Site:
    return load_site(ROOT / "inventories", ROOT / "stacks")


@pytest.mark.parametrize("targets", [[], ["all"], ["nginx", "all"]])
def test_everything(site: Site, targets: list[str]) -> None:
    assert work(targets, site) == [Work(("deploys/all.py",))]


def test_components_run_in_the_platforms_order_on_their_hosts_alone(site: Site) -> None:
    assert work(["nginx", "traefik"], site) == [
        Work(("deploys/traefik.py", "deploys/nginx.py"), ("nginx-phoenix", "traefik-internal"))
    ]


def test_what_others_rest_on_is_done_on_every_host_before_them(site: Site) -> None:
    """pyinfra orders operations by host: a certificate would be asked for before its record."""
    assert work(["nginx", "trust", "dns", "step_ca"], site) == [
        Work(("deploys/dns.py",), ("phoenix",)),
        Work(("deploys/step_ca.py", "deploys/trust.py")),
        Work(("deploys/nginx.py",), ("nginx-phoenix",)),
    ]


@pytest.mark.parametrize("name", ["base", "trust", "verify"])
def test_a_component_of_every_host_has_no_limit(site: Site, name: str) -> None:
    assert work([name], site) == [Work((f"deploys/{name}.py",))]


@pytest.mark.parametrize(
    "name", ["drphoenix", "1002", " DrPhoenix ", "10.0.0.102", "drphoenix.host", "guest:1002"]
)
def test_a_guest_by_name_id_or_address(site: Site, name: str) -> None:
    assert work([name], site) == [Work(("deploys/all.py",), ("drphoenix",))]
    assert guest(name, site) == "drphoenix"


def test_a_name_that_is_both_is_the_component(site: Site) -> None:
    portainer = Work(("deploys/portainer.py",), ("portainer", "drphoenix"))
    assert work(["portainer"], site) == work(["component:portainer"], site) == [portainer]
    whole_guest = [Work(("deploys/all.py",), ("portainer",))]
    assert work(["1001"], site) == work(["guest:portainer"], site) == whole_guest


def test_guests_and_components_are_both_done(site: Site) -> None:
    assert work(["101", "docker", "step-ca"], site) == [
        Work(("deploys/docker.py",), ("portainer", "drphoenix")),
        Work(("deploys/all.py",), ("nginx-phoenix", "step-ca")),
    ]


@pytest.mark.parametrize(
    "name", ["qdrant", "service:qdrant", "https://qdrant.internal.thinkheads.ai/healthz"]
)
def test_a_service_is_what_it_needs_on_the_hosts_that_carry_it(site: Site, name: str) -> None:
    carrying = ("phoenix", "nginx-phoenix", "traefik-internal", "drphoenix")
    data: dict[str, object] = {"stacks_only": ["qdrant_service-production"]}
    parts = ("certificates", "traefik", "nginx", "stacks", "verify")
    assert work([name], site) == [
        Work(("deploys/proxmox.py", "deploys/dns.py"), ("phoenix",), data),
        Work(tuple(f"deploys/{part}.py" for part in parts), carrying, data),
    ]


def test_a_component_that_the_site_has_nowhere_is_an_error(tmp_path: Path) -> None:
    declared = minimal()
    declared.vm["vms"], declared.stacks = [], {}
    with pytest.raises(NameLookupError, match="no host of this site has the component docker"):
        work(["docker"], declared.load(tmp_path))


@pytest.mark.parametrize("name", ["qdrant_service", "qdrant_service-production"])
def test_a_stack_alone(site: Site, name: str) -> None:
    assert work([f"stack:{name}"], site) == [
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
        ("9999", "There are:"),
        ("guest:drphenix", "Did you mean guest:drphoenix?"),
        ("", "There are:"),
    ],
)
def test_what_matches_nothing_is_an_error(site: Site, name: str, hint: str) -> None:
    with pytest.raises(NameLookupError) as caught:
        work(["dns", name], site)
    assert repr(name) in str(caught.value)
    assert hint in str(caught.value)
