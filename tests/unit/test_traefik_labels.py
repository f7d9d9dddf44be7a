"""What Traefik labels say of a route, and what of it is carried out."""

from __future__ import annotations

from pathlib import Path

import pytest

from phoenix.declaration import traefik_labels
from phoenix.site.model import Service, Site
from tests.unit.site_builder import Declaration, minimal, problem

SHOP, COMPOSE = "stacks/shop/phoenix.json", "stacks/shop/docker-compose.yml"
LABELS = "environments.production.services.web.traefik_labels"
DOMAIN = "internal.thinkheads.ai"
ROUTER = "traefik.http.routers.shop"
PORT = "traefik.http.services.shop.loadbalancer.server.port=8000"


def labelled(*labels: str) -> Declaration:
    declaration = minimal()
    services = declaration.stacks["shop"][0]["environments"]["production"]["services"]
    services["web"] = {"traefik_labels": list(labels)}
    return declaration


def host(name: str) -> str:
    return f"Host(`{name}.{DOMAIN}`)"


def shop(site: Site) -> Service:
    return next(service for service in site.services if service.name == "shop")


@pytest.mark.parametrize(
    "rule",
    [f"{host('shop')} || {host('till')}", f"Host(`shop.{DOMAIN}`, `till.{DOMAIN}`)",
     f'Host("shop.{DOMAIN}")||Host("till.{DOMAIN}")'],
)  # fmt: skip
def test_further_hosts_are_aliases(tmp_path: Path, rule: str) -> None:
    site = labelled(f"{ROUTER}.rule={rule}", PORT).load(tmp_path)
    assert shop(site).names == (f"shop.{DOMAIN}", f"till.{DOMAIN}")


def test_a_host_outside_the_domain_is_refused(tmp_path: Path) -> None:
    rule = f"{host('shop')} || Host(`shop.example.com`)"
    findings = labelled(f"{ROUTER}.rule={rule}", PORT).refused(tmp_path)
    assert "shop.example.com" in problem(findings, SHOP, LABELS).message


@pytest.mark.parametrize(
    ("rule", "hosts", "path"),
    [("Host(`a`) && PathPrefix(`/x`)", ("a",), "/x"),
     ("PathPrefix(`/x/`) && Host(`a`)", ("a",), "/x"),
     ("(Host(`a`) || Host(`b`)) && PathPrefix(`/x`)", ("a", "b"), "/x"),
     ("PathPrefix(`/x`)&&(Host(`a`)||Host(`b`, `c`))", ("a", "b", "c"), "/x"),
     ("Host(`a`) && PathPrefix(`/`)", ("a",), None)],
)  # fmt: skip
def test_rules_with_a_path(rule: str, hosts: tuple[str, ...], path: str | None) -> None:
    labels = traefik_labels.read([f"{ROUTER}.rule={rule}"])
    assert (labels.hosts, labels.path, labels.refused) == (hosts, path, ())


def test_middlewares_that_a_route_has_a_key_for() -> None:
    labels = traefik_labels.read(
        [
            f"{ROUTER}.rule=Host(`shop.{DOMAIN}`) && PathPrefix(`/x`)",
            f"{ROUTER}.middlewares=cut@docker, lan",
            "traefik.http.middlewares.cut.stripprefix.prefixes=/x",
            "traefik.http.middlewares.lan.ipallowlist.sourcerange=10.0.0.0/24, 10.1.0.9",
            "traefik.http.serverstransports.t.servername=inner.example.com",
        ]
    )
    assert labels.refused == ()
    assert labels.declared(DOMAIN) == {
        "name": "shop", "scheme": "http", "path": "/x", "strip_path": True,
        "allowed_networks": ["10.0.0.0/24", "10.1.0.9"], "server_name": "inner.example.com",
    }  # fmt: skip


