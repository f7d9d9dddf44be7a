"""The site's own services (CA, Portainer, its agent): each key is carried out by all, or refused.

A site overrides the keys one by one; what listens, what connects, the firewall, the checks and what
is told to the operator must then say the same.
"""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from phoenix.components.nginx.nginx_conf import nginx_config
from phoenix.components.portainer import tunnel
from phoenix.components.portainer.compose_files import agent_compose, server_compose
from phoenix.components.portainer.tunnel import agent_url
from phoenix.components.step_ca.authority import Claims, config, directory_url
from phoenix.components.traefik.traefik_yml import dynamic_config, static_config
from phoenix.declaration.json_keys import RawService
from phoenix.derived import control_plane, dns, firewall
from phoenix.derived.certificates import certificates
from phoenix.derived.endpoints import endpoints
from phoenix.derived.routes import gateway_names
from phoenix.explain.explanation import explain
from phoenix.explain.model import Backend, Explanation
from phoenix.graph.topology import topology
from phoenix.health import paths
from phoenix.health.checks import checks
from phoenix.health.observation import request
from phoenix.site.model import Host, Service, Site
from tests.unit.site_builder import LXC, VM, Declaration, minimal, problem

ZONE = "internal.thinkheads.ai"
CA, AGENT, PORTAINER = "authority", "worker", "control"  # the guests of `minimal`


def declared(service: str, **keys: Any) -> Declaration:
    """The minimal site in which an own service's guest has these keys in its traefik_service."""
    declaration = minimal()
    guest, base = {
        "ca": (declaration.lxc["lxc_configs"]["103"], {"name": "ca", "exposure": "direct"}),
        "portainer": (declaration.vm["vms"][0], declaration.vm["vms"][0]["traefik_service"]),
        "agent": (declaration.vm["vms"][1], {"name": "portainer-agent", "exposure": "direct"}),
        "nginx": (declaration.lxc["lxc_configs"]["101"], {"name": "door", "port": 443}),
        "traefik": (declaration.lxc["lxc_configs"]["102"], {"name": "proxy", "port": 443}),
    }[service]
    guest["traefik_service"] = base | keys
    return declaration


def load(folder: Path, service: str, **keys: Any) -> Site:
    site = declared(service, **keys).load(folder)
    assert site.warnings == (), "\n".join(map(str, site.warnings))
    return site


# -- what each part of Phoenix says ----------------------------------------------------------------


def ports_checked(site: Site, host: str) -> set[int]:
    """Ports of a host that checks connect to, by address or by one of its names."""
    address = str(site.host(host).address)
    ports = set()
    for check in checks(site):
        if check.function.startswith("ports_are_shut"):
            continue  # it connects to what is not for it
        words = [word for word in check.command if word]
        ports |= {int(port) for word, port in pairwise(words) if word == address and port.isdigit()}
        urls = [urlsplit(word) for word in words if word.startswith("https://")]
        about = {site.host(host).fqdn, *(s.fqdn for s in site.services if s.owner.name == host)}
        ports |= {url.port for url in urls if url.port and url.hostname in about}
    return ports


def admitted(site: Site, host: str) -> set[int]:
    """TCP ports that the firewall opens at a host, but SSH and ACME's."""
    return {
        flow.port
        for flow in firewall.flows(site)
        if isinstance(flow.destination, Host) and flow.destination.name == host
        and flow.proto == "tcp" and flow.port not in (22, 80, 8000, None)
    }  # fmt: skip


def backend(site: Site, name: str) -> Backend:
    explanation = explain(site, name)
    assert isinstance(explanation, Explanation)
    assert explanation.backend is not None
    return explanation.backend


def ports_explained(site: Site, name: str) -> set[int | None]:
    """Ports in the explanation of a service: its backend's, and its flows' at the owner."""
    explanation = explain(site, name)
    assert isinstance(explanation, Explanation)
    owner = site.service(name).owner.name
    flows = {int(f.what.split()[1]) for f in explanation.flows if f.destination == owner}
    return {urlsplit(backend(site, name).url).port, *(flows - {80})}


