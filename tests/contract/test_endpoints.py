"""Environments and the agent (sections 3, 5 and 6 of the reference)."""

from __future__ import annotations

import uuid

import pytest
import requests

from lab.portainer.emulator import signing
from tests.contract.conftest import Start
from tests.contract.harness import Portainer


def test_agent_is_registered_by_multipart(portainer: Portainer) -> None:
    found = portainer.admin("GET", f"/endpoints/{portainer.endpoint()}").json()
    assert found["Type"] == 2, found
    assert found["Agent"]["Version"], found
    assert found["TLSConfig"]["TLS"] is True, found
    assert found["TLSConfig"]["TLSSkipVerify"] is True, found


def test_name_is_unique_and_address_is_not(portainer: Portainer) -> None:
    name = portainer.admin("GET", f"/endpoints/{portainer.endpoint()}").json()["Name"]
    again = portainer.register(name, portainer.agent_url)
    assert (again.status_code, again.json()["message"]) == (409, "Name is not unique")
    other = portainer.register(f"contract-{uuid.uuid4().hex[:8]}", portainer.agent_url)
    assert other.status_code == 200, other.text
    assert portainer.admin("DELETE", f"/endpoints/{other.json()['Id']}").status_code == 204


@pytest.mark.parametrize("form", [{}, {"TLS": ""}], ids=["nobody listens", "without TLS"])
def test_failed_ping_is_500_and_stores_nothing(portainer: Portainer, form: dict[str, str]) -> None:
    name = f"contract-{uuid.uuid4().hex[:8]}"
    url = portainer.agent_url if form else "tcp://127.0.0.1:1"
    answer = portainer.register(name, url, **form)
    assert answer.status_code == 500, answer.text
    assert answer.json()["message"] == "Unable to get environment type", answer.text
    assert portainer.admin("GET", "/endpoints", params={"name": name}).json() == []


def test_tls_without_skip_flags_wants_files(portainer: Portainer) -> None:
    answer = portainer.register("x", portainer.agent_url, TLSSkipVerify="")
    assert answer.status_code == 400, answer.text


def test_update_keeps_absent_fields_and_tests_nothing(portainer: Portainer) -> None:
    name = f"contract-{uuid.uuid4().hex[:8]}"
    made = portainer.register(name, portainer.agent_url).json()
    path = f"/endpoints/{made['Id']}"
    moved = portainer.admin("PUT", path, json={"URL": "tcp://127.0.0.1:1"})
    assert (moved.status_code, moved.json()["Name"]) == (200, name), moved.text
    assert portainer.admin("GET", path).json()["Status"] == 1, "stale until a snapshot"
    assert portainer.admin("POST", f"{path}/snapshot").status_code == 204
    assert portainer.admin("GET", path).json()["Status"] == 2
    down = portainer.admin("GET", f"{path}/docker/_ping")
    assert (down.status_code, down.text) == (502, "")
    assert portainer.admin("DELETE", path).status_code == 204
    assert portainer.admin("DELETE", path).status_code == 404


def test_docker_proxy_passes_answers_through(portainer: Portainer) -> None:
    base = f"/endpoints/{portainer.endpoint()}/docker"
    assert portainer.admin("GET", f"{base}/_ping").text == "OK"
    assert "ServerVersion" in portainer.admin("GET", f"{base}/info").json()
    missing = portainer.admin("GET", f"{base}/containers/{'0' * 64}/json")
    assert missing.status_code == 404, missing.text
    assert "details" not in missing.json(), "Docker's own error shape"
    assert portainer.admin("GET", "/endpoints/999999/docker/_ping").status_code == 404


# -- the agent itself: emulator only ------------------------------------------------------------


def ask_agent(server: Portainer, path: str, headers: dict[str, str]) -> requests.Response:
    assert server.agent is not None
    return requests.get(
        f"https://127.0.0.1:{server.agent.port}{path}",
        headers=headers,
        verify=False,  # noqa: S501 - the agent's certificate is self-signed by design
        timeout=10,
    )


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_agent_wants_a_signature_except_for_ping(fresh: Start) -> None:
    server = fresh(agent_secret="the shared secret")
    ping = ask_agent(server, "/ping", {})
    assert ping.status_code == 204
    assert ping.headers["Portainer-Agent-API-Version"] == "2"
    bare = ask_agent(server, "/info", {})
    assert bare.status_code == 403
    assert bare.json()["message"] == "Missing request signature headers"
    assert server.server is not None
    key = server.server.environments.key
    wrong = ask_agent(server, "/info", signing.sign(key, "Portainer-App"))
    assert wrong.json()["message"] == "Invalid request signature", wrong.text
    good = ask_agent(server, "/info", signing.sign(key, "the shared secret"))
    assert (good.status_code, good.headers["Portainer-Agent-Platform"]) == (200, "1")


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_agent_without_secret_pins_the_first_server(fresh: Start) -> None:
    server, stranger = fresh(), fresh()
    assert server.register("mine", server.agent_url).status_code == 200
    refused = stranger.register("stolen", server.agent_url)
    assert refused.status_code == 500, refused.text
    assert "already paired" in refused.json()["details"]


def test_other_secret_is_refused(fresh: Start) -> None:
    server, stranger = fresh(agent_secret="one secret"), fresh(agent_secret="another secret")
    refused = stranger.register("stolen", server.agent_url)
    assert refused.status_code == 500, refused.text
    assert server.register("mine", server.agent_url).status_code == 200