@pytest.mark.parametrize(
    "labels",
    [["traefik.http.routers.a.middlewares=cut",
      "traefik.http.middlewares.cut.stripprefix.prefixes=/y"],
     ["traefik.http.routers.a.middlewares=b,c",
      "traefik.http.middlewares.b.ipallowlist.sourcerange=10.0.0.0/24",
      "traefik.http.middlewares.c.ipwhitelist.sourcerange=10.0.0.0/25"]],
)  # fmt: skip
def test_middlewares_that_mean_more_are_refused(labels: list[str]) -> None:
    rule = "traefik.http.routers.a.rule=Host(`a.b`) && PathPrefix(`/x`)"
    assert [label.position for label in traefik_labels.read([rule, *labels]).refused] == [1]


@pytest.mark.parametrize(
    ("kind", "key"),
    [("basicauth.users=a:b", "basic_auth"), ("forwardauth.address=https://a", "forward_auth"),
     ("buffering.maxrequestbodybytes=1", "max_body")],
)  # fmt: skip
def test_a_middleware_that_has_a_key_of_its_own_names_it(kind: str, key: str) -> None:
    (refused,) = traefik_labels.read([f"traefik.http.middlewares.a.{kind}"]).refused
    assert key in refused.fix


def test_labels_that_take_nothing_away_are_told(tmp_path: Path) -> None:
    site = labelled(
        f"{ROUTER}.rule={host('shop')}",
        PORT,
        f"{ROUTER}.entrypoints=mesh",
        "traefik.http.services.shop.loadbalancer.serverstransport=t@docker",
        "traefik.http.serverstransports.t.insecureskipverify=true",
    ).load(tmp_path)
    assert "'mesh'" in problem(site.warnings, SHOP, f"{LABELS}[2]").message
    assert "never skipped" in problem(site.warnings, SHOP, f"{LABELS}[4]").message


def test_labels_of_others_are_told(tmp_path: Path) -> None:
    rule = f"{ROUTER}.rule={host('shop')}"
    site = labelled(rule, PORT, "Traefik.enable=true", "com.example.a=b").load(tmp_path)
    finding = problem(site.warnings, SHOP, f"{LABELS}[3]")
    assert "com.example.a" in finding.message
    assert [warning for warning in site.warnings if f"{LABELS}[2]" in warning.path] == []


@pytest.mark.parametrize(
    ("label", "words"),
    [(PORT, f"names no host in {DOMAIN}"), (f"{ROUTER}.rule={host('shop')}", "name no port: a")],
)
def test_labels_of_half_a_route_say_what_is_missing(tmp_path: Path, label: str, words: str) -> None:
    message = problem(labelled(label).refused(tmp_path), SHOP, LABELS).message
    assert words in message
    assert not message.endswith(": ")


def test_labels_of_a_compose_file_are_carried_out_nowhere(tmp_path: Path) -> None:
    for number, label in enumerate(
        (f"{ROUTER}.rule={host('shop')} || {host('till')}",
         f"{ROUTER}.rule={host('shop')} && PathPrefix(`/x`)",
         "traefik.http.middlewares.lan.ipallowlist.sourcerange=10.0.0.0/24",
         f"{ROUTER}.middlewares=lan")
    ):  # fmt: skip
        declaration = minimal()
        declaration.stacks["shop"][1]["services"]["web"]["labels"] = [label]
        problem(declaration.refused(tmp_path / str(number)), COMPOSE, "services.web.labels[0]")


def test_a_path_and_its_networks_reach_the_service(tmp_path: Path) -> None:
    site = labelled(
        f"{ROUTER}.rule={host('shop')} && PathPrefix(`/x`)",
        PORT,
        f"{ROUTER}.middlewares=cut,lan",
        "traefik.http.middlewares.cut.stripprefix.prefixes=/x",
        "traefik.http.middlewares.lan.ipallowlist.sourcerange=10.0.0.0/24",
    ).load(tmp_path)
    service = next(candidate for candidate in site.services if candidate.path == "/x")
    assert service.fqdn == f"shop.{DOMAIN}"
    assert service.strip_path
    assert [str(allowed_network) for allowed_network in service.options.allowed_networks] == [
        "10.0.0.0/24"
    ]
