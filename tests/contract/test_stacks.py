"""Stacks in both deployment models (section 4 of the reference)."""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.contract.conftest import Start
from tests.contract.harness import Portainer

EXACT = "services:\r\n  web:\r\n    image: {image}\r\n\r\n"


def emulated(portainer: Portainer) -> Portainer:
    if portainer.double is None:
        pytest.skip("needs the Docker double")
    return portainer


def test_create_stores_the_file_byte_for_byte_and_runs(portainer: Portainer) -> None:
    content = EXACT.format(image=portainer.image)
    created = portainer.create("Contract " + (name := portainer.name()) + "!", content)
    assert created.status_code == 200, created.text
    assert created.json()["Status"] == (3 if portainer.asynchronous else 1), created.text
    stack = portainer.stack(created.json()["Id"])
    assert (stack["Name"], stack["Type"], stack["Status"]) == (f"contract{name}", 2, 1)
    assert stack["EndpointId"] == portainer.endpoint()
    assert portainer.file(stack["Id"]) == content
    states = [c["State"] for c in portainer.containers(f"contract{name}")]
    assert states == ["running"], states


def test_environment_null_empty_and_replaced_whole(portainer: Portainer) -> None:
    content = portainer.compose()
    stack_id = portainer.create(portainer.name(), content, None).json()["Id"]
    assert not portainer.stack(stack_id)["Env"]
    pairs = [{"name": "B", "value": "2"}, {"name": "A", "value": "1"}]
    portainer.update(stack_id, content, Env=pairs)
    assert portainer.stack(stack_id)["Env"] == pairs, "order kept, values in clear"
    portainer.update(stack_id, content, Env=pairs[:1])
    assert portainer.stack(stack_id)["Env"] == pairs[:1], "replaced, not merged"
    portainer.update(stack_id, content)
    assert not portainer.stack(stack_id)["Env"], "leaving it out wipes it"
    refused = portainer.update(stack_id, content, Env={"A": "1"})
    assert refused.status_code == 400, refused.text


def test_order_of_checks_of_create(portainer: Portainer) -> None:
    path, body = "/stacks/create/standalone/string", {"Name": "x", "StackFileContent": "x"}
    missing = portainer.admin("POST", path, json=body)
    assert missing.status_code == 400, missing.text
    unknown = portainer.admin("POST", f"{path}?endpointId=999999", json={})
    assert unknown.status_code == 404, "the environment is looked up before the payload"
    empty = portainer.admin("POST", f"{path}?endpointId={portainer.endpoint()}", json={"Name": "x"})
    assert empty.status_code == 400, empty.text


def test_same_name_is_409(portainer: Portainer) -> None:
    name = portainer.name()
    portainer.create(name, portainer.compose())
    again = portainer.create(name.upper(), portainer.compose())
    assert again.status_code == 409, again.text
    words = f"A stack with the normalized name '{name}' already exists"
    assert again.json()["message"] == words


def test_external_project_is_deployed_over(portainer: Portainer) -> None:
    double = emulated(portainer).double
    assert double is not None
    name = portainer.name()
    double.add(name, "web", "/srv/by-hand")
    created = portainer.create(name, portainer.compose())
    assert created.status_code == 200, created.text
    assert len(portainer.containers(name)) == 1


def test_list_filters(portainer: Portainer) -> None:
    stack_id = portainer.create(portainer.name(), portainer.compose()).json()["Id"]
    asked = {"filters": f'{{"EndpointID":{portainer.endpoint()}}}'}
    ids = [row["Id"] for row in portainer.admin("GET", "/stacks", params=asked).json()]
    assert stack_id in ids
    other = portainer.admin("GET", "/stacks", params={"filters": '{"EndpointID":999999}'})
    assert other.json() == [], other.text
    for filters in ("nonsense", '{"EndpointID":"1"}'):
        answer = portainer.admin("GET", "/stacks", params={"filters": filters})
        assert answer.status_code == 400, (filters, answer.text)


