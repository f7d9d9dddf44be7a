"""How each host's stacks are deployed, and what follows: components, checks, paths."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from phoenix.components.stack import DeploymentError, check_prune
from phoenix.declaration.settings import read
from phoenix.derived import deployments, dns
from phoenix.derived.components import component_hosts
from phoenix.derived.find import choose, find
from phoenix.derived.firewall import flows
from phoenix.derived.logs import logs
from phoenix.explain.explanation import explain
from phoenix.explain.model import Explanation
from phoenix.graph.html import html
from phoenix.graph.mermaid import mermaid
from phoenix.graph.topology import topology
from phoenix.health import status
from phoenix.health.checks import checks
from phoenix.health.diagnosis import diagnose
from phoenix.health.observation import Observed
from phoenix.health.paths import agent_paths, paths, stack_paths
from phoenix.secrets import catalog
from phoenix.site.model import Site
from phoenix.validation.setting_values import check
from phoenix.watch.causes import Findings
from tests.unit.site_builder import Declaration, lxc, minimal, stack, vm

STACK = "shop-production"


def without_agent(declared: Declaration) -> None:
    del declared.vm["vms"][1]["portainer_role"]


def without_portainer(declared: Declaration) -> None:
    without_agent(declared)
    declared.vm["vms"].pop(0)
    declared.vm["vms"][0]["dependencies"] = []


def elsewhere(declared: Declaration) -> None:
    """Portainer is not a guest of the site, and comes to the agent from 192.0.2.10."""
    declared.vm["vms"].pop(0)
    declared.vm["vms"][0]["dependencies"] = []
    declared.lxc["site"] = {"portainer": {"url": "https://192.0.2.10:9443"}}


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
    "elsewhere": (elsewhere, {"worker": "agent"}),
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
    assert not site.warnings or all("agent" not in warning.message for warning in site.warnings)


@pytest.mark.parametrize("name", SITES)
def test_every_stack_is_checked_on_its_host_and_where_portainer_holds_it(
    tmp_path: Path, name: str
) -> None:
    site = built(name, tmp_path)
    for host, deployed, way in deployments.placed(site):
        own = [check for check in checks(site) if check.stack == deployed.project]
        by_function = {check.function: check.host for check in own}
        assert by_function.get("containers_are_well") == host.name
        asked = way != "compose" and site.portainer is not None  # one elsewhere asks no guest
        assert ("stack_is_active" in by_function) is asked
        path = stack_paths(site)[host.name, deployed.project]
        assert set(own) <= set(path.checks)
    environments = {host.name for host in deployments.environments(site)}
    assert agent_paths(site).keys() == environments
    up = {check.target for check in checks(site) if check.function == "endpoint_is_up"}
    assert up == (environments if site.portainer or not environments else set())
    every = {check for path in all_paths(site) for check in path}
    assert set(checks(site)) <= every


def all_paths(site: Site) -> list[tuple[object, ...]]:
    return [path.checks for path in paths(site)]


def test_portainers_guest_without_stacks_has_no_environment(tmp_path: Path) -> None:
    site = built("agent", tmp_path)
    assert [host.name for host in deployments.environments(site)] == ["worker"]
    assert "control" not in {host.name for host in deployments.stack_hosts(site)}


def published(declared: Declaration, *mappings: str) -> None:
    """The worker's two stacks publish these ports."""
    declared.stacks["more"] = stack("more", 8001)
    declared.vm["vms"][1]["docker_stacks"].append("more")
    for name, mapping in zip(("shop", "more"), mappings, strict=True):
        declared.stacks[name][1]["services"]["web"]["ports"].append(mapping)


@pytest.mark.parametrize(
    ("first", "other", "clash"),
    [
        ("7000:80", "7000:80", True),
        ("7000:80", "127.0.0.1:7000:80", True),
        ("127.0.0.1:7000:80", "0.0.0.0:7000:80", True),
        ("127.0.0.1:7000:80", "127.0.0.1:7000:80", True),
        ("127.0.0.1:7000:80", "10.0.0.24:7000:80", False),
        ("127.0.0.1:7000:80", "[::1]:7000:80", False),
        ("[::]:7000:80", "[::1]:7000:80", True),
        ("7000:80", "7000:80/udp", False),
        ("7000-7005:80-85", "7003:80", True),
        ("127.0.0.1:9001:80", "7000:80", True),  # the agent's own, behind the tunnel
        ("127.0.0.2:9001:80", "7000:80", False),
        ("10.0.0.24:9001:80", "7000:80", True),
        ("9001:80", "7000:80", True),
        ("127.0.0.1:22:80", "7000:80", True),
    ],
)
def test_ports_clash_where_their_addresses_do(
    tmp_path: Path, first: str, other: str, clash: bool
) -> None:
    declared = minimal()
    published(declared, first, other)
    if not clash:
        assert declared.load(tmp_path)
        return
    findings = [str(finding) for finding in declared.refused(tmp_path)]
    assert any("/tcp of worker is taken by" in finding for finding in findings), findings