def drawn(site: Site, name: str) -> set[int | None]:
    """Ports in the picture: of the service's own item, and of the links that end there."""
    picture = topology(site)
    (item,) = [i for box in picture.boxes for i in box.items if i.name == name]
    links = {link.port for link in picture.links if link.target == item.id}
    if name == "ca":
        links |= {link.port for link in picture.links if link.kind == "acme"}
    return {item.port, *links}


def served(site: Site, host: str) -> set[int]:
    return {end.port for end in endpoints(site) if end.host.name == host}


def agent_port(compose: str) -> int:
    return int(yaml.safe_load(compose)["services"]["main"]["environment"]["AGENT_PORT"])


def listens(compose: str) -> int:
    words = yaml.safe_load(compose)["services"]["main"]["command"]
    return int(words[words.index("--bind-https") + 1].removeprefix(":"))


def tunnel_ends(service: Service, server: Host) -> str:
    return tunnel.at_the_agent(service, server) + tunnel.at_the_server([service], server)


def traefik_url(site: Site, name: str) -> str:
    services = yaml.safe_load(dynamic_config(site)[0])["http"]["services"]
    return str(services[name]["loadBalancer"]["servers"][0]["url"])


# -- keys that are carried out ---------------------------------------------------------------------


@pytest.mark.parametrize("port", [9000, 9443])
def test_port_of_the_ca_is_one_for_all(tmp_path: Path, port: int) -> None:
    site = load(tmp_path, "ca", port=port)
    settings = json.loads(config(site, Claims("5m", "24h", "24h")))
    ways = {
        "service": {site.service("ca").port},
        "listens": {int(settings["address"].removeprefix(":"))},
        "ACME directory": {urlsplit(directory_url(site)).port},
        "firewall": admitted(site, CA),
        "checks": ports_checked(site, CA),
        "endpoints": served(site, CA),
        "explain": ports_explained(site, "ca"),
        "graph": drawn(site, "ca"),
    }
    assert ways == {way: {port} for way in ways}


@pytest.mark.parametrize("port", [9001, 443])
def test_port_of_the_agent_is_one_for_all(tmp_path: Path, port: int) -> None:
    site = load(tmp_path, "agent", port=port)
    service = control_plane.agent(site, site.host(AGENT))
    ends = tunnel_ends(service, site.host("control"))
    ways = {
        "service": {service.port},
        "listens": {agent_port(agent_compose("example/agent:1", service.port))},
        "tunnel": set(map(int, re.findall(r":(\d+)$", ends, re.M))),
        "endpoints": served(site, AGENT) - {8000},
        "Portainer's URL of it": {urlsplit(agent_url(service)).port},
        "firewall": admitted(site, AGENT),
        "checks": ports_checked(site, AGENT) - {8000},
        "explain": ports_explained(site, "portainer-agent"),
        "graph": drawn(site, "portainer-agent"),
    }
    assert ways == {way: {port} for way in ways}


@pytest.mark.parametrize("exposure", ["gateway", "direct"])
@pytest.mark.parametrize("port", [9443, 443])
def test_port_of_portainer_is_one_for_all(tmp_path: Path, port: int, exposure: str) -> None:
    site = load(tmp_path, "portainer", port=port, exposure=exposure)
    compose = server_compose("example/portainer:1", control_plane.portainer_port(site))
    ways: dict[str, set[int | None]] = {
        "service": {site.service("portainer").port},
        "listens": {listens(compose)},
        "API": {urlsplit(control_plane.portainer_url(site)).port},
        "status": {urlsplit(request(site, site.host(PORTAINER)).portainer["url"]).port},
        "firewall": {*admitted(site, PORTAINER)},
        "checks": {*ports_checked(site, PORTAINER)},
        "endpoints": {*served(site, PORTAINER)},
        "explain": ports_explained(site, "portainer"),
        "graph": drawn(site, "portainer"),
    }
    if exposure == "gateway":
        ways["Traefik"] = {urlsplit(traefik_url(site, "portainer")).port}
    assert ways == {way: {port} for way in ways}


