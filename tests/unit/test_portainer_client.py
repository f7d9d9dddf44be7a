"""What Portainer's client does with answers that the emulator does not give on demand."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from phoenix.portainer_api import PortainerClient, Stack, errors
from phoenix.portainer_api import client as module


class Clock:
    """Time that passes by sleeping alone."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def client(
    monkeypatch: pytest.MonkeyPatch, statuses: list[int]
) -> tuple[PortainerClient, list[str]]:
    clock = Clock()
    monkeypatch.setattr(module, "session", lambda *_: requests.Session())
    portainer = PortainerClient("https://portainer.example", "", clock=clock, sleep=clock.sleep)
    asked: list[str] = []

    def request(method: str, url: str, **_: Any) -> requests.Response:
        asked.append(f"{method} {url.removeprefix(portainer.url)}")
        answer = requests.Response()
        answer.status_code = statuses.pop(0) if len(statuses) > 1 else statuses[0]
        answer._content = b"[]" if answer.status_code == 200 else b""
        return answer

    monkeypatch.setattr(portainer._session, "request", request)
    return portainer, asked


def test_an_agent_that_is_away_for_a_moment_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    portainer, asked = client(monkeypatch, [502, 503, 200])
    assert portainer.containers(1, "app-production") == ()
    assert asked == ["GET /api/endpoints/1/docker/containers/json"] * 3


def test_an_agent_that_stays_away_is_an_error_with_its_status(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    portainer, asked = client(monkeypatch, [502])
    with pytest.raises(errors.ApiError, match="HTTP 502"):
        portainer.containers(1, "app-production")
    assert len(asked) == 61


@pytest.fixture
def cut_off() -> Iterator[str]:
    """A server that ends in the middle of each answer, as one that is killed."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n[1,")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_an_answer_that_ends_in_the_middle_is_told_as_what_it_leaves_open(
    monkeypatch: pytest.MonkeyPatch, cut_off: str
) -> None:
    """It was a traceback, and with it the end of the run of every host."""
    monkeypatch.setattr(module, "session", lambda *_: requests.Session())
    portainer = PortainerClient("https://portainer.example", "")
    portainer.url = cut_off
    with pytest.raises(errors.UnreachableError, match=r"GET /stacks at .*3 bytes read"):
        portainer.stacks()
    with pytest.raises(errors.UnknownOutcomeError):
        portainer.create_stack(1, "app", "services: {}", {})


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"message": "welcome"}', "a list of Stacks was expected"),
        (b'[{"Id": "x"}]', "no Stack: "),
        (b'["x"]', "no Stack: the whole: "),
        (b'"x"', "no Stack: the whole: "),
    ],
)
def test_an_answer_of_another_form_is_told_as_one(
    monkeypatch: pytest.MonkeyPatch, body: bytes, words: str
) -> None:
    portainer, _ = client(monkeypatch, [200])
    answer = requests.Response()
    answer.status_code, answer._content = 200, body
    monkeypatch.setattr(portainer._session, "request", lambda *_, **__: answer)
    with pytest.raises(errors.AnswerError, match=words):
        portainer.stacks()
    for other in (b'{"message": "no"}', b"<html>", b'["x"]'):
        answer._content = other
        with pytest.raises(errors.AnswerError):
            portainer.containers(1, "app")


@pytest.mark.parametrize(
    ("message", "lost"),
    [
        ("Unable to retrieve Compose file from disk", True),
        ("Unable to find a stack with the specified identifier inside the database", False),
    ],
)
def test_no_other_fault_of_the_server_counts_as_a_lost_file(
    monkeypatch: pytest.MonkeyPatch, message: str, *, lost: bool
) -> None:
    """What is lost is deleted and made anew; so nothing else may count as that."""
    portainer, _ = client(monkeypatch, [500])
    answer = requests.Response()
    answer.status_code, answer._content = 500, json.dumps({"message": message}).encode()
    monkeypatch.setattr(portainer._session, "request", lambda *_, **__: answer)
    stack = Stack.model_validate({"Id": 1, "Name": "a", "Type": 2, "EndpointId": 1, "Status": 1})
    if lost:
        assert portainer.stored_file((stack,)) is None
    else:
        with pytest.raises(errors.ApiError):
            portainer.stored_file((stack,))
