"""What operations compare with is asked once, and anew after a change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from phoenix.proxmox.client import Client, ReadOnce
from phoenix.proxmox.errors import ProxmoxError


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    created: list[str] = []

    def send(_: Client, method: str, path: str, values: Mapping[str, Any]) -> Any:
        created.append(f"{method} {path} {dict(values)}")
        if path == "broken" and len(created) == 1:
            raise ProxmoxError("no")
        return [{"vmid": len(created)}]

    monkeypatch.setattr(Client, "_send", send)
    return created


def test_equal_questions_are_asked_once_until_something_changed(sent: list[str]) -> None:
    reader = ReadOnce(None)
    assert reader.get("guests") == reader.get("guests") == [{"vmid": 1}]
    assert reader.get("guests", node="a") == [{"vmid": 2}]
    reader.forget()
    assert reader.get("guests") == [{"vmid": 3}]
    assert len(sent) == 3


def test_who_changes_an_answer_changes_its_own(sent: list[str]) -> None:
    reader = ReadOnce(None)
    reader.get("guests").clear()
    assert reader.get("guests") == [{"vmid": 1}]
    assert len(sent) == 1


def test_an_old_answer_and_an_error_are_asked_again(sent: list[str]) -> None:
    now = [0.0]
    reader = ReadOnce(None, seconds=30, clock=lambda: now[0])
    with pytest.raises(ProxmoxError):
        reader.get("broken")
    assert reader.get("broken") == [{"vmid": 2}]
    now[0] = 31.0
    assert reader.get("broken") == [{"vmid": 3}]
    assert len(sent) == 3


def test_it_never_writes(sent: list[str]) -> None:
    with pytest.raises(TypeError, match="must not write"):
        ReadOnce(None).write("POST", "guests")
    assert sent == []