def test_portainer_without_a_route_has_its_default_port(tmp_path: Path) -> None:
    declaration = minimal()
    del declaration.vm["vms"][0]["traefik_service"]
    site = declaration.load(tmp_path)
    assert control_plane.portainer_url(site) == f"https://control.host.{ZONE}:9443"


def test_direct_portainer_is_reached_by_clients_and_not_by_traefik(tmp_path: Path) -> None:
    site = load(tmp_path, "portainer", exposure="direct")
    fqdn = f"portainer.{ZONE}"
    owner = site.host(PORTAINER)
    flows = [
        flow for flow in firewall.flows(site) if (flow.destination, flow.port) == (owner, 9443)
    ]
    assert [flow.source for flow in flows] == [site.network]
    assert {r.address for r in dns.records(site) if r.name == fqdn} == {owner.address}
    assert fqdn not in gateway_names(site)
    assert fqdn not in dynamic_config(site)[0]
    (own,) = [certificate.sans for certificate in certificates(site) if certificate.host == owner]
    assert fqdn in own
    functions = {(c.host, c.function) for c in checks(site) if c.service == "portainer" and c.port}
    assert functions == {
        (site.hypervisor.name, function)
        for function in ("port_answers", "served_is_fresh", "tls_verifies")
    }
    (path,) = [path_ for path_ in paths.paths(site) if path_.name == f"https://{fqdn}:9443"]
    assert {c for c in checks(site) if c.service == "portainer" and c.port} <= set(path.checks)
    links = {x.source for x in topology(site).links if x.target == "service-portainer"}
    assert links == {"client"}
    explanation = explain(site, "portainer")
    assert isinstance(explanation, Explanation)
    assert (explanation.gateway, explanation.router) == (None, None)
    assert any("a client to portainer" in check for check in explanation.checks), explanation.checks


def test_name_of_portainer_is_one_for_all(tmp_path: Path) -> None:
    site = load(tmp_path, "portainer", name="boxes")
    everything = all_texts(site)
    assert f"portainer.{ZONE}" not in everything
    for part in (dns.records(site), gateway_names(site), dynamic_config(site), checks(site)):
        assert f"boxes.{ZONE}" in str(part)
    assert backend(site, "boxes").host == PORTAINER


def test_name_of_the_agent_is_one_for_all(tmp_path: Path) -> None:
    declaration = declared("agent", name="spy", port=9100)
    declaration.vm["vms"][1]["portainer_agent_hostname"] = f"spy.{ZONE}"
    site = declaration.load(tmp_path)
    assert site.warnings == ()
    service = control_plane.agent(site, site.host(AGENT))
    assert urlsplit(agent_url(service)).port == 9100
    assert f"portainer-agent.{ZONE}" not in all_texts(site)
    assert f"spy.{ZONE}" in str(dns.records(site))
    assert backend(site, "spy").url == f"https://{site.host(AGENT).address}:9100"


def test_another_service_of_an_agents_guest_leaves_the_agent_alone(tmp_path: Path) -> None:
    site = load(tmp_path, "agent", name="web", port=8500, scheme="https", exposure="gateway")
    assert control_plane.agent(site, site.host(AGENT)).port == 9001
    assert site.service("web").kind == "backend"


