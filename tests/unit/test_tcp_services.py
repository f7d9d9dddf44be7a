"""Services that speak no HTTP: by a port of the gateway, which hands them on byte by byte."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from phoenix.components.nginx.nginx_conf import STREAM_PACKAGE, nginx_config, packages
from phoenix.derived import firewall
from phoenix.derived.certificates import certificates, is_passthrough
from phoenix.derived.components import COMPONENTS, component_hosts, components_of
from phoenix.derived.dns import records
from phoenix.derived.find import find
from phoenix.derived.routes import gateway_names, routes
from phoenix.explain.explanation import explain
from phoenix.explain.model import Explanation
from phoenix.health.checks import checks
from phoenix.health.paths import paths, request_paths
from phoenix.site.model import Site
from tests.unit.site_builder import LXC, Declaration, lxc, minimal, problem
from tests.unit.test_check_script import fault, stand_in

ZONE = "internal.thinkheads.ai"
GIT: dict[str, Any] = {"name": "git", "port": 22, "scheme": "tcp", "gateway_port": 2222}
DB: dict[str, Any] = {"name": "db", "port": 5432, "scheme": "tls"}
PLACE = "lxc_configs.104.traefik_services"


def declared(*services: dict[str, Any]) -> Declaration:
    result = minimal()
    result.lxc["lxc_configs"]["104"] = lxc("data", None, 25, traefik_services=list(services))
    return result


def gateway(site: Site) -> str:
    return nginx_config(
        site, client_certificate="ab" * 32,
        hsts_seconds=60, max_body="1m", read_timeout="9s",
    )[0]  # fmt: skip


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return declared(GIT, DB, {**DB, "name": "more", "port": 5433, "gateway_port": 5432}).load(
        tmp_path
    )


def test_its_name_leads_to_the_gateway_and_to_no_router(site: Site) -> None:
    addresses = {record.name: record.address for record in records(site)}
    assert site.gateway is not None
    assert {addresses[f"{name}.{ZONE}"] for name in ("git", "db", "more")} == {site.gateway.address}
    assert not {f"git.{ZONE}", f"db.{ZONE}"} & set(gateway_names(site))
    held = {
        name
        for certificate in certificates(site)
        if certificate.host == site.gateway
        for name in certificate.sans
    }
    assert held == set(gateway_names(site)), "the gateway could pass for what it hands on"
    assert not [route for route in routes(site) if route.service.kind == "tcp"]


def test_the_gateway_hands_on_by_port_and_by_name(site: Site) -> None:
    text = gateway(site)
    assert "load_module /usr/lib/nginx/modules/ngx_stream_module.so;" in text
    stream = text[text.index("\nstream {") :]
    plain, shared = (
        re.search(rf"listen {port} .*?\n    }}", stream, re.DOTALL) for port in (2222, 5432)
    )
    assert plain is not None
    assert shared is not None
    assert "proxy_pass 10.0.0.25:22;" in plain[0]
    assert "ssl_preread" not in plain[0]
    assert "ssl_preread on;" in shared[0]
    assert "proxy_pass $target_5432;" in shared[0]
    names = dict(re.findall(rf"^        (\S+{re.escape(ZONE)}) (\S+);", stream, re.M))
    assert names == {f"db.{ZONE}": "10.0.0.25:5432", f"more.{ZONE}": "10.0.0.25:5433"}
    assert packages(site) == (STREAM_PACKAGE,)


def test_a_site_without_one_has_no_stream(tmp_path: Path) -> None:
    plain = minimal().load(tmp_path)
    assert "\nstream {" not in gateway(plain)
    assert "load_module" not in gateway(plain)
    assert packages(plain) == ()


def test_what_has_tls_proves_its_own_name_and_the_gateway_passes_the_proof_on(site: Site) -> None:
    (own,) = [certificate for certificate in certificates(site) if certificate.host.name == "data"]
    assert own.sans == (f"data.host.{ZONE}", f"db.{ZONE}", f"more.{ZONE}")
    text = gateway(site)
    assert f"server_name db.{ZONE};" in text
    assert text.count("proxy_pass http://10.0.0.25:80;") == 2


def test_one_name_at_two_ports_is_one_question_of_the_ca_s(tmp_path: Path) -> None:
    """nginx takes a name twice at one port for a mistake, and hears the first alone."""
    text = gateway(declared(DB, {**DB, "port": 5433, "gateway_port": 5433}).load(tmp_path))
    assert text.count(f"server_name db.{ZONE};") == 1


def test_a_stack_s_service_proves_it_by_the_stack_s_own_pair(tmp_path: Path) -> None:
    declaration = minimal()
    web = declaration.stacks["shop"][0]["environments"]["production"]["services"]["web"]
    web["traefik_service"] |= {"scheme": "tls", "gateway_port": 8883, "aliases": ["mqtt"]}
    site = declaration.load(tmp_path)
    (pair,) = [certificate for certificate in certificates(site) if certificate.project]
    assert pair.sans == (f"shop.{ZONE}", f"mqtt.{ZONE}")


def test_flows_lead_through_the_gateway(site: Site) -> None:
    flows = {
        (
            str(firewall.network_of(flow.source)),
            str(firewall.network_of(flow.destination)),
            flow.port,
        )
        for flow in firewall.flows(site)
    }
    assert {
        ("10.0.0.0/24", "10.0.0.20/32", 2222), ("10.0.0.20/32", "10.0.0.25/32", 22),
        ("10.0.0.0/24", "10.0.0.20/32", 5432), ("10.0.0.20/32", "10.0.0.25/32", 5432),
        ("10.0.0.20/32", "10.0.0.25/32", 80),
    } <= flows  # fmt: skip
    assert ("10.0.0.0/24", "10.0.0.25/32", 5432) not in flows, "nobody goes past the gateway"


def test_each_is_checked_through_the_gateway(site: Site) -> None:
    client = site.hypervisor.name
    own_checks = {
        (c.host, c.function, c.command[1:3]) for c in checks(site) if c.service == "git:2222"
    }
    assert own_checks == {
        (client, "port_answers", ("10.0.0.20", "2222")),
        ("gateway", "port_answers", ("10.0.0.25", "22")),
        (client, "tcp_passes", ("10.0.0.20", "2222")),
    }  # fmt: skip
    verified = [c for c in checks(site) if c.service == "db:5432" and c.function == "tls_verifies"]
    assert {(c.host, c.command[1:4]) for c in verified} == {
        (client, ("10.0.0.20", "5432", f"db.{ZONE}")),
        ("gateway", ("10.0.0.25", "5432", f"db.{ZONE}")),
    }  # fmt: skip
    assert set(checks(site)) == {check for path in paths(site) for check in path.checks}
    titles = [check.title for check in checks(site)]
    assert len(titles) == len(set(titles))
    assert request_paths(site)["db:5432"].name == f"tls://db.{ZONE}:5432"


def test_it_is_found_and_explained(site: Site) -> None:
    (service,) = find(site, "git")
    explanation = explain(site, "git")
    assert isinstance(explanation, Explanation)
    assert explanation.router is None
    assert any("port 2222 of the gateway" in fact for fact in explanation.facts)
    assert {flow.what for flow in explanation.flows} >= {"tcp 2222", "tcp 22"}
    assert explanation.title == f"service {service.name}" == "service git:2222"
    names = {component.name for component in components_of(site, site.service("git:2222"))}
    assert "nginx" in names
    assert "traefik" not in names


def test_networks_hold_for_a_port_too(tmp_path: Path) -> None:
    site = declared({**GIT, "allowed_networks": ["192.168.7.0/24"]}).load(tmp_path)
    assert "allow 192.168.7.0/24;\n        deny all;" in gateway(site)
    asking = {c.host for c in checks(site) if c.service == "git:2222"}
    assert asking == {"gateway"}, "the hypervisor is turned away"


def test_one_name_may_have_a_page_and_a_port(tmp_path: Path) -> None:
    web = {"name": "git", "port": 3000, "scheme": "https"}
    site = declared(web, GIT).load(tmp_path)
    assert f"git.{ZONE}" in gateway_names(site)
    assert {service.name for service in site.services if service.label == "git"} == {
        "git",
        "git:2222",
    }


@pytest.mark.parametrize(
    ("services", "path", "message"),
    [
        ([{**GIT, "gateway_port": 443}], f"{PLACE}[0].gateway_port", "taken by Nginx"),
        ([{**GIT, "gateway_port": 22}], f"{PLACE}[0].port", "taken by SSH"),
        ([{**GIT, "port": 80, "gateway_port": None}], f"{PLACE}[0].port", "taken by Nginx"),
        (
            [GIT, {**DB, "gateway_port": 2222}],
            f"{PLACE}[0].gateway_port",
            "taken by the service db",
        ),
        ([DB, {**DB, "name": "e", "read_timeout": "1h"}], f"{PLACE}[1].port", "its options not"),
        (
            [DB, {"name": "db", "port": 80, "scheme": "http"}],
            f"{PLACE}[0].name",
            "proven by the gateway",
        ),
        ([GIT, GIT], f"{PLACE}[1]", "duplicate service name 'git:2222'"),
        ([{**GIT, "path": "/a"}], f"{PLACE}[0].path", "carries no requests of HTTP"),
        (
            [{**GIT, "basic_auth": [{"user": "a", "secret": "A"}]}],
            f"{PLACE}[0].basic_auth",
            "no requests",
        ),
        ([{**GIT, "exposure": "direct"}], f"{PLACE}[0].exposure", "goes through the gateway"),
        ([{**GIT, "scheme": "https"}], f"{PLACE}[0].gateway_port", "asked by HTTPS"),
    ],
)
def test_what_cannot_be_is_refused(
    tmp_path: Path, services: list[dict[str, Any]], path: str, message: str
) -> None:
    declared_services = [
        {k: v for k, v in service.items() if v is not None} for service in services
    ]
    finding = problem(declared(*declared_services).refused(tmp_path), LXC, path)
    assert message in finding.message
    assert finding.fix


@pytest.fixture
def port() -> Iterator[tuple[int, list[str]]]:
    """A server on the loopback; the list says what it does with a connection."""
    ways: list[str] = ["wait"]
    with socket.create_server(("127.0.0.1", 0)) as server:
        connections: list[socket.socket] = []

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                if ways[0] == "close":
                    connection.close()
                    continue
                if ways[0] == "speak":
                    connection.sendall(b"SSH-2.0-x\r\n")
                connections.append(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1], ways
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
        for connection in connections:
            connection.close()


@pytest.mark.parametrize(("way", "words"), [("wait", ""), ("speak", ""), ("close", "closes")])
def test_a_gateway_that_reaches_nothing_is_told(
    tmp_path: Path, port: tuple[int, list[str]], way: str, words: str
) -> None:
    port[1][0] = way
    fault_text = fault(tmp_path, "tcp_passes", "127.0.0.1", str(port[0]))
    assert words in fault_text
    assert bool(fault_text) == bool(words)


def test_a_port_that_is_silent_to_the_question_accepts_nothing(tmp_path: Path) -> None:
    stand_in(tmp_path, "timeout", "exit 124")  # as where a firewall drops it
    message = fault(tmp_path, "tcp_passes", "127.0.0.1", "1")
    assert message == "127.0.0.1 port 1 does not answer: the question is dropped, or not taken"


def test_its_certificate_is_issued_when_the_gateway_passes_on_the_question(tmp_path: Path) -> None:
    """The gateway knew of its name only two components later, so no first run went through."""
    site = declared(DB).load(tmp_path)
    (of_data,) = (
        certificate for certificate in certificates(site) if certificate.host.name == "data"
    )
    assert is_passthrough(site, of_data)
    assert [host.name for host in component_hosts("passthrough", site)] == ["data"]
    order = [component.name for component in COMPONENTS]
    assert order.index("nginx") < order.index("passthrough") < order.index("stacks")
    (db,) = (service for service in site.services if service.name.partition(":")[0] == "db")
    assert "passthrough" in [component.name for component in components_of(site, db)]
    others = [certificate for certificate in certificates(site) if certificate.host.name != "data"]
    assert not any(is_passthrough(site, other) for other in others)


def test_the_port_of_the_ca_is_none_that_serves_its_guest_s_own_pair(tmp_path: Path) -> None:
    site_ = minimal()
    site_.lxc["lxc_configs"]["103"]["traefik_services"] = [DB]
    asked = [check for check in checks(site_.load(tmp_path)) if check.function == "pair_is_served"]
    assert {question.port for question in asked if question.host == "authority"} == {5432}


def test_a_port_that_the_gateway_hands_on_is_nobody_else_s_on_its_guest(tmp_path: Path) -> None:
    declaration = declared({**GIT, "gateway_port": 8000})
    gateway_guest = declaration.lxc["lxc_configs"]["101"]
    gateway_guest["features"] = ["docker"]
    gateway_guest["docker_stacks"] = [{"name": "shop", "environment": "testing"}]
    declaration.stacks["shop"][0]["environments"]["testing"] = {}
    finding = problem(
        declaration.refused(tmp_path), "stacks/shop/docker-compose.yml", "services.web.ports"
    )
    assert finding.message == (
        "port 8000/tcp of gateway is taken by the gateway, for the service git:8000"
    )
