"""A slow hash is made once for a store's value, and what is kept of it helps nobody to guess."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from phoenix.secrets import slow_hashes
from phoenix.secrets.record import Record
from phoenix.secrets.slow_hashes import slow_hash
from phoenix.secrets.store import SecretStore, htpasswd

VALUE, OTHER = "planted-5ecret", "another-5ecre"
Process = Callable[[], None]


@pytest.fixture(autouse=True)
def new_process(monkeypatch: pytest.MonkeyPatch) -> Process:
    """Forgets what this process knows, as another process does not know it."""
    monkeypatch.setattr(slow_hashes, "SETTLED_SECONDS", 0)

    def forget() -> None:
        monkeypatch.setattr(slow_hashes, "_made", {})
        monkeypatch.setattr(slow_hashes, "_stores", {})

    forget()
    return forget


def write(tmp_path: Path, **values: str) -> Path:
    file = tmp_path / "secrets.json"
    file.write_text(json.dumps(values))
    file.chmod(0o600)
    return file


def hash_and_makings(
    file: Path, name: str = "one", value: str = "", **environment: str
) -> list[str]:
    """Reads a secret and has it hashed; what had to be made, and the hash."""
    secret = SecretStore(file, environment).find(name)
    assert secret is not None
    makings: list[str] = []

    def make() -> str:
        makings.append("made")
        return f"hash of {len(secret.get_secret_value())} characters"

    hashed = slow_hash("test", value or secret.get_secret_value(), make)
    slow_hashes.write()
    return [hashed, *makings]


def file_of_hashes(file: Path) -> Path:
    return file.with_name("secrets.json.hashes")


def test_the_next_process_makes_no_hash_anew(tmp_path: Path, new_process: Process) -> None:
    file = write(tmp_path, one=VALUE)
    assert hash_and_makings(file) == ["hash of 14 characters", "made"]
    assert hash_and_makings(file) == ["hash of 14 characters"]
    new_process()
    assert hash_and_makings(file) == ["hash of 14 characters"]


def test_the_real_hashes_are_kept(
    tmp_path: Path, new_process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path, one=VALUE)
    now = datetime.now(UTC)

    def hashes() -> tuple[str, str]:
        value = SecretStore(file, {}).get("one")
        record = Record(salt="salt").with_value("one", value.get_secret_value(), now, "me")
        return htpasswd("admin", value), record.newest("one").digest

    first = hashes()
    assert not file_of_hashes(file).exists(), "a plan keeps nothing"
    slow_hashes.write()
    new_process()
    monkeypatch.setattr("phoenix.secrets.store.bcrypt.hashpw", None)
    monkeypatch.setattr("phoenix.secrets.record.hashlib.scrypt", None)
    assert hashes() == first
    text = file_of_hashes(file).read_text()
    assert file_of_hashes(file).stat().st_mode & 0o777 == 0o600
    assert VALUE not in text
    state = file.stat()
    identity = [state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns]
    assert json.loads(text) == {
        "of": identity,
        "hashes": {"htpasswd admin of one": first[0], "record salt one of one": first[1]},
    }, "and no quick digest of a value, by which it could be guessed"


def test_another_value_has_another_hash_whatever_the_files_times(
    tmp_path: Path, new_process: Process
) -> None:
    file = write(tmp_path, one=VALUE)
    before = file.stat()
    hash_and_makings(file)
    new_process()
    with file.open("r+") as stream:
        stream.write(json.dumps({"one": VALUE.swapcase()}))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_size == before.st_size
    assert hash_and_makings(file)[1:] == ["made"]


def test_a_store_that_was_replaced_while_it_was_read_keeps_nothing(
    tmp_path: Path, new_process: Process
) -> None:
    file = write(tmp_path, one=VALUE)
    state = file.stat()
    hash_and_makings(file)
    new_process()
    file.unlink()
    write(tmp_path, one=OTHER)
    slow_hashes.was_read(file, state, {"one": OTHER})
    assert slow_hash("test", OTHER, lambda: "its own") == "its own"


def test_of_values_that_are_in_no_file_nothing_is_kept(tmp_path: Path) -> None:
    file = write(tmp_path, one=VALUE)
    assert hash_and_makings(file, PHOENIX_SECRET_ONE=OTHER)[1:] == ["made"]
    assert not file_of_hashes(file).exists()


def test_of_a_store_that_may_change_unseen_nothing_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slow_hashes, "SETTLED_SECONDS", 3600)
    file = write(tmp_path, one=VALUE)
    hash_and_makings(file)
    assert not file_of_hashes(file).exists()


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"of": [], "hashes": {"a": 1}}', "\udcff"])
def test_damaged_hashes_are_made_anew(tmp_path: Path, new_process: Process, damage: str) -> None:
    file = write(tmp_path, one=VALUE)
    hash_and_makings(file)
    whole = file_of_hashes(file).read_text()
    file_of_hashes(file).write_text(damage, errors="surrogateescape")
    new_process()
    assert hash_and_makings(file)[1:] == ["made"]
    assert file_of_hashes(file).read_text() == whole


def test_hashes_that_others_may_write_are_not_believed(
    tmp_path: Path, new_process: Process
) -> None:
    file = write(tmp_path, one=VALUE)
    hash_and_makings(file)
    file_of_hashes(file).chmod(0o620)
    new_process()
    assert hash_and_makings(file)[1:] == ["made"]
    assert file_of_hashes(file).stat().st_mode & 0o777 == 0o600


def test_hashes_that_cannot_be_kept_stop_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        raise PermissionError

    monkeypatch.setattr("phoenix.secrets.private_file.tempfile.mkstemp", refuse)
    assert hash_and_makings(write(tmp_path, one=VALUE))[1:] == ["made"]
