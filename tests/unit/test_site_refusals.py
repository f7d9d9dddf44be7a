"""One bad input per refusal: the finding names the file, the JSON path and the fix."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from phoenix.declaration.load import load_site
from phoenix.site.findings import ConfigError
from tests.unit.site_builder import LXC, VM, Declaration, lxc, minimal, problem, stack, vm

SHOP, SHOP_COMPOSE = "stacks/shop/phoenix.json", "stacks/shop/docker-compose.yml"
ROUTE = "environments.production.services.web.traefik_service"


def edit(*steps: str | int, to: Any) -> Callable[[Declaration], None]:
    """Set one value: edit("lxc", "lxc_configs", "101", "name", to="x")."""

    def change(declared: Declaration) -> None:
        target = getattr(declared, str(steps[0]))
        for step in steps[1:-1]:
            target = target[step]
        target[steps[-1]] = to

    return change


def guest(vmid: str, key: str, to: Any) -> Callable[[Declaration], None]:
    return edit("lxc", "lxc_configs", vmid, key, to=to)


def address(vmid: str, ip: str) -> Callable[[Declaration], None]:
    return edit("lxc", "lxc_configs", vmid, "network_config", "ip", to=ip)


def route(key: str, to: Any) -> Callable[[Declaration], None]:
    return edit("vm", "vms", 0, "traefik_service", key, to=to)


def stack_route(key: str, to: Any) -> Callable[[Declaration], None]:
    steps = ("environments", "production", "services", "web", "traefik_service", key)
    return edit("stacks", "shop", 0, *steps, to=to)


def second_stack(published: str) -> Callable[[Declaration], None]:
    def change(declared: Declaration) -> None:
        declared.stacks["more"] = stack("more", 8001, published=published)
        declared.vm["vms"][1]["docker_stacks"].append("more")
        services = declared.stacks["more"][0]["environments"]["production"]["services"]
        services["web"]["traefik_service"]["port"] = int(published.split(":")[0])

    return change


def publish(mapping: str) -> Callable[[Declaration], None]:
    def change(declared: Declaration) -> None:
        declared.stacks["shop"][1]["services"]["web"]["ports"].append(mapping)

    return change


def no_role(declared: Declaration) -> None:
    del declared.lxc["lxc_configs"]["102"]["role"]


def hypervisor(**config: Any) -> Callable[[Declaration], None]:
    return lambda declared: declared.lxc.update({"site": {"hypervisor": config}})


def vm_key(position: int, **keys: Any) -> Callable[[Declaration], None]:
    """Set keys of a VM; None removes one."""

    def change(declared: Declaration) -> None:
        entry = declared.vm["vms"][position]
        for key, value in keys.items():
            entry[key] = value
            if value is None:
                del entry[key]

    return change


def all_of(*changes: Callable[[Declaration], None]) -> Callable[[Declaration], None]:
    def change(declared: Declaration) -> None:
        for each in changes:
            each(declared)

    return change


def portainer_stack(name: str, more: dict[str, Any]) -> Callable[[Declaration], None]:
    """Portainer as a stack on its own guest, as the original system had it, and `more` services."""

    def change(declared: Declaration) -> None:
        manifest, compose = stack(name, 9443)
        compose["services"]["web"]["image"] = "portainer/portainer-ce:2.39.1"
        compose["services"] |= more
        declared.stacks["ui"] = (manifest, compose)
        declared.vm["vms"][0]["docker_stacks"] = ["ui"]

    return change


def also_docker(position: str, published: str) -> Callable[[Declaration], None]:
    """Move the agent and its stack to the guest of another component."""

    def change(declared: Declaration) -> None:
        declared.vm["vms"].pop()
        entry = declared.lxc["lxc_configs"][position]
        entry |= {"features": ["docker"], "portainer_role": "agent", "docker_stacks": ["shop"]}
        entry["dependencies"] = ["103"] if position != "103" else []
        publish(published)(declared)

    return change


def agent_twice(declared: Declaration) -> None:
    declared.vm["vms"].append(vm(1003, "second", "docker", 25, portainer_role="agent",
                                   dependencies=[1002]))  # fmt: skip


REFUSALS = {
    "ip": (address("102", "10.0.0.20/24"), LXC, "lxc_configs.102.network_config.ip",
           "duplicate IP address 10.0.0.20", "free address"),
    "ip of a vm": (edit("vm", "vms", 1, "network_config", "ip", to="10.0.0.20/24"), VM,
                   "vms[1].network_config.ip", "lxc_configs.101 has it", "free address"),
    "mac": (guest("102", "mac_address", "52:54:00:00:00:14"), LXC, "lxc_configs.102.mac_address",
            "duplicate MAC", "change one"),
    "mac, other case": (edit("vm", "vms", 0, "mac_address", to="52:54:00:00:00:14".lower()), VM,
                        "vms[0].mac_address", "duplicate MAC", "change one"),
    "vmid": (edit("vm", "vms", 0, "vmid", to="103"), VM, "vms[0].vmid", "duplicate vmid 103",
             "free id"),
    "host name": (guest("102", "name", "Gateway"), LXC, "lxc_configs.102.name",
                  "duplicate host name gateway", "rename"),
    "hypervisor's name": (guest("102", "name", "phoenix"), LXC, "lxc_configs.102.name",
                          "the hypervisor has it", "rename"),
    "service name": (stack_route("name", "portainer"), SHOP, ROUTE,
                     "duplicate service name 'portainer'", "another name"),
    "port of two stacks": (second_stack("8000:80"), "stacks/more/docker-compose.yml",
                           "services.web.ports", "port 8000/tcp of worker is taken by stacks/shop",
                           "another host port"),
    "port of the agent": (publish("9001:80"), SHOP_COMPOSE, "services.web.ports",
                          "taken by the Portainer agent", "another host port"),
    "port of ssh": (publish("20-24:20-24"), SHOP_COMPOSE, "services.web.ports", "taken by SSH",
                    "another host port"),
    "port of acme": (publish("80:8080"), SHOP_COMPOSE, "services.web.ports",
                     "http-01", "another host port"),
    "port of portainer": (all_of(vm_key(0, docker_stacks=["shop"]), publish("9443:80")),
                          SHOP_COMPOSE, "services.web.ports",
                          "port 9443/tcp of control is taken by Portainer", "another host port"),
    "port of portainer, no service of its own": (
        all_of(vm_key(0, docker_stacks=["shop"], traefik_service=None), publish("9443:80")),
        SHOP_COMPOSE, "services.web.ports", "taken by Portainer", "another host port"),
    "port of portainer, another one": (
        all_of(vm_key(0, docker_stacks=["shop"]), route("port", 8443), publish("8443:80")),
        SHOP_COMPOSE, "services.web.ports", "port 8443/tcp of control is taken by Portainer",
        "another host port"),
    "port of the ca": (also_docker("103", "9000:80"), SHOP_COMPOSE, "services.web.ports",
                       "port 9000/tcp of authority is taken by the CA", "another host port"),
    "port of traefik": (also_docker("102", "443:80"), SHOP_COMPOSE, "services.web.ports",
                        "taken by Traefik", "another host port"),
    "port of traefik's checks": (also_docker("102", "8081:80"), SHOP_COMPOSE,
                                 "services.web.ports", "taken by Traefik", "another host port"),
    "port of the start page": (also_docker("102", "8083:80"), SHOP_COMPOSE, "services.web.ports",
                               "taken by the start page", "another host port"),
    "port of nginx's status": (also_docker("101", "8082:80"), SHOP_COMPOSE, "services.web.ports",
                               "taken by Nginx", "another host port"),
    "stack without docker": (guest("102", "docker_stacks", ["shop"]), LXC,
                             "lxc_configs.102.docker_stacks[0]",
                             "shop-production would never be deployed: proxy has no Docker",
                             'the feature "docker" in the entry of proxy'),
    "stack, no role at all": (vm_key(1, portainer_role=None, role=None), VM,
                              "vms[1].docker_stacks[0]", "worker has no Docker",
                              '"role": "docker" in the entry of worker'),
    "stack on a template": (vm_key(1, is_template=True), VM, "vms[1].docker_stacks[0]",
                            "worker is a template and never runs", "a guest that runs"),
    "agent on portainer's guest": (vm_key(0, portainer_role="agent"), VM, "vms[0].portainer_role",
                                   "Portainer's server and no agent",
                                   '"portainer_role": "server"'),
    "agent without a server": (vm_key(0, role=None, traefik_service=None), VM,
                               "vms[1].portainer_role", "no guest has the role portainer",
                               '"role": "portainer"'),
    "portainer as a stack, another name": (portainer_stack("ui", {}), "stacks/ui/phoenix.json",
                                           ROUTE, "a Portainer that is not deployed",
                                           "traefik_service of control"),
    "missing dependency": (guest("101", "dependencies", ["777"]), LXC,
                           "lxc_configs.101.dependencies[0]", "no guest has id 777", "declare"),
    "missing clone source": (guest("101", "clone_from_ctid", "900"), LXC,
                             "lxc_configs.101.clone_from_ctid", "no guest has id 900", "declare"),
    "clone of itself": (guest("101", "clone_from_ctid", "101"), LXC,
                        "lxc_configs.101.clone_from_ctid", "cloned from itself: 101 -> 101",
                        "made from an image"),
    "clones of each other": (all_of(guest("101", "clone_from_ctid", 102),
                                    guest("102", "clone_from_ctid", 101)), LXC,
                             "lxc_configs.101.clone_from_ctid", "101 -> 102 -> 101", "template"),
    "clone of another kind": (vm_key(1, clone_from_vmid=101), VM, "vms[1].clone_from_vmid",
                              "101 is a container, and a VM is cloned", "another template"),
    "no environment at all": (edit("stacks", "shop", 0, "environments", to={}), VM,
                              "vms[1].docker_stacks[0]", "no environment 'production'",
                              "add environments.production to stacks/shop/phoenix.json"),
    "value that is no text": (edit("stacks", "shop", 0, "environments", "production", "variables",
                                   to=[{"name": "A", "value": True}]), SHOP,
                              "environments.production.variables[0].value", "should be text",
                              'in quotes, as "true"'),
    "cycle": (guest("103", "dependencies", ["1002"]), LXC, "lxc_configs.102.dependencies",
              "102 -> 103 -> 1002 -> 1001 -> 102", "remove one"),
    "own dependency": (guest("103", "dependencies", [103]), LXC, "lxc_configs.103.dependencies",
                       "103 -> 103", "remove one"),
    "route without port": (edit("vm", "vms", 0, "traefik_service", to={"name": "portainer"}), VM,
                           "vms[0].traefik_service.port", "no backend", 'add "port"'),
    "route to no published port": (stack_route("port", 8100), SHOP, f"{ROUTE}.port",
                                   "publishes no port 8100", "8100:"),
    "route to no service": (edit("stacks", "shop", 1, "services", to={"db": {}}), SHOP,
                            "environments.production.services.web", "no service 'web'", "db"),
    "empty stack route": (edit("stacks", "shop", 0, "environments", "production", "services",
                               to={"web": {}}), SHOP, "environments.production.services.web",
                          "without a backend", "traefik_service"),
    "no traefik": (no_role, LXC, "", "no guest has role 'traefik'", '"role": "traefik"'),
    "two gateways": (edit("vm", "vms", 0, "role", to="nginx"), LXC, "site.virtual_address",
                     "gateway and control have no address", '"virtual_address": "10.0.0.2"'),
    "foreign address": (address("102", "10.0.9.21/24"), LXC, "lxc_configs.102.network_config.ip",
                        "outside the site's network 10.0.0.0/24", "free address of 10.0.0.0/24"),
    "prefix of another size": (address("102", "10.0.0.21/16"), LXC,
                               "lxc_configs.102.network_config.ip", "outside", "free address"),
    "address of the gateway": (address("102", "10.0.0.1/24"), LXC,
                               "lxc_configs.102.network_config.ip", "network's gateway", "free"),
    "address of the hypervisor": (address("102", "10.0.0.13/24"), LXC,
                                  "lxc_configs.102.network_config.ip", "hypervisor's", "free"),
    "broadcast address": (address("102", "10.0.0.255/24"), LXC,
                          "lxc_configs.102.network_config.ip", "broadcast", "free"),
    "foreign router": (edit("lxc", "lxc_configs", "102", "network_config", "gw", to="10.1.0.1"),
                       LXC, "lxc_configs.102.network_config.gw", "outside", "10.0.0.1"),
    "no prefix": (address("102", "10.0.0.21"), LXC, "lxc_configs.102.network_config.ip",
                  "prefix length", "10.0.0.21/24"),
    "dhcp": (address("102", "dhcp"), LXC, "lxc_configs.102.network_config.ip", "fixed address",
             "10.0.0.5/24"),
    "host label": (guest("102", "name", "my_proxy"), LXC, "lxc_configs.102.name", "RFC 1123",
                   "hyphens"),
    "service label": (route("name", "Port ainer"), VM, "vms[0].traefik_service.name", "RFC 1123",
                      "lower-case"),
    "label too long": (route("name", "a" * 64), VM, "vms[0].traefik_service.name", "RFC 1123",
                       "1 to 63"),
    "port out of range": (route("port", 70000), VM, "vms[0].traefik_service.port", "too large",
                          "write a number up to 65535"),
    "bad scheme": (route("scheme", "ftp"), VM, "vms[0].traefik_service.scheme",
                   "not one of the allowed", "write 'http', 'https'"),
    "reserved ca": (route("name", "ca"), VM, "vms[0].traefik_service.name", "reserved", "another"),
    "reserved agent": (route("name", "portainer-agent"), VM, "vms[0].traefik_service.name",
                       "reserved", "another"),
    "reserved host": (stack_route("name", "host"), SHOP, f"{ROUTE}.name", "reserved", "another"),
    "reserved traefik": (route("name", "traefik"), VM, "vms[0].traefik_service.name",
                         "dashboard", "another"),
    "reserved home": (route("name", "home"), VM, "vms[0].traefik_service.name", "start page",
                      "another"),
    "stolen host name": (route("server_name", "worker.host.internal.thinkheads.ai"), VM,
                         "vms[0].traefik_service.server_name", "two owners claim worker.host.",
                         "leave server_name out"),
    "gateway's name": (route("server_name", "portainer.internal.thinkheads.ai"), VM,
                       "vms[0].traefik_service.server_name",
                       "two owners claim portainer.internal.", "leave server_name out"),
    "bad server name": (route("server_name", "*.internal.thinkheads.ai"), VM,
                        "vms[0].traefik_service.server_name", "is not a host name", "leave it out"),
    "unknown stack": (edit("vm", "vms", 1, "docker_stacks", to=["shop", {"name": "shap"}]), VM,
                      "vms[1].docker_stacks[1]", "unknown stack 'shap'; known are: shop",
                      "stacks/shap/phoenix.json"),
    "unknown environment": (edit("vm", "vms", 1, "docker_stacks", to=[
        {"name": "shop", "environment": "staging"}]), VM, "vms[1].docker_stacks[0]",
        "no environment 'staging'", "production"),
    "stack twice": (edit("vm", "vms", 1, "docker_stacks", to=["shop", {"name": "shop"}]), VM,
                    "vms[1].docker_stacks[1]", "deployed twice", "keep one"),
    "bad id": (lambda d: d.lxc["lxc_configs"].update({"web": lxc("web", None, 30)}), LXC,
               "lxc_configs.web", "is not a guest id", "number"),
    "bad mac": (guest("102", "mac_address", "52-54-00-00-00-14"), LXC,
                "lxc_configs.102.mac_address", "not a MAC", "52:54:00"),
    "missing key": (lambda d: d.lxc["lxc_configs"]["102"].pop("name"), LXC, "lxc_configs.102.name",
                    "required", "add"),
    "bad rule source": (guest("102", "firewall", {"rules": [
        {"type": "in", "action": "ACCEPT", "source": "lan"}]}), LXC,
        "lxc_configs.102.firewall.rules[0].source", "is not an IPv4", "10.0.0.0/24"),
    "bad rule port": (guest("102", "firewall", {"rules": [
        {"type": "in", "action": "ACCEPT", "proto": "tcp", "port": "80;443"}]}), LXC,
        "lxc_configs.102.firewall.rules[0].port", "names no port", "80,443"),
    "no list": (edit("vm", "vms", 1, "docker_stacks", to="shop"), VM, "vms[1].docker_stacks",
        "should be a list", '"shop"'),
    "no object": (edit("vm", "vms", 1, "network_config", to=[]), VM, "vms[1].network_config",
        "should be an object", "[]"),
    "rule ports backwards": (guest("102", "firewall", {"rules": [
        {"type": "in", "action": "ACCEPT", "proto": "tcp", "port": "443,90:80"}]}), LXC,
        "lxc_configs.102.firewall.rules[0].port", "names no port", "8000:8010"),
    "rule from the guest itself": (guest("102", "firewall", {"rules": [
        {"type": "out", "action": "ACCEPT", "source": "10.0.0.9"}]}), LXC,
        "lxc_configs.102.firewall.rules[0].source", "any other end", "write 'dest'"),
    "rule to the guest itself": (guest("102", "firewall", {"rules": [
        {"type": "in", "action": "DROP", "dest": "site", "source": "10.0.0.9"}]}), LXC,
        "lxc_configs.102.firewall.rules[0].dest", "any other end", "write 'source'"),
    "port without protocol": (guest("102", "firewall", {"rules": [
        {"type": "in", "action": "ACCEPT", "port": "80"}]}), LXC,
        "lxc_configs.102.firewall.rules[0]", "no protocol", "tcp"),
    "two agents": (agent_twice, VM, "vms[2]", "duplicate service name 'portainer-agent'",
                   "portainer_agent_hostname"),
    "name claimed twice": (edit("vm", "vms", 1, "dns_records", to=[
        {"hostname": "shop", "ip": "10.0.0.24"}]), VM, "vms[1].dns_records[0]",
        "two owners claim shop.internal.thinkheads.ai", "rename"),
    "foreign record": (edit("vm", "vms", 1, "dns_records", to=[
        {"hostname": "www.example.com", "ip": "10.0.0.24"}]), VM,
        "vms[1].dns_records[0].hostname", "is not a name in", "label"),
    "hypervisor's gateway": (hypervisor(ip="10.0.0.13/24", gateway="10.1.0.1"), LXC,
                             "site.hypervisor.gateway", "10.1.0.1", "router"),
    "hypervisor by dhcp": (hypervisor(ip="dhcp"), LXC, "site.hypervisor.ip", "fixed address",
                           "10.0.0.13/24"),
    "bad domain": (lambda d: d.lxc.update(site={"domain": "Internal"}), LXC, "site.domain",
                   "is not a domain name", "lower-case"),
    "variable without value": (edit("stacks", "shop", 0, "environments", "production", "variables",
                                    to=[{"name": "A"}]), SHOP,
                               "environments.production.variables[0]", "value or a secret",
                               '"secret"'),
    "bad port mapping": (publish("http:80"), SHOP_COMPOSE, "services.web.ports[1]",
                         "is not a port mapping", "HOST:CONTAINER"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "file", "path", "message", "fix"), REFUSALS.values(), ids=REFUSALS.keys()
)
def test_refused(
    tmp_path: Path,
    change: Callable[[Declaration], None],
    file: str,
    path: str,
    message: str,
    fix: str,
) -> None:
    declared = minimal()
    change(declared)
    finding = problem(declared.refused(tmp_path), file, path)
    assert message in finding.message, f"message was {finding.message!r}"
    assert fix in finding.fix, f"fix was {finding.fix!r}"
    assert finding.severity == "error", finding


def test_portainer_as_a_stack_of_its_own_guest_is_told(tmp_path: Path) -> None:
    """The original system's form: Phoenix runs Portainer itself, so nothing of it is deployed."""
    declared = minimal()
    portainer_stack("portainer", {})(declared)
    site = declared.load(tmp_path)
    finding = problem(site.warnings, VM, "vms[0].docker_stacks[0]")
    assert "ui-production is not deployed: it is Portainer itself" in finding.message
    assert "remove the entry" in finding.fix
    assert site.host("control").docker_stacks == ()