def test_unknown_stack_is_404(portainer: Portainer) -> None:
    answer = portainer.admin("GET", "/stacks/999999")
    assert answer.status_code == 404
    assert answer.json()["details"] == (
        "Object not found inside the database (bucket=stacks, key=999999)"
    )


def test_delete_with_an_unknown_endpoint_is_404_and_keeps_the_stack(portainer: Portainer) -> None:
    stack_id = portainer.create(portainer.name(), portainer.compose()).json()["Id"]
    answer = portainer.admin("DELETE", f"/stacks/{stack_id}?endpointId=999999")
    assert (answer.status_code, answer.json()["message"]) == (
        404, "Unable to find the endpoint associated to the stack inside the database",
    )  # fmt: skip
    assert portainer.stack(stack_id)["Id"] == stack_id


@pytest.mark.parametrize(
    ("sent", "arrives"),
    [
        ("a$b", "a"), ("a$$b", "a$b"), ("${HOME}", "/"), ("a #b", "a"), ('"x"', "x"),
        (" lead", "lead"), ("a#b", "a#b"), ("#x", "#x"), ("a=b", "a=b"), ("a\\b", "a\\b"),
        ('it"s', 'it"s'), ("it's", "it's"), ("\u00fc", "\u00fc"), ("'a$b #c'", "a$b #c"),
        ('"a\\nb"', "a\nb"), ('"a\\$b"', "a$b"),
    ],
)  # fmt: skip
def test_a_variable_arrives_as_compose_reads_it(
    portainer: Portainer, sent: str, arrives: str
) -> None:
    """The server writes NAME=VALUE as it is, and compose reads it as an env file."""
    double, name = emulated(portainer).double, portainer.name()
    assert double is not None
    created = portainer.create(name, portainer.compose(), [{"name": "IT", "value": sent}])
    assert created.status_code == 200, created.text
    assert double.of(name)[0]["Env"]["IT"] == arrives
    assert portainer.stack(created.json()["Id"])["Env"] == [{"name": "IT", "value": sent}]


def test_a_variable_that_compose_cannot_read_fails_with_its_value(portainer: Portainer) -> None:
    emulated(portainer)
    created = portainer.create(
        portainer.name(), portainer.compose(), [{"name": "IT", "value": "${NOSUCH"}]
    )
    if portainer.asynchronous:
        steps = portainer.settle(created.json()["Id"])["DeploymentStatus"]
        assert "${NOSUCH" in steps[-1]["Message"], steps
        return
    assert created.status_code == 500, created.text
    assert "${NOSUCH" in created.json()["message"], created.text
    assert created.json()["details"][0].isupper(), created.text


def test_a_stack_may_name_the_servers_own_environment(fresh: Start) -> None:
    server = fresh(agent_secret="the shared secret")
    assert server.double is not None
    content = server.compose(secret="${AGENT_SECRET}")
    server.create("app", content, [{"name": "AGENT_SECRET", "value": "of the stack"}])
    (container,) = server.double.of("app")
    assert container["Labels"]["double.secret"] == "the shared secret"


def test_a_lost_file_is_500_and_is_not_written_again(portainer: Portainer) -> None:
    emulated(portainer)
    assert portainer.server is not None
    stack_id = portainer.create(name := portainer.name(), portainer.compose()).json()["Id"]
    (portainer.directory / f"data/compose/{stack_id}/docker-compose.yml").unlink()
    lost = portainer.admin("GET", f"/stacks/{stack_id}/file")
    assert lost.status_code == 500, lost.text
    update = portainer.update(stack_id, portainer.compose())
    assert update.status_code == 500, update.text
    assert update.json()["message"] == "Unable to persist updated Compose file on disk"
    gone = portainer.admin("DELETE", f"/stacks/{stack_id}?endpointId={portainer.endpoint()}")
    assert gone.status_code == 204, gone.text
    assert portainer.containers(name) == []