@pytest.mark.parametrize(
    ("server_port", "agent_port", "mapping", "clash"),
    [
        (9001, 9001, None, "vms[1].traefik_service.port"),
        (9443, 9443, None, "vms[1].traefik_service.port"),
        (48000, 9001, None, "vms[0].traefik_service.port"),
        (9443, 48000, None, None),  # the agent's entrance is another loopback address
        (9443, 9001, "9001:80", "services.web.ports"),
        (9443, 9001, "127.0.0.24:9001:80", "services.web.ports"),
        (9443, 9001, "127.0.0.1:9001:80", None),
        (9443, 9001, "48000:80", "services.web.ports"),
    ],
)
def test_ports_of_the_tunnel_on_portainers_guest_are_taken(
    tmp_path: Path, server_port: int, agent_port: int, mapping: str | None, clash: str | None
) -> None:
    declared = minimal()
    server, worker = declared.vm["vms"]
    server["traefik_service"]["port"] = server_port
    worker["traefik_service"] = {"name": "portainer-agent", "port": agent_port}
    if mapping:
        declared.stacks["more"] = stack("more", 8001)
        declared.stacks["more"][1]["services"]["web"]["ports"].append(mapping)
        server["docker_stacks"] = ["more"]
    if clash is None:
        assert declared.load(tmp_path)
        return
    (finding,) = declared.refused(tmp_path)
    assert finding.path == clash
    assert "of control" in finding.message
    assert finding.fix


@pytest.mark.parametrize(
    ("mapping", "clash"), [("9005:80", True), ("127.0.0.1:9005:80", True), ("9006:80", False)]
)
def test_the_agents_second_port_is_taken_on_its_host(
    tmp_path: Path, mapping: str, clash: bool
) -> None:
    declared = minimal()
    declared.stacks["shop"][1]["services"]["web"]["ports"].append(mapping)
    if not clash:
        assert declared.load(tmp_path)
        return
    (finding,) = declared.refused(tmp_path)
    assert "the Portainer agent" in finding.message, finding


def test_two_agents_whose_entrances_are_one_are_refused(tmp_path: Path) -> None:
    declared = minimal()
    declared.lxc["site"] = {"hypervisor": {"ip": "10.0.0.13/7", "gateway": "10.0.0.1"}}
    guests = [*declared.lxc["lxc_configs"].values(), *declared.vm["vms"]]
    for guest in guests:
        guest["network_config"]["ip"] = guest["network_config"]["ip"].replace("/24", "/7")
    other = vm(1003, "far", "docker", 24, portainer_role="agent", portainer_agent_hostname="way")
    other["network_config"]["ip"] = "11.0.0.24/7"
    declared.vm["vms"].append(other)
    (finding,) = declared.refused(tmp_path)
    assert finding.path == "vms[2].traefik_service.port"
    assert "tunnel to the agent of worker" in finding.message
    other["traefik_service"] = {"name": "way", "port": 9002}
    assert declared.load(tmp_path / "fixed")


@pytest.mark.parametrize(("unprivileged", "needed"), [(True, "keyctl=1"), (False, "nesting=1")])
def test_docker_in_a_container_that_nobody_sees_to_is_told(
    tmp_path: Path, unprivileged: bool, needed: str
) -> None:
    declared = minimal()
    declared.vm["vms"].pop()
    declared.lxc["lxc_configs"]["104"] = lxc(
        "worker", "docker", 24, unprivileged=unprivileged, docker_stacks=["shop"]
    )
    site = declared.load(tmp_path)
    assert deployments.deployment_method(site, site.host("worker")) == "compose"
    settings, _ = read({})
    findings = check(site, settings, faulty=(), ssh_key=None, home=tmp_path)
    (finding,) = (
        candidate for candidate in findings if "run Docker in a container" in candidate.message
    )
    assert needed in finding.fix
    assert finding.path == "lxc_configs.104.role"


