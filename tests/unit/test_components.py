"""The list of components: it is that of deploys/all.py, and says what each one changes."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path

import pytest

from phoenix.components.dnsmasq import dnsmasq_conf as dnsmasq
from phoenix.components.step_ca.authority import Claims
from phoenix.components.step_ca.authority import config as step_ca
from phoenix.components.traefik import traefik_yml as traefik
from phoenix.derived import dns, firewall, routes
from phoenix.derived.certificates import certificates
from phoenix.derived.components import COMPONENTS, component, components_of, hosts_of, in_order
from phoenix.site.model import Host, Site
from tests.unit.site_builder import lxc, minimal, stack

ROOT = Path(__file__).parents[2]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return minimal().load(tmp_path)


def included(file: Path) -> list[str]:
    """What a deploy file includes, each as `local.include("...")` at its top level."""
    included_files = []
    for statement in ast.parse(file.read_text()).body:
        match statement:
            case ast.Expr(
                value=ast.Call(
                    func=ast.Attribute(value=ast.Name(id="local"), attr="include"),
                    args=[ast.Constant(value=str(name))],
                )
            ):
                included_files.append(name)
            case ast.Expr(value=ast.Constant()) | ast.ImportFrom():
                pass
            case ast.Expr(value=call) if ast.unparse(call) == "preparation.ask()":
                pass
            case _:
                raise AssertionError(f"{file}, line {statement.lineno}: no line of a list")
    return included_files


def test_the_list_is_that_of_the_whole_deploy_in_its_order() -> None:
    assert included(ROOT / "deploys/all.py") == [component.deploy for component in COMPONENTS]
    for part in COMPONENTS:
        assert (ROOT / part.deploy).is_file(), part.name


def test_each_says_what_it_does_in_a_line() -> None:
    for part in COMPONENTS:
        assert part.does, part.name
        assert len(f"{part.name}: {part.does}") < 80, part.name
    assert component("nginx") == in_order(["nginx"])[0]
    assert component("ngnix") is None


@pytest.mark.parametrize(
    ("name", "hosts"),
    [
        ("proxmox", "hypervisor"),
        ("dns", "hypervisor"),
        ("step_ca", "authority"),
        ("certificates", "control worker"),
        ("traefik", "proxy"),
        ("home", "proxy"),
        ("nginx", "gateway"),
        ("docker", "control worker"),
        ("portainer", "control worker"),
        ("stacks", "worker"),
    ],
)
def test_hosts_of_a_component(site: Site, name: str, hosts: str) -> None:
    (component,) = in_order([name])
    expected = hosts.replace("hypervisor", site.hypervisor.name).split()
    assert sorted(host.name for host in component.hosts(site)) == sorted(expected)


def test_the_others_are_on_every_host(site: Site) -> None:
    assert [component.name for component in COMPONENTS if component.hosts(site) == site.hosts] == [
        "base", "trust", "guard", "verify",
    ]  # fmt: skip


def test_stages_follow_the_order() -> None:
    assert [component.stage for component in COMPONENTS] == sorted(
        case.stage for case in COMPONENTS
    )
    assert {component.name for component in COMPONENTS if component.stage == 0} == {
        "networks",
        "proxmox",
        "keepalived",
        "dns",
    }


# -- what a service needs --------------------------------------------------------------------------


def outputs(site: Site) -> dict[str, Mapping[str, object]]:
    """What components make of a site, by component and host."""
    gateway, proxy = site.gateway, site.traefik
    assert gateway is not None
    assert proxy is not None
    assert site.ca is not None
    expected = {
        (certificate.host.name, certificate.name): (certificate.sans, certificate.challenge)
        for certificate in certificates(site)
    }
    return {
        "proxmox": {site.hypervisor.name: firewall.rules(site)},
        "dns": {
            site.hypervisor.name: dnsmasq.config(
                site, dns.records(site), ["9.9.9.9"], stop_rebind=True
            )
        },
        "step_ca": {site.ca.name: step_ca(site, Claims("5m", "24h", "24h"))},
        "certificates": {
            host: certificate
            for (host, name), certificate in expected.items() if name == "host"
        },
        "traefik": {
            proxy.name: (traefik.dynamic_config(site), traefik.static_config(site, metrics=False),
                         expected[proxy.name, "traefik"])
        },
        "nginx": {gateway.name: (routes.gateway_names(site), expected[gateway.name, "gateway"])},
        "stacks": {
            host.name: [
                (stack.project, stack.variables, stack.files) for stack in host.docker_stacks
            ]
            for host in site.agents
        },
    }  # fmt: skip


def with_a_stack(folder: Path) -> Site:
    declared = minimal()
    declared.stacks["wiki"] = stack("wiki", 8001)
    declared.vm["vms"][1]["docker_stacks"] = ["shop", "wiki"]
    return declared.load(folder)


def with_a_guest(folder: Path, **service: object) -> Site:
    declared = minimal()
    more = {"traefik_service": {"name": "wiki", "port": 8443, **service}} if service else {}
    declared.lxc["lxc_configs"]["150"] = lxc("own", None, 90, **more)
    return declared.load(folder)


@pytest.mark.parametrize("scheme", ["http", "https", "stack"])
def test_whatever_changes_with_a_service_is_deployed_with_it(tmp_path: Path, scheme: str) -> None:
    """The service is declared, and every component whose output changes by that is found."""
    if scheme == "stack":
        before, after = minimal().load(tmp_path / "before"), with_a_stack(tmp_path / "after")
    else:
        before = with_a_guest(tmp_path / "before")
        after = with_a_guest(tmp_path / "after", scheme=scheme)
    old, new = outputs(before), outputs(after)
    changed = {
        (name, host)
        for name in new
        for host in {*old[name], *new[name]}
        if old[name].get(host) != new[name].get(host)
    }
    service = after.service("wiki")
    parts = {component.name for component in components_of(after, service)}
    hosts = {host.name for host in hosts_of(after, service)}
    assert {"dns", "traefik", "nginx", "proxmox"} <= {name for name, _ in changed}, changed
    assert {name for name, _ in changed} <= parts
    assert {host for _, host in changed} <= hosts
    assert components_of(after, service)[-1].name == "verify"


@pytest.mark.parametrize(
    ("service", "part"),
    [("ca", "step_ca"), ("traefik", "traefik"), ("home", "home"), ("portainer", "portainer")],
)
def test_the_component_that_runs_a_service_is_among_them(
    site: Site, service: str, part: str
) -> None:
    found_service = site.service(service)
    assert part in {component.name for component in components_of(site, found_service)}
    owner: Host = found_service.owner
    assert owner in hosts_of(site, found_service)