def test_stacks_of_a_deleted_endpoint_are_orphans_until_they_are_associated(
    fresh: Start,
) -> None:
    server = fresh()
    assert server.double is not None
    content = server.compose()
    stack_id = server.create("app", content).json()["Id"]
    before = [container["Id"] for container in server.double.of("app")]
    old, server.endpoint_id = server.endpoint(), 0
    assert server.admin("DELETE", f"/endpoints/{old}").status_code == 204
    new = server.endpoint()
    assert new != old
    assert server.stack(stack_id)["EndpointId"] == old
    asked = {"filters": f'{{"EndpointID":{new}}}'}
    assert server.admin("GET", "/stacks", params=asked).json() == []
    refused = server.create("app", content)
    assert refused.status_code == 409, refused.text
    path = f"/stacks/{stack_id}/associate?endpointId={new}"
    assert server.admin("PUT", path).status_code == 400, "orphanedRunning must be given"
    unknown = f"/stacks/{stack_id}/associate?endpointId=999&orphanedRunning=true"
    assert server.admin("PUT", unknown).status_code == 404
    done = server.admin("PUT", f"{path}&orphanedRunning=true")
    assert done.status_code == 200, done.text
    row = done.json()
    assert (row["EndpointId"], row["Status"], row["UpdateDate"]) == (new, 1, 0), row
    assert row["ResourceControl"]["ResourceId"] == f"{new}_app", row
    assert [container["Id"] for container in server.double.of("app")] == before
    assert server.file(stack_id) == content


def test_a_renamed_service_cannot_have_the_port_of_the_old_one(portainer: Portainer) -> None:
    emulated(portainer)
    name, port = portainer.name(), '    ports: ["18080:80"]\n'
    stack_id = portainer.create(name, portainer.compose() + port).json()["Id"]
    renamed = portainer.compose(service="site") + port
    answer = portainer.update(stack_id, renamed)
    if portainer.asynchronous:
        stack = portainer.settle(stack_id)
        assert stack["Status"] == 4, stack
        assert "port is already allocated" in stack["DeploymentStatus"][-1]["Message"]
        portainer.update(stack_id, renamed, Prune=True)
        assert portainer.settle(stack_id)["Status"] == 1
        return
    assert answer.status_code == 500, answer.text
    assert "port is already allocated" in answer.json()["message"], answer.text
    assert portainer.containers(name) == [], "the whole project was taken down"


def test_update_wants_a_known_endpoint(portainer: Portainer) -> None:
    content = portainer.compose()
    stack_id = portainer.create(portainer.name(), content).json()["Id"]
    body = {"StackFileContent": content}
    unknown = portainer.admin("PUT", f"/stacks/{stack_id}?endpointId=999999", json=body)
    assert unknown.status_code == 404, unknown.text
    absent = portainer.admin("PUT", f"/stacks/{stack_id}", json=body)
    assert absent.status_code == (200 if portainer.asynchronous else 400), absent.text
    portainer.settle(stack_id)
    empty = portainer.update(stack_id, "")
    assert empty.status_code == 400, empty.text


def test_update_with_another_endpoint_moves_the_stack(portainer: Portainer) -> None:
    emulated(portainer)
    content = portainer.compose()
    stack_id = portainer.create(portainer.name(), content).json()["Id"]
    other = portainer.register(portainer.name(), portainer.agent_url).json()["Id"]
    moved = portainer.admin(
        "PUT", f"/stacks/{stack_id}?endpointId={other}", json={"StackFileContent": content}
    )
    assert moved.status_code == 200, moved.text
    assert portainer.settle(stack_id)["EndpointId"] == other
    deleted = portainer.admin("DELETE", f"/endpoints/{other}")
    assert deleted.status_code == 204
    assert portainer.stack(stack_id)["EndpointId"] == other, "an orphan keeps its endpoint"