def test_an_agent_role_that_is_overridden_is_refused(tmp_path: Path) -> None:
    declared = minimal()
    declared.vm["vms"][0]["portainer_role"] = "agent"
    (finding,) = declared.refused(tmp_path)
    assert "Portainer's server and no agent" in finding.message
    assert "give the agent to another guest" in finding.fix


@pytest.mark.parametrize("name", SITES)
def test_every_view_knows_the_site(tmp_path: Path, name: str) -> None:
    """explain, graph, status, DNS, firewall, secrets, logs: none asks for what is not there."""
    site = built(name, tmp_path)
    for host, deployed, way in deployments.placed(site):
        explanation = explain(site, f"stack:{deployed.project}")
        assert isinstance(explanation, Explanation)
        assert deployments.METHOD_WORDS[way] in explanation.facts[0]
        assert explanation.checks
        (log,) = logs(site, f"stack:{deployed.project}", lines=5, follow=False)
        assert log.host == host
    pictured = html(topology(site)) + mermaid(topology(site))
    for host in site.hosts:
        assert isinstance(explain(site, f"guest:{host.name}"), Explanation)
        assert host.name in pictured
    assert ("portainer_agent_secret" in {use.name for use in catalog.uses(site)}) is (
        site.portainer is not None or name == "elsewhere"
    )
    services = {service.name for service in site.services if service.kind == "backend"}
    reached = {flow.why for flow in flows(site)}
    assert {f"Traefik to {service}" for service in services} <= reached
    names = {record.name for record in dns.records(site)}
    assert {service.fqdn for service in site.services} <= names
    observed = Observed({}, {host.name: "off" for host in site.hosts})
    diagnosis = diagnose(site, paths(site), Findings((), observed.silent))
    report = status.build(site, "x", observed, (), diagnosis, status.Drift(), datetime.now(UTC))
    assert {(deployed.guest, deployed.way) for deployed in report.stacks} == set(
        SITES[name][1].items()
    )
    assert {endpoint.name for endpoint in report.endpoints} == {
        host.portainer_environment for host in deployments.environments(site)
    }


def test_two_hosts_of_one_name_in_portainer_are_refused(tmp_path: Path) -> None:
    declared = minimal()
    on_both(declared)
    declared.vm["vms"][1]["portainer_environment_name"] = "control"
    (finding,) = declared.refused(tmp_path)
    assert "control is called control in Portainer too" in finding.message
    assert finding.path == "vms[1].portainer_environment_name"


@pytest.mark.parametrize("name", ["a\tb", "a\nb", "a\x7fb", " "])
def test_a_name_in_portainer_is_one_word_of_a_check(name: str, tmp_path: Path) -> None:
    """The words of a check are parted by tabs, and checks by line ends."""
    declared = minimal()
    declared.vm["vms"][1]["portainer_environment_name"] = name
    (finding,) = declared.refused(tmp_path)
    assert finding.path == "vms[1].portainer_environment_name"


def test_a_hosts_own_name_goes_before_the_name_of_an_environment(tmp_path: Path) -> None:
    declared = minimal()
    declared.vm["vms"][1]["portainer_environment_name"] = "control"
    site = declared.load(tmp_path)
    assert choose(site, "control", first=(), of=("guest",)) == site.host("control")
    assert choose(site, "guest:worker", first=()) == site.host("worker")


def test_the_agents_name_is_no_stacks_service(tmp_path: Path) -> None:
    """Of a guest's own service a stack may speak again; the agent is another thing."""
    declared = minimal()
    declared.vm["vms"][1]["portainer_agent_hostname"] = "shop"
    (finding,) = declared.refused(tmp_path)
    assert "duplicate service name 'shop'" in finding.message


def test_a_guest_cannot_be_called_by_the_id_of_another(tmp_path: Path) -> None:
    """A host is looked up by name or id: the deploys of 1001 would be those of control."""
    declared = minimal()
    declared.vm["vms"][1]["name"] = "1001"
    (finding,) = declared.refused(tmp_path)
    assert finding.path == "vms[1].name"
    assert "is the id of control" in finding.message
    declared.vm["vms"][1]["name"] = "1002"
    site = declared.load(tmp_path / "own")
    assert site.host("1002").address == site.host(1002).address


