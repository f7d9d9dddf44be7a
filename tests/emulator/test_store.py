"""The emulator's database file."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from portainer_emulator.store import SchemaError, Store


def test_rows_and_the_instance_survive_a_restart(tmp_path: Path) -> None:
    store = Store(tmp_path / "data")
    store.rows("stacks").append({"Id": store.next_id("stacks"), "Name": "app"})
    store.save()
    again = Store(tmp_path / "data")
    assert again.find("stacks", 1) == {"Id": 1, "Name": "app"}
    assert again.data["instance"] == store.data["instance"]


def test_an_id_is_never_used_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.rows("stacks").append({"Id": store.next_id("stacks")})
    store.rows("stacks").clear()
    store.save()
    assert Store(tmp_path).next_id("stacks") == 2
    assert store.next_id("endpoints") == 1, "each table counts by itself"


def test_a_newer_server_migrates_and_keeps_what_was_and_an_older_one_ends(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.migrate("2.33.9")
    before = store.path.read_bytes()
    backup = tmp_path / "backups/portainer.db.bak"
    Store(tmp_path).migrate("2.33.9")
    assert not backup.exists(), "the same version migrates nothing"
    Store(tmp_path).migrate("2.39.1")
    assert backup.read_bytes() == before
    with pytest.raises(SchemaError, match="does not align"):
        Store(tmp_path).migrate("2.33.10")
    store.path.write_bytes(before)
    Store(tmp_path).migrate("2.33.9")


def test_file_is_ours_alone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [store.path.name]
