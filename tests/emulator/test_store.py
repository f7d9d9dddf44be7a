"""The emulator's database file."""

from __future__ import annotations

import stat
from pathlib import Path

from portainer_emulator.store import Store


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


def test_file_is_ours_alone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [store.path.name]
