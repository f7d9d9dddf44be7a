"""A component that leaves its host: `apply.sh remove`, with SIGKILL at every step."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from operations.removal import _TREE
from tests.unit.test_apply_script import STRIDE
from tests.unit.tree_host import SCRIPT, Done, TreeHost, killed, make_host


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TreeHost:
    return make_host(tmp_path, monkeypatch)


def remove(machine: TreeHost, tree: str = "demo", word: str = "", *, kill_at: int = 0) -> Done:
    """By the very command that the operation sends."""
    path = [str(machine.top / "bin")]
    if kill_at:
        (machine.top / "fake/count").write_text("0")
        path.insert(0, str(machine.top / "shims"))
    done = subprocess.run(
        [*_TREE.argv(machine.base.with_name(tree), word)],
        input=SCRIPT.read_text(),
        env={"PATH": ":".join([*path, "/usr/bin", "/bin"]), "FAKE": str(machine.top / "fake"),
             "KILL_AT": str(kill_at)},
        capture_output=True, text=True, timeout=60, check=False, start_new_session=True,
    )  # fmt: skip
    return Done(done.returncode, done.stderr)


def is_active(machine: TreeHost) -> bool:
    return (machine.top / "fake/active.demo.service").exists()


def test_its_service_ends_and_what_stood_there_is_back(machine: TreeHost) -> None:
    machine.other.write_text("by hand\n")
    machine.install(machine.tree("one"))
    machine.install(machine.tree("two"))
    done = remove(machine)
    assert done.code == 0, done
    assert machine.contents() == {"etc/demo/other": "by hand\n"}
    assert (is_active(machine), machine.base.exists()) == (False, False)
    assert not (machine.top / "fake/enabled.demo.service").exists()
    assert list(machine.base.parent.iterdir()) == []
    assert remove(machine).code == 0, "a second time finds nothing"


def test_half_a_change_of_a_killed_run_does_not_cost_what_stood_there(machine: TreeHost) -> None:
    """Its link beside the place led `cp` into the generation, and took the place itself."""
    machine.other.write_text("by hand\n")
    machine.install(machine.tree("one"))
    left = machine.other.with_name("other.phoenix-new")
    left.symlink_to(f"{machine.base}/current/root{machine.other}")
    assert remove(machine).code == 0
    assert machine.contents() == {"etc/demo/other": "by hand\n"}
    assert not left.is_symlink()


def test_what_stood_there_is_on_the_disk_before_its_place_is_taken(machine: TreeHost) -> None:
    sync = machine.top / "bin/sync"
    sync.write_text(f"""#!/bin/sh
[ ! -L {machine.other} ] || said=taken
printf 'sync %s %s\\n' "$*" "${{said:-}}" >>"$FAKE/log"
exec /usr/bin/sync "$@"
""")
    sync.chmod(0o755)
    machine.other.write_text("by hand\n")
    machine.install(machine.tree("one"))
    assert f"sync -f -- {machine.base} " in machine.log
    machine.forget_log()
    machine.install(machine.tree("two"))
    assert not any(line.startswith("sync -f") for line in machine.log), "it costs time"
    assert remove(machine).code == 0
    assert f"sync -- {machine.other}.phoenix-new taken" in machine.log


def test_a_service_that_others_need_goes_on(machine: TreeHost) -> None:
    machine.install(machine.tree("one"))
    machine.forget_log()
    assert remove(machine, word="running").code == 0
    assert is_active(machine)
    assert "systemctl reload-or-restart -- demo.service" in machine.log
    assert not any("stop" in line for line in machine.log), machine.log


def test_a_place_that_another_component_took_stays_its_own(machine: TreeHost) -> None:
    """Two certificates of one host, of which the former leaves: the program is of both."""
    machine.install(machine.tree("one"))
    second = replace(machine.tree("two"), component="second", unit="second.service", health="")
    stage = second.base.replace("/demo", "/second")
    assert Path(stage).name == "second"
    tree_host = TreeHost(machine.top)
    object.__setattr__(tree_host, "__class__", Second)
    assert tree_host.install(second).code == 0
    assert remove(machine).code == 0
    assert machine.contents() == {
        "etc/demo/config": "config two\n",
        "etc/demo/other": "other two\n",
        "etc/systemd/system/demo.service": "[Unit] two\n",
    }
    assert remove(machine, "second").code == 0
    assert machine.contents() == {}
    assert not any(path.is_symlink() for path in (machine.top / "etc").rglob("*"))


class Second(TreeHost):
    """The same host, with another component's tree."""

    @property
    def base(self) -> Path:
        return self.top / "trees/second"


def test_what_a_person_put_there_since_is_left(machine: TreeHost) -> None:
    machine.install(machine.tree("one"))
    machine.config.unlink()
    machine.config.write_text("by hand, later\n")
    assert remove(machine).code == 0
    assert machine.contents() == {"etc/demo/config": "by hand, later\n"}


def test_killed_anywhere_it_is_finished_by_the_next(machine: TreeHost) -> None:
    machine.other.write_text("by hand\n")
    for at in range(1, 200, STRIDE):
        assert machine.install(machine.tree("one")).code == 0, at
        stopped = remove(machine, kill_at=at)
        if not killed(stopped):
            assert at > 5, "it was never killed"
            break
        done = remove(machine)
        assert done.code == 0, (at, done)
        assert machine.contents() == {"etc/demo/other": "by hand\n"}, at
        assert (is_active(machine), machine.base.exists()) == (False, False), at
    else:
        pytest.fail("it never came to its end")
