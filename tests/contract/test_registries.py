"""Registries: what the server keeps, what it never tells, and how a pull takes one."""

from __future__ import annotations

import base64
import json
import uuid

import pytest
from pydantic import SecretStr

from phoenix import portainer_api as api
from tests.contract.harness import REAL, Portainer

PASSWORD = "planted-registry-password"


def client_of(portainer: Portainer) -> api.PortainerClient:
    portainer.admin("GET", "/users/me")
    client = api.PortainerClient(portainer.url, portainer.ca.read_text())
    client._credential = ("Authorization", SecretStr(portainer.token))
    return client


def test_registry_is_kept_and_its_password_never_told(portainer: Portainer) -> None:
    client = client_of(portainer)
    name = f"r{uuid.uuid4().hex[:8]}.example:5000"
    login = api.Login(name, "ci", SecretStr(PASSWORD))
    registry = client.create_registry(login)
    assert (registry.url, registry.username, registry.authentication) == (name, "ci", True)
    answer = portainer.admin("GET", "/registries")
    assert PASSWORD not in answer.text
    assert [row["Type"] for row in answer.json() if row["Id"] == registry.id] == [3]
    again = portainer.admin(
        "POST", "/registries", json={"Name": login.name, "URL": name, "Type": 3}
    )
    assert again.status_code == 409, again.text
    client.update_registry(registry.id, api.Login(name, "other", SecretStr(PASSWORD)))
    assert [row.username for row in client.registries() if row.id == registry.id] == ["other"]
    client.delete_registry(registry.id)
    assert registry.id not in [row.id for row in client.registries()]


def test_an_image_of_a_registry_is_pulled_with_its_log_in(portainer: Portainer) -> None:
    if REAL:
        pytest.skip("a real Docker does not tell what it was asked")
    assert portainer.double is not None
    client = client_of(portainer)
    name = f"r{uuid.uuid4().hex[:8]}.example"
    registry = client.create_registry(api.Login(name, "ci", SecretStr(PASSWORD)))
    for image, expected in ((f"{name}/app:1", "ci"), ("other.example/app:1", None)):
        assert client.pull_image(portainer.endpoint(), image) is None
        header = portainer.double.registry_auth[-1]
        login = json.loads(base64.urlsafe_b64decode(header)) if header else {}
        assert login.get("username") == expected
        assert login.get("password") == (PASSWORD if expected else None)
    client.delete_registry(registry.id)
