"""Environments and the agent (sections 3, 5 and 6 of the reference)."""

from __future__ import annotations

import uuid

import pytest

from tests.contract.conftest import Start
from tests.contract.harness import Portainer


def test_agent_is_registered_by_multipart(portainer: Portainer) -> None:
    actual = portainer.admin("GET", f"/endpoints/{portainer.endpoint()}").json()
    assert actual["Type"] == 2, actual
    assert actual["Agent"]["Version"], actual
    assert actual["TLSConfig"]["TLS"] is True, actual
    assert actual["TLSConfig"]["TLSSkipVerify"] is True, actual
    listed = portainer.admin("GET", "/endpoints").json()
    assert {"AzureCredentials", "EdgeCheckinInterval", "Kubernetes"} <= listed[0].keys(), listed


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


def test_an_address_without_its_scheme_is_500(portainer: Portainer) -> None:
    answer = portainer.register(portainer.name(), portainer.agent_url.removeprefix("tcp://"))
    assert answer.status_code == 500, answer.text
    assert "nable to parse docker host" in answer.json()["details"], answer.text


def test_containers_with_a_hidden_label_are_hidden_from_administrators_too(fresh: Start) -> None:
    server = fresh()
    server.create("app", server.compose(kind="private"))
    assert len(server.containers("app")) == 1
    labels = [{"name": "double.kind", "value": "private"}]
    changed = server.admin("PUT", "/settings", json={"BlackListedLabels": labels})
    assert changed.status_code == 200, changed.text
    assert server.admin("GET", "/settings").json()["BlackListedLabels"] == labels
    assert server.containers("app") == []


def test_a_list_without_its_type_is_502(fresh: Start) -> None:
    server = fresh()
    number = server.endpoint()
    assert server.double is not None
    server.double.content_type = ""
    query = {"filters": '{"label":["x=y"]}'}
    path = f"/endpoints/{number}/docker/containers/json"
    answer = server.admin("GET", path, params=query)
    assert (answer.status_code, answer.text.strip()) == (502, "mime: no media type")


def test_tls_without_skip_flags_wants_files(portainer: Portainer) -> None:
    answer = portainer.register("x", portainer.agent_url, TLSSkipVerify="")
    assert answer.status_code == 400, answer.text


def test_update_keeps_absent_fields_and_tests_nothing(portainer: Portainer) -> None:
    name = f"contract-{uuid.uuid4().hex[:8]}"
    created = portainer.register(name, portainer.agent_url).json()
    path = f"/endpoints/{created['Id']}"
    moved = portainer.admin("PUT", path, json={"URL": "tcp://127.0.0.1:1"})
    assert (moved.status_code, moved.json()["Name"]) == (200, name), moved.text
    assert portainer.admin("GET", path).json()["Status"] == 1, "stale until a snapshot"
    assert portainer.admin("POST", f"{path}/snapshot").status_code == 204
    assert portainer.admin("GET", path).json()["Status"] == 2
    down = portainer.admin("GET", f"{path}/docker/_ping")
    assert (down.status_code, down.text) == (502, "")
    assert portainer.admin("DELETE", path).status_code == 204
    assert portainer.admin("DELETE", path).status_code == 404


def test_the_servers_own_docker_is_registered_by_its_socket(portainer: Portainer) -> None:
    """Type 1, without agent and TLS. An unreachable socket is refused, and not stored."""
    if portainer.double is None:
        pytest.skip("a real server's container may have no socket")
    url = f"unix://{portainer.directory}/docker.sock"
    name = f"contract-{uuid.uuid4().hex[:8]}"
    kind = {"EndpointCreationType": "1", "TLS": "", "TLSSkipVerify": "", "TLSSkipClientVerify": ""}
    environment = portainer.register(name, url, **kind)
    assert environment.status_code == 200, environment.text
    row = environment.json()
    assert (row["Type"], row["URL"], row["TLSConfig"]["TLS"]) == (1, url, False), row
    base = f"/endpoints/{row['Id']}/docker"
    assert portainer.admin("GET", f"{base}/_ping").text == "OK"
    other = portainer.register(f"{name}-2", "unix:///nonexistent.sock", **kind)
    assert other.status_code == 500, other.text
    assert other.json()["message"] == "Unable to initiate communications with environment"
    content = portainer.compose()
    project = portainer.name()
    stack = portainer.admin(
        "POST",
        f"/stacks/create/standalone/string?endpointId={row['Id']}",
        json={"Name": project, "StackFileContent": content, "Env": []},
    )
    assert stack.status_code == 200, stack.text
    portainer.settle(stack.json()["Id"])
    filters = f'{{"label":["com.docker.compose.project={project}"]}}'
    query = {"all": "1", "filters": filters}
    listed = portainer.admin("GET", f"{base}/containers/json", params=query).json()
    assert [container["State"] for container in listed] == ["running"], listed
    gone = portainer.admin("DELETE", f"/stacks/{stack.json()['Id']}?endpointId={row['Id']}")
    assert gone.status_code == 204, gone.text
    assert portainer.admin("DELETE", f"/endpoints/{row['Id']}").status_code == 204


def test_docker_proxy_passes_answers_through(portainer: Portainer) -> None:
    base = f"/endpoints/{portainer.endpoint()}/docker"
    assert portainer.admin("GET", f"{base}/_ping").text == "OK"
    assert "ServerVersion" in portainer.admin("GET", f"{base}/info").json()
    missing = portainer.admin("GET", f"{base}/containers/{'0' * 64}/json")
    assert missing.status_code == 404, missing.text
    assert "details" not in missing.json(), "Docker's own error shape"
    assert portainer.admin("GET", "/endpoints/999999/docker/_ping").status_code == 404
