"""What Portainer's client does with answers that the emulator does not give on demand."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from phoenix.portainer_api import PortainerClient, errors
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