def test_dependency_on_a_template(tmp_path: Path) -> None:
    declared = minimal()
    declared.lxc["lxc_configs"]["900"] = lxc("base", None, 90, is_template=True)
    declared.lxc["lxc_configs"]["103"]["dependencies"] = ["900"]
    finding = problem(declared.refused(tmp_path), LXC, "lxc_configs.103.dependencies[0]")
    assert "template" in finding.message, finding


def test_all_errors_in_one_report(tmp_path: Path) -> None:
    declared = minimal()
    for change in (address("102", "10.0.0.20/24"), route("port", 0), stack_route("port", 8100)):
        change(declared)
    guest("101", "dependencies", ["777"])(declared)
    with pytest.raises(ConfigError) as caught:
        declared.load(tmp_path)
    places = {(f.file, f.path) for f in caught.value.findings}
    assert places == {
        (LXC, "lxc_configs.102.network_config.ip"),
        (LXC, "lxc_configs.101.dependencies[0]"),
        (VM, "vms[0].traefik_service.port"),
        (SHOP, f"{ROUTE}.port"),
    }, str(caught.value)
    text = str(caught.value)
    assert text.startswith("4 errors"), text
    assert text.count("fix:") == 4, text


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ('{\n  "a": 1,\n}', "line 2, column 9", "a comma before }"),
        ("[]", "", "is not a JSON object"),
        ('{"lxc_configs": {"101": {"name": "a", "name": "b"}}}', "lxc_configs.101.name", "twice"),
    ],
)
def test_malformed_file(tmp_path: Path, text: str, path: str, message: str) -> None:
    minimal().load(tmp_path)
    (tmp_path / LXC).write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_site(tmp_path)
    finding = problem(tuple(f for f in caught.value.findings if f.path == path), LXC, path)
    assert message in finding.message, finding