def test_server_name_of_portainer_is_one_for_all(tmp_path: Path) -> None:
    name = f"control-plane.{ZONE}"
    site = load(tmp_path, "portainer", server_name=name)
    (own,) = [
        certificate.sans for certificate in certificates(site) if certificate.host.name == PORTAINER
    ]
    transports = yaml.safe_load(dynamic_config(site)[0])["http"]["serversTransports"]
    verified = [c for c in checks(site) if c.function == "tls_verifies" and c.target == PORTAINER]
    assert name in own
    assert transports["portainer"]["serverName"] == name
    assert {check.command[3] for check in verified} == {name}
    assert {end.server_name for end in endpoints(site) if end.host.name == PORTAINER} == {name}
    assert backend(site, "portainer").verified == name
    assert name in str(dns.records(site))
    links = [link for link in topology(site).links if link.target == "service-portainer"]
    assert {link.verified for link in links} == {name}


def test_health_path_of_portainer_is_one_for_all(tmp_path: Path) -> None:
    site = load(tmp_path, "portainer", health_path="/api/status")
    (asked_for,) = [
        c.command[2]
        for c in checks(site)
        if c.function == "request_gives" and c.service == "portainer"
    ]
    assert asked_for == f"https://portainer.{ZONE}/api/status"
    assert backend(site, "portainer").health == "/api/status"


def test_further_names_of_portainer(tmp_path: Path) -> None:
    site = declared("portainer", aliases=["docks"]).load(tmp_path)
    assert f"docks.{ZONE}" in gateway_names(site)
    assert f"docks.{ZONE}" in {record.name for record in dns.records(site)}


def test_portainer_on_a_container_speaks_tls_too(tmp_path: Path) -> None:
    """A container's services are plain HTTP where nothing is said; Portainer has no such port."""
    declaration = minimal()
    entry = declaration.vm["vms"].pop(0) | {"traefik_service": {"name": "portainer", "port": 9443}}
    declaration.lxc["lxc_configs"][str(entry.pop("vmid"))] = entry
    site = declaration.load(tmp_path)
    assert traefik_url(site, "portainer").startswith("https://")
    assert site.warnings == ()


def all_texts(site: Site) -> str:
    """All that is derived of a site, as one text."""
    parts: tuple[object, ...] = (
        site.services, dns.records(site), firewall.flows(site), certificates(site),
        endpoints(site), gateway_names(site), dynamic_config(site),
        static_config(site, metrics=False),
        checks(site), topology(site), paths.paths(site),
        *(explain(site, service.name) for service in site.services),
    )  # fmt: skip
    return "\n".join(map(str, parts))


# -- keys that cannot be carried out ---------------------------------------------------------------

