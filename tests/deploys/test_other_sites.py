"""Sites of other people, as whole deploys: what each host is given, and what is checked there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from phoenix.components.nginx.nginx_conf import CONFIG
from phoenix.components.traefik.traefik_yml import DYNAMIC
from phoenix.declaration import inventory
from phoenix.health.checks import checks
from phoenix.site.model import Site
from tests.deploys.recorder import Run, run
from tests.unit.site_builder import Declaration, lxc, minimal, stack, vm
from tests.unit.test_deployments import on_portainers_guest

ZONE = "internal.thinkheads.ai"
JUMP = "op@bastion.example.com:2222"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("PORTAINER_ADMIN_PASSWORD", "PORTAINER_AGENT_SECRET"):
        monkeypatch.setenv(f"PHOENIX_SECRET_{name}", "a-secret-of-this-test")


def homelab() -> Declaration:
    """One Docker host, with Portainer on it; nobody gave a token of the hypervisor's API."""
    declared = minimal()
    on_portainers_guest(declared)
    return declared


def company() -> Declaration:
    """A NAS, two Docker hosts and Git by SSH; people log in as a user with sudo, by a jump host."""
    declared = minimal()
    declared.lxc["site"] = {"login": {"user": "op", "sudo": True, "jump": JUMP}}
    declared.lxc["external_services"] = [
        {"name": "nas", "address": "nas.example.com", "port": 5001}
    ]
    git = {"name": "git", "port": 22, "scheme": "tcp", "gateway_port": 2222}
    declared.lxc["lxc_configs"]["104"] = lxc("forge", None, 25, traefik_services=[git])
    declared.stacks["wiki"] = stack("wiki", 8001)
    declared.vm["vms"].append(
        vm(1003, "second", "docker", 26, portainer_role="agent", dependencies=["1001"],
           docker_stacks=["wiki"], portainer_agent_hostname="agent-of-second")
    )  # fmt: skip
    return declared


def deployed(folder: Path, deploy: str) -> Run:
    return run(
        deploy, folder / "secrets.json",
        site_inventories=str(folder), site_stacks=str(folder / "stacks"),
    )  # fmt: skip


def routed(done: Run, proxy: str) -> dict[str, list[str]]:
    """Name -> URLs of its servers, as Traefik's file says."""
    (text,) = [text for path, text in done.files(proxy).items() if path == f"{DYNAMIC}/phoenix.yml"]
    services: dict[str, Any] = yaml.safe_load(text)["http"]["services"]
    return {
        name: [server["url"] for server in service["loadBalancer"]["servers"]]
        for name, service in services.items()
        if "loadBalancer" in service
    }


def test_one_docker_host_with_portainer_on_it(tmp_path: Path) -> None:
    site = homelab().load(tmp_path)
    assert [host.name for host in site.docker_hosts] == ["control"]
    done = deployed(tmp_path, "stacks")
    assert {name: on for name, on in done.changed.items() if on} == {
        "Stack shop-production": ["control"]
    }
    assert not [request for request in done.sent if "compose-host" in request.command], (
        "Portainer deploys it"
    )
    assert not [check for check in checks(site) if "agent" in check.hop.lower()]
    servers = routed(deployed(tmp_path, "traefik"), "proxy")
    assert servers["shop"] == ["https://10.0.0.23:8000"]
    assert servers["portainer"] == ["https://10.0.0.23:9443"]
    config = deployed(tmp_path, "nginx").files("gateway")[CONFIG]
    assert {f"shop.{ZONE}", f"portainer.{ZONE}"} <= set(config.replace(";", " ").split())


def test_a_nas_two_docker_hosts_and_git_behind_one_gateway(tmp_path: Path) -> None:
    site = company().load(tmp_path)
    assert {host.name for host in site.agents} == {"worker", "second"}
    servers = routed(deployed(tmp_path, "traefik"), "proxy")
    assert servers["shop"] == ["https://10.0.0.24:8000"]
    assert servers["wiki"] == ["https://10.0.0.26:8001"]
    assert servers["nas"] == ["https://nas.example.com:5001"]
    config = deployed(tmp_path, "nginx").files("gateway")[CONFIG]
    assert "proxy_pass 10.0.0.25:22;" in config[config.index("\nstream {") :]
    stacks = deployed(tmp_path, "stacks").changed  # one operation, by either of its names
    assert ["worker", "second"] in [on for name, on in stacks.items() if name.startswith("Stack")]
    asked = {check.service.partition(":")[0] for check in checks(site)}
    assert {"nas", "git", "shop", "wiki", "portainer"} <= asked


def test_each_host_is_reached_by_sudo_and_the_jump_host(tmp_path: Path) -> None:
    site = company().load(tmp_path)
    data = {"ssh_key": "/k", "ssh_strict_host_key_checking": "yes"}
    hosts = {name: of for every in inventory.groups(site, data).values() for name, of in every}
    assert hosts.keys() == {host.name for host in site.hosts}
    for of in hosts.values():
        assert (of["ssh_user"], of["site_sudo"]) == ("op", True)
        assert f"ProxyJump {JUMP}" in Path(of["ssh_config_file"]).read_text()


@pytest.mark.parametrize("declared", [homelab, company])
def test_it_loads_without_a_finding(declared: Callable[[], Declaration], tmp_path: Path) -> None:
    site: Site = declared().load(tmp_path)
    assert site.warnings == ()


def test_a_name_that_leads_to_the_gateway_is_proven_when_the_gateway_knows_it(
    tmp_path: Path,
) -> None:
    """pyinfra orders operations by host: without a step of all of them the guest was first."""
    declared = minimal()
    mail = {"name": "mail", "port": 993, "scheme": "tls"}
    declared.lxc["lxc_configs"]["104"] = lxc("post", None, 25, traefik_services=[mail])
    declared.load(tmp_path)
    done = run(
        "all", tmp_path / "secrets.json", execute=False,
        site_inventories=str(tmp_path), site_stacks=str(tmp_path / "stacks"),
    )  # fmt: skip
    order = done.operations
    deploy = "deploys/passthrough.py"
    step = f"{deploy} | Certificates: the gateway passes on the CA's questions"
    issue = f"{deploy} | Certificate: issue"
    gateway = "deploys/nginx.py | Nginx: configuration and service"
    assert order.index(gateway) < order.index(step) < order.index(issue)
    assert (done.changed[step], done.changed[issue]) == ([], ["post"])
