"""Targets of plan and sync: each becomes calls of pyinfra, or an error before any host."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from phoenix.cli.targets import Work, guest, with_moves, work
from phoenix.components.move.decision import MOVING
from phoenix.declaration.load import load_site
from phoenix.proxmox.moving import STOPPING
from phoenix.site.findings import NameLookupError
from phoenix.site.model import Site
from tests.unit.site_builder import minimal, vm

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site() -> Site:
    return load_site(ROOT / "inventories", ROOT / "stacks")


@pytest.mark.parametrize("targets", [[], ["all"], ["nginx", "all"]])
def test_everything(site: Site, targets: list[str]) -> None:
    assert work(targets, site) == [Work(("deploys/all.py",))]


def proof(*touched: str) -> dict[str, object]:
    """What the last call of a command is told to prove."""
    return {"verify_only": list(touched)}


def test_components_run_in_the_platforms_order_on_their_hosts_alone(site: Site) -> None:
    """The hypervisor is asked too: as a client of the gateway it makes a part of the proof."""
    assert work(["nginx", "traefik"], site) == [
        Work(
            ("deploys/traefik.py", "deploys/nginx.py", "deploys/verify.py"),
            ("phoenix", "nginx-phoenix", "traefik-internal"),
            proof("component:nginx", "component:traefik"),
        )
    ]


def test_what_others_rest_on_is_done_on_every_host_before_them(site: Site) -> None:
    """pyinfra orders operations by host: a certificate would be asked for before its record.

    The proof is one, of all that was named: every host proves its trust, none of them would be
    changed by deploys/nginx.py.
    """
    assert work(["nginx", "trust", "dns", "step_ca"], site) == [
        Work(("deploys/dns.py",), ("phoenix",)),
        Work(("deploys/step_ca.py", "deploys/trust.py")),
        Work(
            ("deploys/nginx.py", "deploys/verify.py"),
            (),
            proof("component:nginx", "component:trust", "component:dns", "component:step_ca"),
        ),
    ]


@pytest.mark.parametrize("name", ["base", "trust"])
def test_a_component_of_every_host_has_no_limit(site: Site, name: str) -> None:
    files = (f"deploys/{name}.py", "deploys/verify.py")
    assert work([name], site) == [Work(files, (), proof(f"component:{name}"))]


def test_the_whole_proof_is_asked_for_by_its_name(site: Site) -> None:
    assert work(["verify"], site) == [Work(("deploys/verify.py",))]
    assert work(["verify", "docker"], site) == [Work(("deploys/docker.py", "deploys/verify.py"))]


def test_what_no_check_is_about_has_no_proof(site: Site, tmp_path: Path) -> None:
    """The run then says converged, and not verified."""
    assert work(["proxmox"], site) == [Work(("deploys/proxmox.py",), ("phoenix",))]
    declared = minimal()
    declared.lxc["lxc_configs"], declared.stacks = {}, {}
    declared.vm["vms"] = [vm(1002, "worker", "docker", 24)]
    alone = declared.load(tmp_path)
    assert work(["docker"], alone) == [Work(("deploys/docker.py",), ("worker",))]


WHOLE_DRPHOENIX = [
    Work(("deploys/proxmox.py", "deploys/dns.py"), ("phoenix",)),
    Work(
        ("deploys/guard.py", "deploys/traefik.py", "deploys/nginx.py"),
        ("phoenix", "step-ca", "nginx-phoenix", "traefik-internal"),
    ),
    Work(("deploys/all.py",), ("drphoenix",)),
    Work(
        ("deploys/verify.py",),
        ("phoenix", "nginx-phoenix", "traefik-internal", "portainer", "drphoenix"),
        proof("guest:drphoenix"),
    ),
]
"""Its records come first, since its certificate needs them, and the CA lets it in; then the routes
of its services."""


@pytest.mark.parametrize(
    "name", ["drphoenix", "1002", " DrPhoenix ", "10.0.0.102", "drphoenix.host", "guest:1002"]
)
def test_a_guest_by_name_id_or_address(site: Site, name: str) -> None:
    assert work([name], site) == WHOLE_DRPHOENIX
    assert guest(name, site) == "drphoenix"


def test_a_name_that_is_both_is_the_component(site: Site) -> None:
    portainer = Work(
        ("deploys/portainer.py", "deploys/verify.py"),
        ("portainer", "drphoenix"),
        proof("component:portainer"),
    )
    assert work(["portainer"], site) == work(["component:portainer"], site) == [portainer]
    whole_guest = work(["1001"], site)
    assert whole_guest == work(["guest:portainer"], site)
    assert Work(("deploys/all.py",), ("portainer",)) in whole_guest


def test_guests_and_components_are_both_done(site: Site) -> None:
    assert work(["101", "docker", "step-ca"], site) == [
        Work(("deploys/docker.py",), ("portainer", "drphoenix")),
        Work(("deploys/proxmox.py", "deploys/dns.py"), ("phoenix",)),
        Work(("deploys/guard.py",), ("phoenix", "traefik-internal", "portainer", "drphoenix")),
        Work(("deploys/all.py",), ("step-ca", "nginx-phoenix")),
        Work(
            ("deploys/verify.py",),
            ("phoenix", "step-ca", "nginx-phoenix", "portainer", "drphoenix"),
            proof("guest:nginx-phoenix", "component:docker", "guest:step-ca"),
        ),
    ]


@pytest.mark.parametrize(
    "name", ["qdrant", "service:qdrant", "https://qdrant.internal.thinkheads.ai/healthz"]
)
def test_a_service_is_what_it_needs_on_the_hosts_that_carry_it(site: Site, name: str) -> None:
    carrying = ("phoenix", "nginx-phoenix", "traefik-internal", "drphoenix")
    data: dict[str, object] = {"stacks_only": ["qdrant_service-production"]}
    parts = ("guard", "certificates", "traefik", "nginx", "stacks", "verify")
    assert work([name], site) == [
        Work(("deploys/proxmox.py", "deploys/dns.py"), ("phoenix",), data),
        Work(
            tuple(f"deploys/{part}.py" for part in parts),
            carrying,
            {**data, **proof("service:qdrant")},
        ),
    ]


def test_a_component_that_the_site_has_nowhere_is_an_error(tmp_path: Path) -> None:
    declared = minimal()
    declared.vm["vms"], declared.stacks = [], {}
    with pytest.raises(NameLookupError, match="no host of this site has the component docker"):
        work(["docker"], declared.load(tmp_path))


@pytest.mark.parametrize("name", ["qdrant_service", "qdrant_service-production"])
def test_a_stack_brings_what_its_services_need(site: Site, name: str) -> None:
    """Alone it would have no record, no name in the gateway's certificate, and no route.

    Portainer proves its hold on the stack, in a call of its own, since the one before would have
    changed Portainer's certificate.
    """
    data: dict[str, object] = {"stacks_only": ["qdrant_service-production"]}
    assert work([f"stack:{name}"], site) == [
        Work(("deploys/proxmox.py", "deploys/dns.py"), ("phoenix",), data),
        Work(
            ("deploys/guard.py", "deploys/certificates.py", "deploys/traefik.py",
             "deploys/nginx.py", "deploys/stacks.py"),
            ("phoenix", "nginx-phoenix", "traefik-internal", "drphoenix"),
            data,
        ),
        Work(
            ("deploys/verify.py",),
            ("phoenix", "nginx-phoenix", "traefik-internal", "portainer", "drphoenix"),
            proof(f"stack:{name}"),
        ),
    ]  # fmt: skip


def test_a_stack_without_services_is_its_deployment_alone(tmp_path: Path) -> None:
    declared = minimal()
    manifest: dict[str, Any] = {"environments": {"production": {}}}
    declared.stacks["jobs"] = (manifest, {"services": {"job": {"image": "example/job:1.0"}}})
    declared.vm["vms"][1]["docker_stacks"].append("jobs")
    assert work(["stack:jobs"], declared.load(tmp_path)) == [
        Work(
            ("deploys/stacks.py", "deploys/verify.py"),
            ("phoenix", "control", "worker"),
            {"stacks_only": ["jobs-production"], **proof("stack:jobs")},
        )
    ]


def test_a_stack_from_a_registry_of_the_zone_brings_that_registrys_root(tmp_path: Path) -> None:
    declared = minimal()
    image = "registry.internal.thinkheads.ai/job:1.0"
    manifest: dict[str, Any] = {"environments": {"production": {}}}
    declared.stacks["jobs"] = (manifest, {"services": {"job": {"image": image}}})
    declared.vm["vms"][1]["docker_stacks"].append("jobs")
    deploys = [
        deploy for call in work(["stack:jobs"], declared.load(tmp_path)) for deploy in call.deploys
    ]
    assert deploys.index("deploys/trust.py") < deploys.index("deploys/stacks.py")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("ngnix", "Did you mean 'nginx'?"),
        ("drphenix", "Did you mean 'drphoenix'?"),
        ("stack:qdrant", "Did you mean 'stack:qdrant_service'?"),
        ("9999", "There are:"),
        ("guest:drphenix", "Did you mean 'guest:drphoenix'?"),
        ("", "There are:"),
    ],
)
def test_what_matches_nothing_is_an_error(site: Site, name: str, hint: str) -> None:
    with pytest.raises(NameLookupError) as caught:
        work(["dns", name], site)
    assert repr(name) in str(caught.value)
    assert hint in str(caught.value)


def test_asked_to_move_the_moves_come_first_and_the_end_last(site: Site) -> None:
    calls = work([], site)
    docker = ("portainer", "drphoenix")
    assert with_moves(calls, site, move=True) == [
        Work(("deploys/moves.py",), docker, decides=True),
        *(replace(call, environment={MOVING: "1", STOPPING: "1"}) for call in calls),
        Work(("deploys/finish_moves.py",), docker, rests_on_all=True),
    ]


def test_asked_to_move_guests_may_be_stopped_for_their_node(site: Site) -> None:
    calls = work(["proxmox"], site)
    assert [call.environment for call in with_moves(calls, site, move=False)] == [{}]
    assert [call.environment for call in with_moves(calls, site, move=True)] == [{STOPPING: "1"}]


def test_of_a_stack_that_one_alone_moves(site: Site) -> None:
    calls = work(["stack:qdrant_service"], site)
    first, *between, last = with_moves(calls, site, move=True)
    only: dict[str, object] = {"stacks_only": ["qdrant_service-production"]}
    assert first == Work(("deploys/moves.py",), ("drphoenix",), only, decides=True)
    guests, *others = calls
    assert guests.deploys[0] == "deploys/proxmox.py"
    assert between == [
        replace(guests, environment={MOVING: "1", STOPPING: "1"}),
        *(replace(call, environment={MOVING: "1"}) for call in others),
    ]
    assert last.deploys == ("deploys/finish_moves.py",)


def test_not_asked_a_run_of_several_calls_is_refused_before_the_first(site: Site) -> None:
    calls = work(["qdrant"], site)
    assert len(calls) > 1
    first, *others = with_moves(calls, site, move=False)
    assert first.deploys == ("deploys/check_moves.py",)
    assert first.limit == ("drphoenix",)
    assert first.decides
    assert others == calls


@pytest.mark.parametrize("targets", [[], ["nginx"], ["dns", "traefik"]])
def test_a_run_that_refuses_by_itself_or_starts_no_stack_is_as_it_was(
    site: Site, targets: list[str]
) -> None:
    calls = work(targets, site)
    assert with_moves(calls, site, move=False) == calls
    if targets:
        assert with_moves(calls, site, move=True) == calls
