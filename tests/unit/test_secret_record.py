"""What the site remembers of its secrets: digests alone, and which value is the older one."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr
from pyinfra.api.state import StateStage

from operations import secrets as operations
from phoenix.secrets import record, slow_hashes
from phoenix.secrets.errors import SecretError
from phoenix.secrets.record import KEPT, Record, parse
from phoenix.secrets.store import SecretStore

NOW = datetime(2026, 5, 6, tzinfo=UTC)


def record_of(*values: str) -> Record:
    known = Record()
    for number, value in enumerate(values):
        known = known.with_value("token", value, NOW + timedelta(days=number), f"op{number}@desk")
    return known


def test_a_value_is_current_older_or_unknown() -> None:
    known = record_of("first", "second")
    assert [known.age("token", value) for value in ("first", "second", "third")] == [
        "older",
        "current",
        "unknown",
    ]
    assert known.age("other", "second") == "unknown", "a digest is of one secret"
    assert known.newest("token").by == "op1@desk"


def test_no_digest_is_made_where_no_value_can_be_older(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes a thirtieth of a second, and a run asks for all secrets of the site."""
    once, twice = record_of("first"), record_of("first", "second")
    assert [twice.is_older("token", value) for value in ("first", "second", "third")] == [
        True,
        False,
        False,
    ]

    def fails(*_words: str) -> str:
        raise AssertionError("a digest was made")

    monkeypatch.setattr(record, "digest_of", fails)
    assert not once.is_older("token", "first")
    assert not once.is_older("other", "first")


def test_a_value_that_comes_back_is_the_current_one() -> None:
    known = record_of("first", "second", "first")
    assert known.age("token", "first") == "current"
    assert known.age("token", "second") == "older"


def test_the_same_value_again_changes_nothing() -> None:
    known = record_of("first")
    assert known.with_value("token", "first", NOW, "somebody") is known


def test_no_value_is_in_the_file_and_no_two_sites_have_the_same_digest() -> None:
    first, two = record_of("hunter2"), record_of("hunter2")
    assert "hunter2" not in first.model_dump_json()
    assert first.newest("token").digest != two.newest("token").digest
    assert parse(first.model_dump_json()) == first
    assert parse("").values == {}


def test_so_many_values_are_remembered() -> None:
    known = record_of(*(str(number) for number in range(KEPT + 3)))
    assert len(known.values["token"]) == KEPT
    assert known.age("token", str(KEPT + 2)) == "current"


@pytest.mark.parametrize("text", ["{", "[]", '{"values": 3}', '{"values": {"a": [{}]}}'])
def test_another_file_is_refused_with_the_fix(text: str) -> None:
    with pytest.raises(SecretError, match=f"{record.FILE} on the hypervisor is not a record"):
        parse(text)


class Hypervisor:
    """What a run's end sees of it: the file, and the run's state."""

    def __init__(self, text: str, *failed: str, stage: StateStage = StateStage.Disconnect) -> None:
        self.text, self.commands = text, 0
        hosts = [SimpleNamespace(name=name) for name in failed]
        self.state = SimpleNamespace(current_stage=stage, failed_hosts=hosts)

    def run_shell_command(self, _command: object, _stdin: str = "") -> tuple[bool, Any]:
        self.commands += 1
        if _stdin:
            self.text = _stdin
        return True, SimpleNamespace(stdout=self.text)


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {("token", "a"): SecretStr("mine"), ("key", "b"): SecretStr("other")}
    monkeypatch.setattr(operations, "_used", values)
    monkeypatch.setattr(operations, "_known", [])


@pytest.mark.usefixtures("used")
def test_what_a_run_gave_to_its_hosts_is_remembered_at_its_end() -> None:
    hypervisor = Hypervisor("")
    operations._remember(hypervisor)  # type: ignore[arg-type]
    known = parse(hypervisor.text)
    assert (known.age("token", "mine"), known.age("key", "other")) == ("current", "current")
    before = hypervisor.text
    operations._remember(hypervisor)  # type: ignore[arg-type]
    assert (hypervisor.text, hypervisor.commands) == (before, 3), "written once"


@pytest.mark.usefixtures("used")
def test_a_run_that_gave_what_the_site_had_asks_nothing_at_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hypervisor = Hypervisor("")
    operations._remember(hypervisor)  # type: ignore[arg-type]
    known = parse(hypervisor.text)
    commands = hypervisor.commands
    monkeypatch.setattr(operations, "_known", [known])
    operations._remember(hypervisor)  # type: ignore[arg-type]
    assert hypervisor.commands == commands
    operations._used["token", "a"] = SecretStr("new")
    operations._remember(hypervisor)  # type: ignore[arg-type]
    assert parse(hypervisor.text).age("token", "new") == "current"


@pytest.mark.usefixtures("used")
def test_what_a_failed_host_was_to_get_is_not_remembered() -> None:
    hypervisor = Hypervisor("", "b")
    operations._remember(hypervisor)  # type: ignore[arg-type]
    assert list(json.loads(hypervisor.text)["values"]) == ["token"]


@pytest.mark.usefixtures("used")
def test_an_interrupted_run_remembers_nothing() -> None:
    hypervisor = Hypervisor("", stage=StateStage.Execute)
    operations._remember(hypervisor)  # type: ignore[arg-type]
    assert hypervisor.commands == 0


@pytest.mark.usefixtures("used")
def test_the_digests_that_are_made_at_the_end_of_a_run_are_kept_for_the_next(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each takes a thirtieth of a second; no operation comes after them that would keep them."""
    monkeypatch.setattr(slow_hashes, "SETTLED_SECONDS", 0)
    hashed: list[str] = []
    scrypt = hashlib.scrypt

    def counted(value: bytes, **options: Any) -> bytes:
        hashed.append(value.decode())
        return scrypt(value, **options)

    monkeypatch.setattr(hashlib, "scrypt", counted)
    file = tmp_path / "secrets.json"
    file.write_text(json.dumps({"token": "mine", "key": "other"}))
    file.chmod(0o600)
    hypervisor = Hypervisor("")
    for expected in (["mine", "other"], []):
        monkeypatch.setattr(slow_hashes, "_made", {})
        monkeypatch.setattr(slow_hashes, "_stores", {})
        assert SecretStore(file, {}).find("token")
        operations._remember(hypervisor)  # type: ignore[arg-type]
        assert hashed == expected
        hashed.clear()