PLACES = {
    "ca": (LXC, "lxc_configs.103"),
    "portainer": (VM, "vms[0]"),
    "agent": (VM, "vms[1]"),
    "nginx": (LXC, "lxc_configs.101"),
    "traefik": (LXC, "lxc_configs.102"),
}
OTHER = f"other.{ZONE}"
REFUSED: dict[tuple[str, str], tuple[Any, str, str]] = {
    ("ca", "scheme"): ("http", "the CA always has 'https'", "remove the key"),
    ("ca", "server_name"): (OTHER, f"the CA always has 'ca.{ZONE}'", "remove the key"),
    ("ca", "health_path"): ("/live", "the CA always has '/health'", "remove the key"),
    ("ca", "aliases"): (["pki"], "the CA has a single name", "remove the key"),
    ("agent", "aliases"): (["docks"], "agent has a single name", "remove the key"),
    ("ca", "port"): (443, "has no privilege to listen below 1024", "such as 9000"),
    ("agent", "scheme"): ("http", "agent always has 'https'", "remove the key"),
    ("agent", "server_name"): (OTHER, f"'portainer-agent.{ZONE}'", "remove the key"),
    ("agent", "health_path"): ("/live", "agent always has '/ping'", "remove the key"),
    ("agent", "port"): (80, "port 80/tcp of worker is taken by the ACME", "another port"),
    ("portainer", "scheme"): ("http", "Portainer always has 'https'", "remove the key"),
    ("portainer", "server_name"): ("box.example.com", "gets no certificate", "remove the key"),
    ("portainer", "port"): (22, "port 22/tcp of control is taken by SSH", "another port"),
}
# Keys that the proxies carry out, or that make another route of it.
OF_A_PROXY: dict[str, Any] = {
    "path": "/x",
    "strip_path": True,
    "allowed_networks": ["site"],
    "basic_auth": [{"user": "anna", "secret": "ANNA_PASSWORD"}],
    "forward_auth": {"url": "https://10.0.0.9/verify"},
    "request_headers": {"X-A": "b"},
    "response_headers": {"X-A": "b"},
    "max_body": "1g",
    "connect_timeout": "1s",
    "read_timeout": "1h",
    "health_status": 204,
    "check": "none",
    "redirect_to": "https://example.com",
    "redirect_permanent": True,
    "redirect_keep_path": True,
    "gateway_port": 2222,
}
OF_THE_PAGE = {"description": "What we know", "icon": "W"}
REFUSED |= {
    (service, key): (value, "does not take this key: it is reached directly", "remove the key")
    for service in ("ca", "agent")
    for key, value in {**OF_A_PROXY, **OF_THE_PAGE}.items()
} | {
    ("portainer", "path"): ("/x", "it needs every path of its name", "remove the key"),
    ("portainer", "redirect_to"): ("https://a.b", "it needs every path", "remove the key"),
    ("portainer", "strip_path"): (True, "there is no path to strip", "remove the key"),
    ("portainer", "redirect_permanent"): (True, "there is no redirect_to", "remove the key"),
    ("portainer", "gateway_port"): (2222, "it is asked by HTTPS", "remove the key"),
    ("portainer", "redirect_keep_path"): (True, "there is no redirect_to", "remove the key"),
}
WARNED: dict[tuple[str, str], tuple[Any, str]] = {
    ("ca", "exposure"): ("gateway", "never through the gateway"),
    ("ca", "name"): ("authority", "the CA is called 'ca'"),
    ("agent", "exposure"): ("gateway", "never through the gateway"),
}
CARRIED_OUT = {
    ("agent", "name"),  # with portainer_agent_hostname
    *(("portainer", key) for key in ("name", "exposure", "health_path", "aliases")),
    *(("portainer", key) for key in OF_THE_PAGE),
    *(("portainer", key) for key in OF_A_PROXY if ("portainer", key) not in REFUSED),
}


@pytest.mark.parametrize(
    "key", sorted(k for s, k in CARRIED_OUT if s == "portainer" and k in OF_A_PROXY)
)
def test_what_the_proxies_do_they_do_for_portainer_too(tmp_path: Path, key: str) -> None:
    before, site = (
        minimal().load(tmp_path / "a"),
        load(tmp_path, "portainer", **{key: OF_A_PROXY[key]}),
    )
    outputs = [
        (dynamic_config(version)[0], gateway_text(version), checks(version))
        for version in (before, site)
    ]
    assert outputs[0] != outputs[1], f"{key} changes nothing"
    assert control_plane.portainer(site) == site.service("portainer")


def test_what_the_page_tells_of_portainer(tmp_path: Path) -> None:
    service = load(tmp_path, "portainer", **OF_THE_PAGE).service("portainer")
    assert (service.description, service.icon) == ("What we know", "W")


def gateway_text(site: Site) -> str:
    return nginx_config(
        site, client_certificate="ab" * 32,
        hsts_seconds=0, max_body="1m", read_timeout="9s",
    )[0]  # fmt: skip


def test_each_key_of_each_own_service_is_walked() -> None:
    expected = {(s, key) for s in ("ca", "portainer", "agent") for key in RawService.model_fields}
    assert expected == {*REFUSED, *WARNED, *CARRIED_OUT}


@pytest.mark.parametrize(("service", "key"), REFUSED)
def test_refused(tmp_path: Path, service: str, key: str) -> None:
    value, message, fix = REFUSED[service, key]
    file, path = PLACES[service]
    findings = declared(service, **{key: value}).refused(tmp_path)
    finding = problem(findings, file, f"{path}.traefik_service.{key}")
    assert message in finding.message
    assert fix in finding.fix


