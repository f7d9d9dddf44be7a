"""The lab's stand-in for Qdrant: the answers that a client of the real one relies on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab.stacks.qdrant import answer_to, refusal


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "collections.json"


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz"])
def test_health(store: Path, path: str) -> None:
    assert answer_to("GET", path, b"", store) == (200, f"{path[1:]} check passed")


def test_collections_are_kept_in_the_volume(store: Path) -> None:
    body = b'{"vectors": {"size": 4, "distance": "Dot"}}'
    assert answer_to("GET", "/collections/docs", b"", store)[0] == 404
    status, answer = answer_to("PUT", "/collections/docs", body, store)
    assert (status, json.loads(answer)["result"]) == (200, True)
    status, answer = answer_to("PUT", "/collections/docs", body, store)
    assert status == 409, answer
    assert "already exists" in json.loads(answer)["status"]["error"]
    # Nothing but the file is remembered, so a new container finds them too.
    assert json.loads(store.read_text())["docs"]["vectors"]["size"] == 4
    listed = json.loads(answer_to("GET", "/collections", b"", store)[1])
    assert listed["result"] == {"collections": [{"name": "docs"}]}
    assert answer_to("DELETE", "/collections/docs", b"", store)[0] == 200
    assert json.loads(answer_to("GET", "/collections", b"", store)[1])["result"] == {
        "collections": []
    }


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"api-key": "wrong"}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"authorization": "Basic key"}, 401),
        ({"api-key": "key"}, None),
        ({"authorization": "Bearer key"}, None),
    ],
)
def test_a_key_is_asked_for(headers: dict[str, str], status: int | None) -> None:
    answer = refusal("/collections", headers, "key")
    assert (answer[0] if answer else None) == status
    assert refusal("/healthz", headers, "key") is None
    assert refusal("/collections", headers, "") is None


@pytest.mark.parametrize("path", ["/collections/", "/collections/a/points", "/nothing"])
def test_the_rest_is_404(store: Path, path: str) -> None:
    assert answer_to("GET", path, b"", store)[0] == 404


def test_unknown_method(store: Path) -> None:
    assert answer_to("POST", "/collections/docs", b"{}", store)[0] == 405
    assert not store.exists() or json.loads(store.read_text()) == {}