def test_a_stack_has_one_name_everywhere_the_one_that_docker_has(tmp_path: Path) -> None:
    """Compose and Portainer know no upper case and no dot in a project."""
    declared = minimal()
    declared.stacks["Shop.V1"] = declared.stacks.pop("shop")
    declared.vm["vms"][1]["docker_stacks"] = ["Shop.V1"]
    site = declared.load(tmp_path)
    worker = site.host("worker")
    (deployed,) = worker.docker_stacks
    assert deployed.project == "shopv1-production"
    assert find(site, "Shop.V1-production") == find(site, "shopv1-production") != ()
    (check_of_stack,) = (
        candidate for candidate in checks(site) if candidate.command[0] == "containers_are_well"
    )
    assert check_of_stack.command[1] == deployed.project
    with pytest.raises(DeploymentError, match="stacks_prune"):
        check_prune("Shop.V1-Production", worker)
    server, agent = declared.vm["vms"]
    server["docker_stacks"] = agent.pop("docker_stacks")
    (moved,) = declared.load(tmp_path / "moved").host("control").docker_stacks
    assert moved.project == deployed.project


@pytest.mark.parametrize(
    ("name", "environment", "message"),
    [
        ("Shop", "production", "Shop in production and shop in production are both"),
        ("phoenix", "portainer", "Phoenix's own name for Portainer"),
        ("Phoenix-Portainer", "agent", "Phoenix's own name for Portainer"),
    ],
)
def test_two_things_of_one_name_in_docker_are_refused(
    tmp_path: Path, name: str, environment: str, message: str
) -> None:
    declared = minimal()
    declared.stacks[name] = stack("more", 8001, environment=environment)
    entry = {"name": name, "environment": environment}
    declared.vm["vms"][1]["docker_stacks"].append(entry)
    (finding,) = declared.refused(tmp_path)
    assert message in finding.message
    assert finding.path == "vms[1].docker_stacks[1]"
    assert "another name" in finding.fix


@pytest.mark.parametrize(
    ("guest", "more", "message", "path"),
    [
        ("102", {"features": ["nginx"]}, "both the gateway and Traefik", "lxc_configs.102.role"),
        ("101", {"features": ["portainer"]}, "Portainer would have no certificate", ".101.role"),
        (
            "102",
            {"features": ["docker"], "portainer_role": "agent", "portainer_agent_hostname": "two"},
            "Portainer's agent would have no certificate on proxy, which is Traefik's guest",
            "lxc_configs.102.role",
        ),
        (
            "101",
            {"features": ["docker"], "docker_stacks": ["more"]},
            "more would have no certificate on gateway, which is the gateway",
            "services.web.traefik_service",
        ),
    ],
)
def test_what_would_have_no_certificate_on_its_guest_is_refused(
    tmp_path: Path, guest: str, more: dict[str, object], message: str, path: str
) -> None:
    declared = minimal()
    declared.stacks["more"] = stack("more", 8001)
    declared.lxc["lxc_configs"][guest] |= more
    if "nginx" in str(more):
        del declared.lxc["lxc_configs"]["101"]
    if "portainer" in str(more["features"]):
        declared.vm["vms"].pop(0)
        declared.vm["vms"][0]["dependencies"] = []
    (finding,) = declared.refused(tmp_path)
    assert message in finding.message
    assert finding.path.endswith(path)


def test_an_id_that_two_guests_have_is_one_finding(tmp_path: Path) -> None:
    """It is not reported as a circle or a missing role as well."""
    declared = minimal()
    declared.vm["vms"][1]["vmid"] = 1001
    (finding,) = declared.refused(tmp_path)
    assert "duplicate vmid 1001" in finding.message


def test_two_files_of_a_stack_at_one_place_are_refused(tmp_path: Path) -> None:
    declared = minimal()
    declared.stacks["shop"][0]["environments"]["production"]["files"] = [
        {"secret": "SHOP_A", "destination_in_container": "/run/key"},
        {"secret": "SHOP_B", "destination_in_container": "/run/key"},
    ]
    (finding,) = declared.refused(tmp_path)
    assert finding.path == "environments.production.files[1].destination_in_container"
    assert "at /run/key already" in finding.message


@pytest.mark.parametrize(("declared", "is_told"), [({}, True), ({"services": {}}, False)])
def test_a_stack_that_needs_no_route_says_so(
    declared: dict[str, Any], is_told: bool, tmp_path: Path
) -> None:
    """A job or a database ends `validate --strict` with no warning."""
    declaration = minimal()
    _, compose = stack("job", 8099)
    declaration.stacks["job"] = {"environments": {"production": declared}}, compose
    declaration.vm["vms"][1]["docker_stacks"].append("job")
    warnings = [warning.message for warning in declaration.load(tmp_path).warnings]
    assert any("declares no service" in message for message in warnings) is is_told, warnings
