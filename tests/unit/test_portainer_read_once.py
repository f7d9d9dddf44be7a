"""Many stacks are compared by one list of each kind, and never by an old one."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests

from phoenix.portainer_api import ReadOnce, UnreachableError
from phoenix.portainer_api import client as module

ENDPOINTS = [{"Id": 1, "Name": "one", "URL": "tcp://one:9001", "Type": 2, "Status": 1}]


def _row(name: str, project: str | None) -> dict[str, Any]:
    labels = None if project is None else {"com.docker.compose.project": project}
    return {
        "Id": name, "Names": [f"/{name}"], "State": "running", "Status": "Up 3 hours",
        "Labels": labels,
    }  # fmt: skip


class Server:
    """Answers by path, and what it was asked."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.asked: list[str] = []
        self.rows = [_row("web", "shop"), _row("db", "shop"), _row("x", "wiki"), _row("y", None)]
        self.on_request = lambda: None
        patch.setattr(module, "session", lambda *_: requests.Session())
        self.client = ReadOnce("https://portainer.example", "", clock=lambda: self.now)
        patch.setattr(self.client._session, "request", self.request)

    def request(self, method: str, url: str, **_: Any) -> requests.Response:
        path = url.removeprefix("https://portainer.example/api")
        self.asked.append(path)
        answers: dict[str, Any] = {
            "/endpoints": ENDPOINTS, "/stacks": [],
            "/endpoints/1/docker/containers/json": list(self.rows),
        }  # fmt: skip
        answer = requests.Response()
        answer.status_code = 200
        answer._content = json.dumps(answers[path]).encode()
        self.on_request()
        return answer


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    return Server(monkeypatch)


def test_the_containers_of_each_project_are_of_one_list(server: Server) -> None:
    names = {
        project: [container.name for container in server.client.containers(1, project)]
        for project in ("shop", "wiki", "gone")
    }
    assert names == {"shop": ["web", "db"], "wiki": ["x"], "gone": []}
    for _ in range(3):
        assert server.client.endpoint_named("one") is not None
        assert server.client.stacks() == ()
        server.client.observe("shop", 1)
    assert sorted(server.asked) == [
        "/endpoints", "/endpoints/1/docker/containers/json", "/stacks",
    ]  # fmt: skip


def test_a_list_is_read_again_after_a_change_and_after_a_while(server: Server) -> None:
    server.client.containers(1, "shop")
    server.rows.append(_row("new", "shop"))
    server.now = 30.0
    assert len(server.client.containers(1, "shop")) == 2
    server.now = 30.1
    assert len(server.client.containers(1, "shop")) == 3
    server.rows.clear()
    server.client.forget()
    assert server.client.containers(1, "shop") == ()


def test_a_list_that_was_read_before_a_change_is_not_kept(server: Server) -> None:
    server.on_request = server.client.forget
    assert len(server.client.containers(1, "shop")) == 2
    server.on_request = lambda: None
    server.rows.clear()
    assert server.client.containers(1, "shop") == ()


def test_an_error_is_not_kept(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> requests.Response:
        raise requests.exceptions.ConnectionError("refused")

    with monkeypatch.context() as patch:
        patch.setattr(server.client._session, "request", refused)
        with pytest.raises(UnreachableError):
            server.client.stacks()
    assert server.client.stacks() == ()


def test_it_never_writes(server: Server) -> None:
    with pytest.raises(TypeError, match="must not write"):
        server.client.create_stack(1, "shop", "services: {}", {})
    with pytest.raises(TypeError, match="must not write"):
        server.client.restart_container(1, "web")
    assert server.asked == []