@pytest.mark.parametrize(("service", "key"), WARNED)
def test_warned_of(tmp_path: Path, service: str, key: str) -> None:
    value, message = WARNED[service, key]
    file, path = PLACES[service]
    site = declared(service, **{key: value}).load(tmp_path)
    (warning,) = site.warnings
    assert (warning.file, warning.path.removesuffix(f".{key}")) == (file, f"{path}.traefik_service")
    assert message in warning.message
    assert site.service("ca").fqdn == f"ca.{ZONE}"
    assert site.service("portainer-agent").exposure == site.service("ca").exposure == "direct"


@pytest.mark.parametrize("service", ["nginx", "traefik"])
@pytest.mark.parametrize("keys", [{"port": 8443}, {"scheme": "http"}, {"health_path": "/x"}])
def test_gateway_and_traefik_have_no_key_at_all(
    tmp_path: Path, service: str, keys: dict[str, Any]
) -> None:
    site = declared(service, **keys).load(tmp_path)
    (warning,) = site.warnings
    file, path = PLACES[service]
    assert (warning.file, warning.path) == (file, f"{path}.traefik_service")
    assert "through itself" in warning.message
    assert site.services == minimal().load(tmp_path).services


def test_direct_service_that_proves_another_name_than_clients_ask_for(tmp_path: Path) -> None:
    declaration = declared("portainer", exposure="direct", server_name=OTHER)
    (warning,) = declaration.load(tmp_path).warnings
    assert warning.path == "vms[0].traefik_service.server_name"
    assert f"its certificate proves {OTHER}" in warning.message


def test_two_services_of_a_guest_cannot_share_a_port(tmp_path: Path) -> None:
    declaration = declared("agent", name="web", port=9001, scheme="https", exposure="gateway")
    finding = problem(declaration.refused(tmp_path), VM, "vms[1].traefik_service.port")
    assert "taken by the Portainer agent" in finding.message


def test_stack_cannot_publish_the_port_that_the_agent_was_given(tmp_path: Path) -> None:
    declaration = declared("agent", port=8000)
    finding = problem(
        declaration.refused(tmp_path), "stacks/shop/docker-compose.yml", "services.web.ports"
    )
    assert "taken by the Portainer agent" in finding.message
    assert declared("agent", port=8001).load(tmp_path / "other").service("shop").port == 8000


# -- fixed ports -----------------------------------------------------------------------------------


def test_traefik_listens_where_the_gateway_the_firewall_and_the_checks_look(tmp_path: Path) -> None:
    site = minimal().load(tmp_path)
    listens = yaml.safe_load(static_config(site, metrics=False))["entryPoints"]["websecure"][
        "address"
    ]
    ways = {
        "listens": {int(listens.removeprefix(":"))},
        "firewall": admitted(site, "proxy"),
        "checks": ports_checked(site, "proxy"),
        "endpoints": served(site, "proxy"),
    }
    assert ways == {way: {443} for way in ways}


def test_nginx_listens_where_clients_the_firewall_and_the_checks_look(tmp_path: Path) -> None:
    site = minimal().load(tmp_path)
    text, _ = nginx_config(
        site, client_certificate="ab" * 32,
        hsts_seconds=0, max_body="1m", read_timeout="9s",
    )  # fmt: skip
    listens = {int(port) for port in re.findall(r"^ *listen (\d+)[ ;]", text, re.MULTILINE)}
    (upstream,) = set(re.findall(rf"^ *server {site.host('proxy').address}:(\d+) ", text, re.M))
    to_gateway = {
        f.port for f in firewall.flows(site) if f.destination == site.gateway and f.proto == "tcp"
    }
    assert listens == to_gateway - {22} == {80, 443}
    assert (served(site, "gateway"), ports_checked(site, "gateway")) == ({443}, {443})
    assert {int(upstream)} == served(site, "proxy")