def test_missing_files_are_both_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_site(tmp_path)
    assert [f.file for f in caught.value.findings] == [LXC, VM], str(caught.value)


def test_malformed_compose_file(tmp_path: Path) -> None:
    minimal().load(tmp_path)
    (tmp_path / "stacks/shop/docker-compose.yml").write_text("services:\n  web: [\n")
    with pytest.raises(ConfigError) as caught:
        load_site(tmp_path)
    finding = problem(caught.value.findings, SHOP_COMPOSE, "line 3, column 1")
    assert "is not valid YAML" in finding.message, finding


def test_subnet_of_another_size(tmp_path: Path) -> None:
    findings = minimal().refused(tmp_path, subnet=IPv4Network("172.30.0.0/25"))
    assert "not of the size" in problem(findings, "subnet", "").message, findings


@pytest.mark.parametrize("misspelt", [("domian",), ("hypervisor", "getaway")])
def test_a_misspelt_key_of_the_site_is_refused(tmp_path: Path, misspelt: tuple[str, ...]) -> None:
    declared = minimal()
    declared.lxc["site"] = {"hypervisor": {"name": "phoenix", "ip": "10.0.0.13/24"}}
    edit("lxc", "site", *misspelt, to="10.0.0.1")(declared)
    (finding,) = declared.refused(tmp_path)
    assert finding.path == ".".join(("site", *misspelt))
    assert "did you mean" in finding.fix