def test_update_without_change_keeps_the_containers(portainer: Portainer) -> None:
    name, content = portainer.name(), portainer.compose()
    stack_id = portainer.create(name, content).json()["Id"]
    before = [c["Id"] for c in portainer.containers(name)]
    assert portainer.update(stack_id, content).status_code == 200
    assert [c["Id"] for c in portainer.containers(name)] == before
    assert portainer.stack(stack_id)["UpdateDate"] > 0


def test_stop_start_and_their_refusals(portainer: Portainer) -> None:
    name, content = portainer.name(), portainer.compose()
    stack_id = portainer.create(name, content).json()["Id"]
    end = f"?endpointId={portainer.endpoint()}"
    running = portainer.admin("POST", f"/stacks/{stack_id}/start{end}")
    assert running.status_code == 409, running.text
    assert portainer.admin("POST", f"/stacks/{stack_id}/stop").status_code == 400
    stopped = portainer.admin("POST", f"/stacks/{stack_id}/stop{end}")
    assert (stopped.status_code, stopped.json()["Status"]) == (200, 2), stopped.text
    assert portainer.containers(name) == []
    twice = portainer.admin("POST", f"/stacks/{stack_id}/stop{end}")
    assert (twice.status_code, twice.json()["message"]) == (400, "Stack is already inactive")
    started = portainer.admin("POST", f"/stacks/{stack_id}/start{end}")
    assert started.status_code == 200, started.text
    assert portainer.settle(stack_id)["Status"] == 1
    portainer.admin("POST", f"/stacks/{stack_id}/stop{end}")
    assert portainer.update(stack_id, content).status_code == 200, "an update starts it"
    assert portainer.settle(stack_id)["Status"] == 1
    assert len(portainer.containers(name)) == 1
    for answer in (started, stopped):
        assert answer.json()["ResourceControl"] is None, "only reads have it"
    assert portainer.stack(stack_id)["ResourceControl"]["Type"] == 6


def test_delete(portainer: Portainer) -> None:
    name = portainer.name()
    stack_id = portainer.create(name, portainer.compose()).json()["Id"]
    absent = portainer.admin("DELETE", f"/stacks/{stack_id}")
    assert absent.status_code == 404, "a missing endpointId is endpoint 0"
    path = f"/stacks/{stack_id}?endpointId={portainer.endpoint()}"
    assert portainer.admin("DELETE", path).status_code == 204
    assert portainer.containers(name) == []
    assert portainer.admin("DELETE", path).status_code == 404


def test_failed_create(portainer: Portainer) -> None:
    name = portainer.name()
    answer = portainer.create(name, portainer.compose("contract.invalid/missing:1"))
    if portainer.asynchronous:
        assert answer.status_code == 200, answer.text
        stack = portainer.settle(answer.json()["Id"])
        assert stack["Status"] == 4, stack
        assert "missing" in stack["DeploymentStatus"][-1]["Message"], stack
        return
    assert answer.status_code == 500, answer.text
    assert "missing" in answer.json()["message"], answer.text
    names = [row["Name"] for row in portainer.admin("GET", "/stacks").json()]
    assert name not in names, "a failed create stores nothing"


def test_failed_update(portainer: Portainer) -> None:
    name, content = portainer.name(), portainer.compose()
    stack_id = portainer.create(name, content, [{"name": "A", "value": "old"}]).json()["Id"]
    answer = portainer.update(
        stack_id,
        portainer.compose("contract.invalid/missing:1"),
        Env=[{"name": "A", "value": "new"}],
    )
    stack = portainer.settle(stack_id)
    assert portainer.file(stack_id) == content, "the file goes back in both models"
    value = stack["Env"][0]["value"]
    if portainer.asynchronous:
        assert (answer.status_code, stack["Status"], value) == (200, 4, "new"), stack
        return
    assert (answer.status_code, stack["Status"], value) == (500, 1, "old"), (answer.text, stack)
    assert portainer.containers(name) == [], "the whole project was taken down (issue 8008)"


