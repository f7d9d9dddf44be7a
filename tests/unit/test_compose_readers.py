"""What the site, a deployment and Portainer's client read from one compose file is the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from phoenix.components import stack as deployment
from phoenix.declaration.load import load_site
from phoenix.portainer_api.client import _env_list
from phoenix.portainer_api.compose import read_services
from phoenix.portainer_api.errors import InvalidInputError
from phoenix.portainer_api.models import Stack
from phoenix.portainer_api.sync import desired_stack, env_changes
from phoenix.site.model import Deployment, PublishedPort
from tests.unit.site_builder import Declaration, minimal, problem

SHOP = "stacks/shop/docker-compose.yml"


def declared(variables: dict[str, str] | None = None, **web: Any) -> Declaration:
    declaration = minimal()
    declaration.stacks["shop"][1]["services"]["web"] |= web
    production = declaration.stacks["shop"][0]["environments"]["production"]
    production["variables"] = [{"name": k, "value": v} for k, v in (variables or {}).items()]
    return declaration


def shop(declaration: Declaration, folder: Path) -> Deployment:
    (host,) = declaration.load(folder).agents
    (deployment,) = host.docker_stacks
    return deployment


@pytest.mark.parametrize(
    ("image_as_written", "tag", "image"),
    [
        ("a/web:${TAG:-1.0}", "", "a/web:1.0"),
        ("a/web${TAG-:1.0}", "", "a/web"),
        ("a/web:${TAG:-1.0}", "2", "a/web:2"),
        ("a/web:${TAG:+x}1", "2", "a/web:x1"),
        ("a/web:${OTHER:-${TAG:-3}}", "", "a/web:3"),
        ("a/web:${OTHER:+$MISSING}1", "", "a/web:1"),
    ],
)
def test_every_reader_sees_the_same_image(
    tmp_path: Path, image_as_written: str, tag: str, image: str
) -> None:
    prepared_stack = shop(declared({"TAG": tag}, image=image_as_written), tmp_path)
    assert deployment.images(prepared_stack, {"TAG": tag}) == (image,)
    (spec,) = read_services(prepared_stack.compose_file.read_text(), {"TAG": tag})
    assert spec.image == image


@pytest.mark.parametrize(
    ("entry", "variables"),
    [
        ("${A:-${B:-8000}}:443", {}),
        ("${A:-${B:-1}}:443", {"B": "8000"}),
        ("${PORT}:443", {"PORT": "8000"}),
        ("${PORT:-8000}:443", {"PORT": ""}),
        ({"target": 443, "published": "${PORT:-8000}"}, {}),
        ({"target": 443, "published": 8000, "host_ip": "10.0.0.24"}, {}),
    ],
    ids=repr,
)
def test_published_ports_are_filled_in(
    tmp_path: Path, entry: Any, variables: dict[str, str]
) -> None:
    (port,) = shop(declared(variables, ports=[entry]), tmp_path).ports
    assert (port.host_port, port.container_port, port.proto) == (8000, 443, "tcp")


def test_ports_are_no_numbers_of_base_sixty(tmp_path: Path) -> None:
    declared().load(tmp_path)
    (tmp_path / SHOP).write_text(
        "services: {web: {image: a/web:1, ports: [2223:22, 8000:8000, 6333]}}\n"
    )
    (worker,) = load_site(tmp_path).agents
    ports = worker.docker_stacks[0].ports
    assert [(port.host_port, port.container_port) for port in ports] == [(2223, 22), (8000, 8000)]


def test_a_route_to_a_service_on_the_hosts_network_needs_no_published_port(tmp_path: Path) -> None:
    declaration = declared(network_mode="host")
    declaration.stacks["shop"][1]["services"]["web"].pop("ports")
    deployment = shop(declaration, tmp_path)
    assert deployment.ports == (
        PublishedPort(service="web", host_port=8000, container_port=8000, proto="tcp"),
    )


def test_the_port_of_a_service_on_the_hosts_network_is_taken(tmp_path: Path) -> None:
    declaration = declared(network_mode="host", ports=["8000:8000"])
    declaration.stacks["more"] = (
        declaration.stacks["shop"][0] | {},
        {"services": {"web": {"image": "a/b:1", "ports": ["8000:80"]}}},
    )
    declaration.vm["vms"][1]["docker_stacks"] = ["shop", "more"]
    findings = declaration.refused(tmp_path)
    finding = problem(findings, "stacks/more/docker-compose.yml", "services.web.ports")
    assert "port 8000/tcp of worker is taken" in finding.message


def test_ports_on_the_hosts_network_are_told_to_be_ignored(tmp_path: Path) -> None:
    site = declared(network_mode="host").load(tmp_path)
    finding = problem(site.warnings, SHOP, "services.web.ports")
    assert "network_mode host publishes nothing" in finding.message


def test_a_secret_satisfies_a_required_variable(tmp_path: Path) -> None:
    declaration = declared(command="serve ${KEY:?say it}")
    production = declaration.stacks["shop"][0]["environments"]["production"]
    production["variables"] = [{"name": "KEY", "secret": "SHOP_KEY"}]
    assert declaration.load(tmp_path).warnings == ()


def test_portainers_reader_names_what_is_wrong() -> None:
    with pytest.raises(InvalidInputError, match=r"services\.web\.ports: cannot be 6333"):
        read_services("services: {web: {image: x, ports: 6333}}", {})


AWKWARD = st.text(st.sampled_from(list("ab \\'\"$#{}=\n\r\t:-")), max_size=10)


@settings(deadline=None)  # a busy machine is no failure
@given(values=st.dictionaries(st.sampled_from(["A", "B", "C"]), AWKWARD))
def test_variables_reach_compose_byte_for_byte(values: dict[str, str]) -> None:
    """The server writes NAME=VALUE lines from what it stores, and Compose reads them."""
    row = {"Id": 1, "Name": "shop", "Type": 2, "EndpointId": 1, "Status": 1}
    stored = Stack.model_validate(row | {"Env": _env_list(values)})
    assert stored.env_mapping == values
    desired = desired_stack("shop", "services: {web: {image: x}}", 1, values)
    assert env_changes(stored.env_mapping, desired.plain_env) == []


@pytest.mark.parametrize(
    ("stored", "arrives"),
    [("pa$$w0rd$x and ${HOME}", "pa$w0rd and "), ("abc #def", "abc"), ("' lead' ", " lead")],
)
def test_a_value_that_arrives_changed_is_a_change(stored: str, arrives: str) -> None:
    row = {"Id": 1, "Name": "shop", "Type": 2, "EndpointId": 1, "Status": 1}
    variables = Stack.model_validate(row | {"Env": [{"name": "A", "value": stored}]}).env_mapping
    assert variables.get("A") == arrives
    desired = desired_stack("shop", "services: {web: {image: x}}", 1, {"A": stored})
    assert env_changes(variables, desired.plain_env) != []


def test_no_text_shows_a_value_as_the_server_stores_it() -> None:
    desired = desired_stack(
        "shop", "services: {web: {image: x}}", 1, {"A": SecretStr('it\'s "so"')}
    )
    (item,) = _env_list(desired.plain_env)
    assert item["value"] in desired.hidden(desired.plain_env)