def test_a_rule_of_another_private_network_is_told(tmp_path: Path) -> None:
    rule = {"type": "in", "action": "ACCEPT", "proto": "tcp", "port": "22"}
    declared = minimal()
    rules = [rule | {"source": "192.168.7.0/24"}, rule | {"source": "10.0.0.0/24"}]
    guest("101", "firewall", {"rules": rules})(declared)
    warnings = [w for w in declared.load(tmp_path).warnings if "is not the site's" in w.message]
    assert [w.path for w in warnings] == ["lxc_configs.101.firewall.rules[0].source"]


def test_two_hosts_of_one_name_are_one_finding(tmp_path: Path) -> None:
    declared = minimal()
    declared.vm["vms"][1]["name"] = "Control"
    (finding,) = declared.refused(tmp_path)
    assert "duplicate host name control" in finding.message


@pytest.mark.parametrize(
    ("keys", "path"),
    [
        ({"environment": {"A": "${AGENT_SECRET}"}}, "services.web.environment.A"),
        ({"environment": {"A": "x-${AGENT_SECRET:-none}"}}, "services.web.environment.A"),
        ({"environment": {"A": "$$$AGENT_SECRET"}}, "services.web.environment.A"),
        ({"environment": {"AGENT_SECRET": None}}, "services.web.environment.AGENT_SECRET"),
        ({"environment": ["B=1", "AGENT_SECRET"]}, "services.web.environment[1]"),
        ({"volumes": ["${HOME}/data:/data"]}, "services.web.volumes[0]"),
        ({"command": "$AGENT_SECRETé"}, "services.web.command"),
        ({"command": "${NONE:-$AGENT_SECRETé}"}, "services.web.command"),
        ({"command": "$AGENT_SECRETS"}, None),
        ({"environment": {"A": "$$AGENT_SECRET", "HOME": "/srv", "B": "${HOMES:-x}"}}, None),
        ({"environment": ["HOME=/srv", "PATH=/bin:$$PATH"]}, None),
    ],
)
def test_a_stack_that_takes_a_variable_of_what_deploys_it_is_refused(
    tmp_path: Path, keys: dict[str, Any], path: str | None
) -> None:
    """Compose fills in those of its own process first: AGENT_SECRET opens every Docker host."""
    declared = minimal()
    declared.stacks["shop"][1]["services"]["web"] |= keys
    if path is None:
        assert declared.load(tmp_path)
        return
    (finding,) = declared.refused(tmp_path)
    assert (finding.file, finding.path) == (SHOP_COMPOSE, path), finding
    assert "is of the server that deploys the stack" in finding.message
    assert "another name" in finding.fix


def test_a_secret_or_variable_of_such_a_name_is_refused(tmp_path: Path) -> None:
    declared = minimal()
    declared.stacks["shop"][1]["secrets"] = {"key": {"environment": "AGENT_SECRET"}}
    manifest = declared.stacks["shop"][0]["environments"]["production"]
    manifest["variables"] = [{"name": "PATH", "value": "/srv"}]
    fixes = {(finding.file, finding.path): finding.fix for finding in declared.refused(tmp_path)}
    assert set(fixes) == {
        (SHOP_COMPOSE, "secrets.key.environment"),
        (SHOP, "environments.production.variables[0]"),
    }
    assert fixes[SHOP, "environments.production.variables[0]"] == "give the variable another name"