def test_update_while_deploying(portainer: Portainer) -> None:
    double = emulated(portainer).double
    assert double is not None
    name, slow = portainer.name(), portainer.compose(slow="held")
    stack_id = portainer.create(name, portainer.compose()).json()["Id"]
    if portainer.asynchronous:
        assert portainer.update(stack_id, slow, wait=False).status_code == 200
        refused = portainer.update(stack_id, slow, wait=False)
        assert refused.status_code == 409, refused.text
        assert refused.json()["details"] == "Stack deployment is already in progress"
        double.go_on.set()
        assert portainer.settle(stack_id)["Status"] == 1
        return
    portainer.admin("GET", "/users/me")
    with ThreadPoolExecutor() as pool:
        first = pool.submit(portainer.update, stack_id, slow)
        assert double.begun.wait(60)
        second = pool.submit(portainer.update, stack_id, portainer.compose())
        done, _ = wait([second], timeout=0.5)
        assert not done, "deployments are serialised: the second one waits"
        double.go_on.set()
        assert [future.result().status_code for future in (first, second)] == [200, 200]


def test_prune_is_honoured_by_new_servers_only(portainer: Portainer) -> None:
    emulated(portainer)
    name = portainer.name()
    two = portainer.compose() + portainer.compose(service="old").removeprefix("services:\n")
    stack_id = portainer.create(name, two).json()["Id"]
    assert len(portainer.containers(name)) == 2
    portainer.update(stack_id, portainer.compose(), Prune=True)
    left = len(portainer.containers(name))
    assert left == (1 if portainer.asynchronous else 2), left


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[str]:
    """Serves a repository as plain files: returns its address."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    handler = partial(Quiet, directory=str(tmp_path))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/.git"
    server.shutdown()
    server.server_close()


def test_update_detaches_from_git(portainer: Portainer, tmp_path: Path, repository: str) -> None:
    emulated(portainer)
    (tmp_path / "docker-compose.yml").write_text(portainer.compose())
    for words in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=t", "-c", "user.email=t@invalid", "commit", "-qm", "x"],
        ["update-server-info"],
    ):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
    path = f"/stacks/create/standalone/repository?endpointId={portainer.endpoint()}"
    ask = {"Name": portainer.name(), "RepositoryURL": f"file://{tmp_path}"}
    refused = portainer.admin("POST", path, json=ask)
    assert refused.status_code == 400, refused.text
    assert "Invalid repository URL" in refused.json()["details"], refused.text
    created = portainer.admin("POST", path, json={**ask, "RepositoryURL": repository})
    assert created.status_code == 200, created.text
    stack_id = created.json()["Id"]
    config = portainer.settle(stack_id)["GitConfig"]
    assert re.fullmatch(r"[0-9a-f]{40}", config.pop("ConfigHash"))
    assert config == {
        "URL": repository, "ReferenceName": "", "ConfigFilePath": "docker-compose.yml",
        "Authentication": None, "TLSSkipVerify": False,
    }  # fmt: skip
    assert portainer.stack(stack_id)["FromAppTemplate"] is False
    updated = portainer.update(stack_id, portainer.compose())
    assert updated.json()["ResourceControl"] is None
    stack = portainer.stack(stack_id)
    assert (stack["GitConfig"], stack["FromAppTemplate"]) == (None, True)


def test_everything_survives_a_restart(fresh: Start) -> None:
    server = fresh()
    content = server.compose()
    stack_id = server.create(server.name(), content, [{"name": "A", "value": "1"}]).json()["Id"]
    before = server.stack(stack_id)
    server.restart()
    server.token = ""
    assert server.stack(stack_id) == before
    assert server.file(stack_id) == content
    agent = server.admin("GET", f"/endpoints/{server.endpoint()}/docker/_ping")
    assert agent.text == "OK", "the key pair is the same: the agent still knows us"
