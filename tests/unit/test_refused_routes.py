"""What a route asks for is carried out or refused: nothing is left out that guards it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from phoenix.components import stack as deployment
from phoenix.components.stack import DeploymentError
from phoenix.declaration import traefik_labels
from phoenix.site.model import Deployment, Source, Variable
from tests.unit.site_builder import VM, Declaration, minimal, problem

SHOP = "stacks/shop/phoenix.json"
COMPOSE = "stacks/shop/docker-compose.yml"
WEB = "environments.production.services.web"
RULE = "traefik.http.routers.shop.rule=Host(`shop.internal.thinkheads.ai`)"
PORT = "traefik.http.services.shop.loadbalancer.server.port=8000"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("middlewares", ["auth"]),
        ("digest_auth", "admin:x"),
        ("geo_fence", ["XX"]),
        ("whitelist", ["10.0.0.0/24"]),
        ("path_regex", "/public"),
    ],
)
def test_unknown_key_of_a_route_is_an_error(tmp_path: Path, key: str, value: Any) -> None:
    declaration = minimal()
    declaration.vm["vms"][0]["traefik_service"][key] = value
    declaration.stacks["shop"][0]["environments"]["production"]["services"]["web"][
        "traefik_service"
    ][key] = value
    findings = declaration.refused(tmp_path)
    for file, path in ((VM, "vms[0].traefik_service"), (SHOP, f"{WEB}.traefik_service")):
        fault = problem(findings, file, f"{path}.{key}")
        assert "may be open to everyone" in fault.message
        assert "the service itself must ask" in fault.fix


def test_misspelt_key_of_a_route_is_an_error_with_the_right_one(tmp_path: Path) -> None:
    declaration = minimal()
    declaration.vm["vms"][0]["traefik_service"]["schema"] = "https"
    fault = problem(declaration.refused(tmp_path), VM, "vms[0].traefik_service.schema")
    assert fault.fix == "did you mean 'scheme'? else remove it"


def labelled(*labels: str) -> Declaration:
    declaration = minimal()
    services = declaration.stacks["shop"][0]["environments"]["production"]["services"]
    services["web"] = {"traefik_labels": list(labels)}
    return declaration


def test_labels_that_say_what_phoenix_does_are_read(tmp_path: Path) -> None:
    plain = (
        "traefik.enable=true",
        RULE,
        "traefik.http.routers.shop.entrypoints=websecure",
        "traefik.http.routers.shop.tls=true",
        "traefik.http.routers.shop.tls.certresolver=internal-resolver",
        PORT,
        "traefik.http.services.shop.loadbalancer.server.scheme=https",
        "org.example.owner=me",
    )
    site = labelled(*plain).load(tmp_path)
    (service,) = [candidate for candidate in site.services if candidate.name == "shop"]
    assert (service.port, service.scheme) == (8000, "https")


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("traefik.http.routers.shop.middlewares=auth@file", "middlewares are not carried out"),
        ("traefik.http.middlewares.auth.basicauth.users=a:b", "middlewares are not carried out"),
        (RULE.replace("shop.rule", "more.rule") + " && PathPrefix(`/public`)", "a second rule"),
        (
            "traefik.http.routers.shop.rule=Host(`a`) || Host(`b`) && PathPrefix(`/c`)",
            "more than one",
        ),
        ("traefik.http.routers.shop.rule=Host(`a`) && Method(`GET`)", "more than one"),
        ("traefik.http.middlewares.lan.ipallowlist.sourcerange=10.0.0.0/8", "no router"),
        ("traefik.http.routers.shop.middlewares=cut@docker", "middlewares are not carried out"),
        ("traefik.http.serverstransports.a.rootcas=/x.pem", "not carried out"),
        ("traefik.http.services.shop.loadbalancer.passhostheader=false", "not carried out"),
        ("traefik.http.routers.shop.rule=HostRegexp(`.*`)", "more than one"),
        ("traefik.http.routers.shop.rule=!Host(`a`)", "more than one"),
        (RULE.replace("routers.shop", "routers.two").replace("`shop", "`two"), "a second rule"),
        (PORT.replace("8000", "8001").replace(".shop.", ".two."), "a second port"),
        ("traefik.http.routers.shop.priority=7", "not carried out"),
        ("traefik.tcp.routers.shop.rule=HostSNI(`*`)", "not carried out"),
        ("Traefik.HTTP.Routers.shop.Middlewares=auth", "middlewares are not carried out"),
        ("traefik.enable=false", "turns off a route"),
    ],
)
def test_label_that_is_not_carried_out_is_refused(tmp_path: Path, label: str, message: str) -> None:
    of_labels = labelled(RULE, PORT, label).refused(tmp_path / "labels")
    fault = problem(of_labels, SHOP, f"{WEB}.traefik_labels[2]")
    assert message in fault.message
    assert fault.fix


def test_label_of_a_routed_service_s_compose_file_is_refused_as_well(tmp_path: Path) -> None:
    declaration = minimal()
    web = declaration.stacks["shop"][1]["services"]["web"]
    web["labels"] = {"traefik.http.routers.shop.middlewares": "auth"}
    of_mapping = declaration.refused(tmp_path / "mapping")
    problem(of_mapping, COMPOSE, "services.web.labels.traefik.http.routers.shop.middlewares")
    web["labels"] = ["traefik.enable=true", "traefik.http.routers.shop.middlewares=auth"]
    problem(declaration.refused(tmp_path / "list"), COMPOSE, "services.web.labels[1]")
    web["labels"] = {"traefik.enable": True, "mine": 1}
    assert declaration.load(tmp_path / "plain").warnings == ()


def test_labels_are_read_without_regard_to_case() -> None:
    declared_keys = traefik_labels.read(["TRAEFIK.HTTP.routers.a.RULE=Host(`b.c`)"])
    assert (declared_keys.host, declared_keys.refused) == ("b.c", ())


@pytest.mark.parametrize("value", ["a\0b", "\0", "-----BEGIN KEY-----\nx\0\n"])
def test_variable_with_a_null_character_is_found_offline(tmp_path: Path, value: str) -> None:
    declaration = minimal()
    environment = declaration.stacks["shop"][0]["environments"]["production"]
    environment["variables"] = [{"name": "KEY", "value": value}]
    fault = problem(
        declaration.refused(tmp_path), SHOP, "environments.production.variables[0].value"
    )
    assert "null character" in fault.message
    assert "files" in fault.fix


def test_null_character_from_a_setting_or_a_secret_is_refused_without_its_value(
    tmp_path: Path,
) -> None:
    stack = Deployment(
        name="shop", environment="production", description="",
        source=Source(file="stacks/shop/phoenix.json", path="environments.production"),
        entry=Source(file="phoenix_vm_configs.json", path="vms[1].docker_stacks[0]"),
        directory=tmp_path, compose_file=tmp_path / "docker-compose.yml",
        compose_label="stacks/shop/docker-compose.yml", files=(),
        ports=(), firewall_rules=(), variables=(
            Variable(name="PLAIN", value="1", secret=None),
            Variable(name="KEY", value=None, secret="SHOP_KEY"),
        ),
    )  # fmt: skip
    with pytest.raises(DeploymentError, match=r"variable PLAIN: its value has a null character"):
        deployment.variables(stack, {"PLAIN": "1\0002"}, lambda _name: SecretStr("x"))
    with pytest.raises(
        DeploymentError, match=r"KEY: secret shop_key has a null character"
    ) as caught:
        deployment.variables(stack, {}, lambda _name: SecretStr("hush\0hush"))
    assert "hush" not in str(caught.value)
    filled = deployment.variables(stack, {"PLAIN": "1\n2"}, lambda _name: SecretStr("a\nb"))
    assert filled["PLAIN"] == "1\n2"


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "-----BEGIN KEY-----\nx\n"])
def test_variable_of_several_lines_is_no_fault(tmp_path: Path, value: str) -> None:
    declaration = minimal()
    environment = declaration.stacks["shop"][0]["environments"]["production"]
    environment["variables"] = [{"name": "TEXT", "value": value}]
    (worker,) = declaration.load(tmp_path).agents
    assert worker.docker_stacks[0].variables[0].value == value
