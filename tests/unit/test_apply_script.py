"""config_tree_apply.sh run for real: real files, a fake systemd, and SIGKILL at every step."""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
from pyinfra.api.exceptions import FactProcessError

from facts.config_tree import ConfigTree
from phoenix.components.config_tree.tree import Tree, TreeFile, compare
from tests.unit.tree_host import GROUP, USER, TreeHost, killed, make_host

STRIDE = int(os.environ.get("PHOENIX_KILL_STRIDE", "4"))
"""Every so many steps a run is killed; 1 takes a minute and leaves out none."""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TreeHost:
    return make_host(tmp_path, monkeypatch)


def test_first_install_places_links_and_copies_and_starts_the_service(machine: TreeHost) -> None:
    tree = machine.tree("one")
    done = machine.install(tree)
    assert done.code == 0, done
    assert machine.config.is_symlink(), "a file of the component is a link into its generation"
    assert not machine.unit.is_symlink(), "systemd resolves links to units: they are copies"
    assert machine.contents() == {
        "etc/demo/config": "config one\n",
        "etc/demo/other": "other one\n",
        "etc/systemd/system/demo.service": "[Unit] one\n",
    }
    assert machine.served == "config one\n"
    reload, start = (
        machine.log.index(f"systemctl {call}")
        for call in ("daemon-reload", "start -- demo.service")
    )
    assert reload < start, machine.log
    assert "systemctl enable -q -- demo.service" in machine.log, machine.log
    assert machine.converge(tree) is None, machine.state(tree)
    assert not machine.faults(), machine.faults()


def test_change_restarts_once_and_the_next_run_finds_nothing_to_do(machine: TreeHost) -> None:
    machine.install(machine.tree("one"))
    machine.forget_log()
    done = machine.install(machine.tree("two"))
    assert done.code == 0, done
    assert machine.served == "config two\n"
    assert machine.log.count("systemctl restart -- demo.service") == 1, machine.log
    assert machine.converge(machine.tree("two")) is None


def test_modes_and_bytes_arrive_as_declared(machine: TreeHost) -> None:
    blob = bytes(range(256)) * 40
    files = {
        str(machine.config): TreeFile("x", mode="0755", user=USER, group=GROUP),
        str(machine.other): TreeFile(blob, mode="0600", user=USER, group=GROUP, secret=True),
    }
    tree = machine.tree("x", files={machine.config: ""}, health="")
    tree = type(tree)(component="demo", files=files)
    assert machine.install(tree).code == 0
    assert machine.other.read_bytes() == blob
    modes = [machine.config.stat().st_mode & 0o777, machine.other.stat().st_mode & 0o777]
    assert modes == [0o755, 0o600], [oct(mode) for mode in modes]
    assert machine.converge(tree) is None


def test_refused_tree_changes_nothing(machine: TreeHost) -> None:
    machine.install(machine.tree("one"))
    before, link = machine.contents(), machine.current
    machine.forget_log()
    done = machine.install(machine.tree("refused"))
    assert done.code == 3, done
    assert "line 1: no" in done.stderr, done.stderr
    assert "nothing was changed" in done.stderr, done.stderr
    assert (machine.contents(), machine.current) == (before, link)
    assert machine.log == [], "a refused tree touches no service"
    assert machine.generations == {link}, "the refused generation is gone"


def test_a_failed_preparation_changes_nothing_and_leaves_the_service_running(
    machine: TreeHost,
) -> None:
    machine.install(machine.tree("one"))
    before = machine.contents()
    stops_then_fails = machine.tree(
        "two", before="systemctl stop demo.service; echo full >&2; false"
    )
    done = machine.install(stops_then_fails)
    assert done.code == 3, done
    assert "nothing is changed" in done.stderr, done.stderr
    assert machine.contents() == before
    assert machine.served == "config one\n", "it was stopped for the preparation"
    assert machine.converge(machine.tree("one")) is None, done


def test_refused_first_install_leaves_no_trace_at_the_paths(machine: TreeHost) -> None:
    assert machine.install(machine.tree("refused")).code == 3
    assert machine.contents() == {}


@pytest.mark.parametrize("fault", ["bad", "crash"])
def test_unhealthy_change_brings_the_previous_files_back(machine: TreeHost, fault: str) -> None:
    machine.install(machine.tree("one"))
    before = machine.contents()
    done = machine.install(machine.tree(fault))
    assert done.code == 5, done
    reason = "it runs bad" if fault == "bad" else "Job for demo.service failed"
    assert reason in done.stderr, done.stderr
    assert "the previous configuration serves again" in done.stderr, done.stderr
    assert machine.contents() == before
    assert machine.served == "config one\n"
    assert machine.converge(machine.tree("one")) is None
    assert machine.install(machine.tree("three")).code == 0
    assert machine.served == "config three\n"


@pytest.mark.parametrize("stream", ["full", "closed pipe"])
def test_rollback_goes_on_when_nobody_listens_any_more(machine: TreeHost, stream: str) -> None:
    machine.install(machine.tree("one"))
    if stream == "full":
        end = os.open("/dev/full", os.O_WRONLY)
    else:
        read, end = os.pipe()
        os.close(read)
    try:
        done = machine.install(machine.tree("bad"), stderr=end)
    finally:
        os.close(end)
    assert machine.served == "config one\n", done
    assert machine.converge(machine.tree("one")) is None, done


def test_unhealthy_first_install_leaves_the_host_as_it_was(machine: TreeHost) -> None:
    machine.config.write_text("by hand\n")
    machine.config.chmod(0o640)
    machine.other.symlink_to("config")
    done = machine.install(machine.tree("bad"))
    assert done.code == 5, done
    assert machine.config.read_text() == "by hand\n"
    assert not machine.config.is_symlink()
    assert machine.config.stat().st_mode & 0o777 == 0o640
    assert str(machine.other.readlink()) == "config"
    assert not machine.unit.exists()
    assert machine.generations == set(), machine.generations
    active = machine.top / "fake/active.demo.service"
    assert not active.exists(), "the unit is gone, so what it started must not run on"


def test_unhealthy_load_of_an_interrupted_first_install_leaves_the_host_as_it_was(
    machine: TreeHost,
) -> None:
    machine.config.write_text("by hand\n")
    tree = machine.tree("bad")
    at = next(n for n in range(20, 100) if _stopped_before_load(machine, tree, n))
    before = machine.generations
    done = machine.again("load")
    assert done.code == 5, (at, done)
    assert machine.config.read_text() == "by hand\n"
    assert not (machine.base / "current").is_symlink()
    assert len(machine.generations & before) == len(before) - 1, "the unhealthy one is gone"


def _stopped_before_load(machine: TreeHost, tree: object, at: int) -> bool:
    done = machine.install(tree, kill_at=at)  # type: ignore[arg-type]
    assert killed(done), (at, done)
    state = machine.state(tree)  # type: ignore[arg-type]
    return state.current is not None and len(state.files) == 3


def test_file_that_left_the_tree_is_vacated(machine: TreeHost) -> None:
    machine.other.write_text("by hand\n")
    machine.install(machine.tree("one"))
    less = machine.tree("two", files={machine.config: "config two\n"})
    done = machine.converge(less)
    assert done is not None, "the fact must see the path that is no longer declared"
    assert done.code == 0, done
    assert machine.contents() == {
        "etc/demo/config": "config two\n",
        "etc/demo/other": "by hand\n",
    }
    assert machine.converge(less) is None


def test_what_a_person_changed_between_two_stays_is_what_comes_back(machine: TreeHost) -> None:
    with_it = machine.tree("one")
    without = machine.tree("one", files={machine.config: "config one\n"})
    machine.other.write_text("first\n")
    machine.install(with_it)
    machine.install(without)
    assert machine.other.read_text() == "first\n"
    machine.other.write_text("second\n")
    machine.install(with_it)
    machine.install(without)
    assert machine.other.read_text() == "second\n"
    machine.other.unlink()
    machine.install(with_it)
    machine.install(without)
    assert not machine.other.exists(), machine.other.read_text()


def test_a_file_of_another_hand_is_told_and_kept(machine: TreeHost) -> None:
    tree = machine.tree("one")
    machine.config.write_text("a person's\n")
    machine.other.write_text("as the package brought it\n")
    md5 = hashlib.md5(machine.other.read_bytes()).hexdigest()  # noqa: S324  # dpkg's own
    status = machine.top / "dpkg/status"
    status.parent.mkdir()
    status.write_text(f"Conffiles:\n {machine.other} {md5}\n")
    state = machine.state(tree)
    assert state.foreign == {str(machine.config)}
    diff = compare(tree, state)
    assert diff.replaced == (str(machine.config),)
    copy = f"{machine.base}/replaced{machine.config}"
    assert diff.files[str(machine.config)] == (
        f"replaces a file that Phoenix did not write; kept as {copy}"
    )
    assert diff.files[str(machine.other)] == "has other content"
    assert machine.install(tree).code == 0
    assert Path(copy).read_text() == "a person's\n"
    assert machine.state(tree).foreign == frozenset()
    machine.config.unlink()
    machine.config.write_text("edited while Phoenix had it\n")
    later = compare(tree, machine.state(tree))
    assert (later.replaced, list(later.files)) == ((), [str(machine.config)])


@pytest.mark.parametrize("same", ["empty", "equal"])
def test_a_file_with_nothing_to_lose_is_not_told(machine: TreeHost, same: str) -> None:
    tree = machine.tree("one")
    machine.config.write_text("" if same == "empty" else "config one\n")
    assert compare(tree, machine.state(tree)).replaced == ()


def test_what_the_service_no_longer_reads_is_told_once(machine: TreeHost) -> None:
    site = machine.top / "etc/demo/sites/a-person"
    site.parent.mkdir()
    site.write_text("server {}\n")
    tree = machine.tree("one", supersedes=(f"{site.parent}/*", f"{machine.top}/nothing/*"))
    assert compare(tree, machine.state(tree)).superseded == (str(site),)
    assert machine.install(tree).code == 0
    assert machine.state(tree).superseded == ()
    assert site.exists()


def test_trees_that_are_asked_at_once_answer_as_each_by_itself(machine: TreeHost) -> None:
    tree = machine.tree("one")
    assert machine.install(tree).code == 0
    shut = machine.top / "etc/shut"
    shut.mkdir(mode=0o700)
    others = [
        machine.tree("one", in_force="echo 'it is\tnot'; false"),
        replace(
            tree,
            component="other",
            unit="other.service",
            supersedes=(str(machine.other),),
            files={
                **tree.files,
                "/etc/tmpfiles.d/a.conf": TreeFile(f"d {shut} 0700 {USER} {GROUP}\n"),
            },
        ),
        machine.tree("one", files={machine.unit: "", machine.top / "etc/not-there": "x"}),
    ]
    machine.config.unlink()
    machine.config.write_text("by hand\n")
    trees = [tree, *others, tree]
    apart = [machine.state(tree) for tree in trees]
    assert machine.states(trees) == apart
    assert apart[1].not_in_force == "it is not"
    assert apart[2].superseded == (str(machine.other),)
    assert apart[2].directories == {str(shut): ("700", USER, GROUP)}
    assert apart[2].current is None
    assert str(machine.unit) in apart[3].files


def test_a_tree_that_another_run_holds_keeps_no_other_from_being_read(
    machine: TreeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = machine.tree("one")
    assert machine.install(tree).code == 0
    (machine.top / "bin/flock").write_text("#!/bin/sh\nexit 1\n")
    (machine.top / "bin/flock").chmod(0o755)
    with pytest.raises(FactProcessError, match=r"another run has held .*/lock for two minutes"):
        machine.states([tree])
    free = replace(tree, component="free")
    answer = machine.asked([tree, free])
    busy, other = ConfigTree.parted(answer, 2)
    assert busy == [f"0\tbusy\t{tree.base}/lock", "0\tend"]
    assert ConfigTree().parse(other).files.keys() == tree.files.keys()


def test_an_answer_about_a_tree_that_ends_in_the_middle_is_none(machine: TreeHost) -> None:
    (machine.top / "bin/awk").write_text("#!/bin/sh\nexec head -n 1\n")
    (machine.top / "bin/awk").chmod(0o755)
    with pytest.raises(FactProcessError, match=r"unexpected (line|answer)|ends in the middle"):
        machine.states([machine.tree("one")])


def test_damaged_upload_is_refused(machine: TreeHost) -> None:
    machine.install(machine.tree("one"))
    before = machine.contents()
    stage = machine.stage(machine.tree("two"))
    (stage / f"root{machine.config}").write_text("config tw")
    done = machine.run(stage / "apply", "install")
    assert done.code == 3, done
    assert "arrived damaged" in done.stderr, done.stderr
    assert machine.contents() == before
    assert machine.install(machine.tree("two")).code == 0
    assert not list((machine.base / "gen").glob(".stage.*")), "the next run cleans up"


def test_unknown_owner_is_refused(machine: TreeHost) -> None:
    tree = machine.tree("one")
    tree = type(tree)(
        component="demo", files={str(machine.config): TreeFile("x", user="nobody-here")}
    )
    done = machine.install(tree)
    assert done.code == 3, done
    assert "no such user or group: nobody-here:root" in done.stderr, done.stderr


def test_pruning_keeps_current_and_previous(machine: TreeHost) -> None:
    generations = []
    for text in ("one", "two", "three", "four"):
        assert machine.install(machine.tree(text)).code == 0
        generations.append(machine.current)
    assert machine.generations == set(generations[-2:]), (machine.generations, generations)
    assert (machine.base / "previous").readlink().name == generations[-2]


def test_a_former_secret_is_gone_when_the_new_one_is_proven(machine: TreeHost) -> None:
    def with_key(text: str) -> Tree:
        tree = machine.tree(text)
        key = TreeFile(f"key {text}\n", mode="0600", user=USER, group=GROUP, secret=True)
        return replace(tree, files={**tree.files, str(machine.config.parent / "key"): key})

    def keys() -> list[str]:
        return sorted(file.read_text() for file in machine.base.rglob("key"))

    assert machine.install(with_key("one")).code == 0
    assert machine.install(with_key("bad")).code == 5, "the former one serves again"
    assert keys() == ["key one\n"]
    assert machine.install(with_key("two")).code == 0
    assert keys() == ["key two\n"]
    assert machine.converge(with_key("two")) is None
    assert machine.install(replace(with_key("two"), health="false")).code == 5
    assert machine.served == "config two\n", "it goes back to the last one all the same"


def test_hand_edit_and_drift_are_put_right(machine: TreeHost) -> None:
    tree = machine.tree("one")
    machine.install(tree)
    machine.config.unlink()
    machine.config.write_text("by hand\n")
    done = machine.converge(tree)
    assert done is not None
    assert done.code == 0, done
    assert machine.served == "config one\n"
    assert machine.converge(tree) is None


def test_stopped_service_is_started_again_without_a_new_generation(machine: TreeHost) -> None:
    tree = machine.tree("one")
    machine.install(tree)
    before = machine.current
    (machine.top / "fake/active.demo.service").unlink()
    done = machine.converge(tree)
    assert done is not None
    assert done.code == 0, done
    assert (machine.current, machine.served) == (before, "config one\n")
    assert machine.converge(tree) is None


def test_a_link_that_was_changed_by_hand_is_noticed_and_put_right(machine: TreeHost) -> None:
    """As /etc/localtime: it is state, not something that is done once."""
    zone = machine.top / "zone"
    zone.write_text("UTC\n")
    link = machine.top / "etc/localtime"
    tree = machine.tree("one", links={str(link): str(zone)})
    machine.install(tree)
    assert (link.readlink(), machine.converge(tree)) == (zone, None)
    for other in (machine.top / "nowhere", machine.config):
        link.unlink()
        link.symlink_to(other)
        assert [
            command for command in compare(tree, machine.state(tree)).load if str(link) in command
        ]
        done = machine.converge(tree)
        assert done is not None
        assert (done.code, link.readlink()) == (0, zone)
    link.unlink()
    link.write_text("a file of its own")
    machine.converge(tree)
    assert (link.readlink(), machine.converge(tree)) == (zone, None)


def test_each_unit_of_a_tree_is_told_apart(machine: TreeHost) -> None:
    """systemd answers about all of them in one go."""
    tree = machine.tree("one", enable=("one.timer", "two.timer"))
    fake = machine.top / "fake"
    for mark in ("active.one.timer", "enabled.two.timer", "masked.two.timer"):
        (fake / mark).write_text("")
    units = machine.state(tree).units
    assert list(units) == [tree.unit, "one.timer", "two.timer"]
    assert [(unit.active, unit.enabled) for unit in units.values()] == [
        ("inactive", "disabled"),
        ("active", "disabled"),
        ("inactive", "masked"),
    ]


def test_a_masked_unit_is_unmasked(machine: TreeHost) -> None:
    tree = machine.tree("one")
    machine.install(tree)
    (machine.top / "fake/masked.demo.service").touch()
    (machine.top / "fake/active.demo.service").unlink()
    assert "demo.service is masked" in compare(tree, machine.state(tree)).load
    done = machine.converge(tree)
    assert done is not None
    assert (done.code, machine.converge(tree)) == (0, None), done
    assert "demo.service is masked: unmasking it" in done.stderr


@pytest.mark.parametrize("action", ["reload", "restart"])
def test_a_service_that_hangs_is_restarted(machine: TreeHost, action: str) -> None:
    tree = machine.tree("one", action=action)
    machine.install(tree)
    with subprocess.Popen(["sleep", "60"]) as process:
        (machine.top / "fake/pid").write_text(str(process.pid))
        assert machine.converge(tree) is None
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        assert compare(tree, machine.state(tree)).load == ("demo.service is hanging",)
        machine.forget_log()
        done = machine.converge(tree)
        again = os.waitid(os.P_PID, process.pid, os.WCONTINUED | os.WNOHANG)
        process.kill()
    assert again is not None, "what ends before it, and asks it for that, would wait for it"
    assert done is not None
    assert (done.code, machine.converge(tree)) == (0, None), done
    assert "systemctl restart -- demo.service" in machine.log


def test_a_health_check_that_hangs_is_ended_and_rolled_back(machine: TreeHost) -> None:
    """As `docker info` does while dockerd hangs: the run waited for ever."""
    machine.install(machine.tree("one"))
    machine.environment["PHOENIX_HEALTH_SECONDS"] = "1"
    done = machine.install(
        machine.tree("two", health='grep -q one "$FAKE/served" || exec sleep 60')
    )
    assert done.code == 5, done
    assert "its check says nothing: what it asks hangs" in done.stderr
    assert machine.served == "config one\n"


def test_proven_generation_is_not_withdrawn_when_its_service_fails_later(
    machine: TreeHost,
) -> None:
    machine.install(machine.tree("one"))
    machine.install(machine.tree("two"))
    before = machine.current
    (machine.top / "fake/active.demo.service").unlink()
    broken = (machine.base / "current/root").joinpath(str(machine.config)[1:])
    broken.write_text("crash")
    assert machine.again("load").code == 5
    assert machine.current == before


def test_unread_unit_is_read_by_the_run_that_finishes(machine: TreeHost) -> None:
    """Killed between a new unit and daemon-reload: `load` alone must bring systemd up to date."""
    tree = machine.tree("one")
    machine.install(tree)
    (machine.top / "fake/unit.read").write_text("[Unit] older\n")
    assert machine.state(tree).units["demo.service"].stale
    done = machine.converge(tree)
    assert done is not None
    assert done.code == 0, done
    assert machine.converge(tree) is None, machine.state(tree)


def test_confirm_keeps_the_files_and_undo_brings_the_previous_back(machine: TreeHost) -> None:
    machine.install(machine.tree("one"))
    two = machine.tree("two", confirm=7)
    assert machine.install(two).code == 0
    timers = [call for call in machine.log if call.startswith("systemd-run")]
    assert len(timers) == 1, machine.log
    assert "--on-active=7" in timers[0], timers
    assert timers[0].endswith(f"{machine.base}/gen/{machine.current}/apply undo"), timers
    done = machine.again("undo")
    assert done.code == 0, done
    assert machine.served == "config one\n", "undo through the link puts the previous back"
    assert machine.converge(machine.tree("one")) is None

    assert machine.install(two).code == 0
    assert machine.again("confirm").code == 0
    stop = "systemctl stop phoenix-undo-demo.timer"
    assert stop in machine.log, machine.log
    assert machine.again("undo").code == 0
    assert machine.served == "config two\n", "what was confirmed is not undone by a late timer"
    assert machine.converge(two) is None


def later(machine: TreeHost, text: str) -> Tree:
    """A tree whose service is held until other hosts are ready, as the agents' secret is."""
    return machine.tree(text, confirm=300, start_later=True)


def armed(machine: TreeHost) -> list[str]:
    """The timers that systemd still has, as the command of each."""
    timers: dict[str, str] = {}
    for call in machine.log:
        words = call.split()
        if words[0] == "systemd-run":
            (unit,) = (word.removeprefix("--unit=") for word in words if word.startswith("--unit="))
            timers[unit] = words[-2]
        elif words[:2] == ["systemctl", "stop"] and words[2].endswith(".timer"):
            timers.pop(words[2].removesuffix(".timer"), None)
    return [*timers.values()]


def is_running(machine: TreeHost) -> bool:
    return (machine.top / "fake/active.demo.service").exists()


def test_a_service_is_held_between_its_files_and_its_start(machine: TreeHost) -> None:
    machine.install(machine.tree("one"))
    machine.forget_log()
    two = later(machine, "two")
    assert machine.install(two).code == 0
    assert machine.config.read_text() == "config two\n"
    assert (machine.served, is_running(machine)) == ("config one\n", True)
    assert not any("restart" in call or "start --" in call for call in machine.log), machine.log
    assert machine.again("hold 60").code == 0
    assert not is_running(machine)
    timer = next(call for call in machine.log if "phoenix-held-demo" in call and "run" in call)
    assert "--on-active=60" in timer
    assert machine.log.index(timer) < machine.log.index("systemctl stop -- demo.service")
    assert machine.load(two).code == 0
    assert (machine.served, is_running(machine)) == ("config two\n", True)
    assert len(armed(machine)) == 1, "it goes back unless it is confirmed"
    assert machine.again("confirm").code == 0
    assert armed(machine) == []
    assert machine.converge(machine.tree("two")) is None


def test_what_nobody_would_start_again_is_not_held(machine: TreeHost) -> None:
    machine.install(machine.tree("one"))
    assert machine.again("hold 60").code == 0
    assert is_running(machine)


def test_a_held_service_starts_with_the_new_files_where_the_former_ones_are_damaged(
    machine: TreeHost,
) -> None:
    machine.install(machine.tree("one"))
    machine.install(later(machine, "two"))
    machine.again("hold 60")
    (machine.base / "previous/params").write_text("")
    done = machine.again("undo")
    assert done.code == 5, done
    assert "NOT PUT BACK" in done.stderr
    assert (machine.served, is_running(machine)) == ("config two\n", True)


@pytest.mark.long
@pytest.mark.parametrize("step", ["install", "hold 60", "load", "confirm"])
def test_killed_anywhere_around_a_hold_the_service_runs_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """By systemd's timers alone: no other run comes."""
    for at in range(1, 200, STRIDE if step == "install" else 1):
        with monkeypatch.context() as patch:
            machine = make_host(tmp_path / str(at), patch)
            machine.install(machine.tree("one"))
            two = later(machine, "two")
            done = machine.install(two, kill_at=at if step == "install" else 0)
            for verb in ("hold 60", "load", "confirm"):
                if not killed(done):
                    done = machine.again(verb, kill_at=at if step == verb else 0)
            if not killed(done):
                assert (machine.served, armed(machine)) == ("config two\n", [])
                assert at > 2, at
                return
            for script in armed(machine):
                machine.run(Path(script), "undo")
            assert is_running(machine), (at, machine.log)
            assert machine.served in {"config one\n", "config two\n"}, at
            if step != "confirm":
                assert machine.served == "config one\n", (at, machine.log)
            again = machine.converge(machine.tree("two"))
            assert again is None or again.code == 0, (at, again)
            assert machine.served == "config two\n", at
            assert not machine.faults(), (at, machine.faults())
    raise AssertionError("the script never came to its end")


def test_undo_of_a_first_install_is_read_by_who_has_no_unit_here(machine: TreeHost) -> None:
    """As sshd: what locks the operator out at the first deploy must not stay in its memory."""
    machine.config.write_text("by hand\n")
    only = {machine.config: "config locks out\n"}
    read = 'cat "$FAKE/config" >"$FAKE/served"'
    tree = machine.tree("", files=only, unit="", health="", after=read, confirm=7)
    assert machine.install(tree).code == 0
    assert machine.served == "config locks out\n"
    assert machine.again("undo").code == 0
    assert machine.served == "by hand\n"
    assert machine.generations == set()


def test_late_undo_of_an_earlier_generation_touches_nothing(machine: TreeHost) -> None:
    machine.install(machine.tree("one"))
    machine.install(machine.tree("two", confirm=7))
    late = machine.base / "gen" / machine.current / "apply"
    machine.install(machine.tree("three", confirm=7))
    assert machine.run(late, "undo").code == 0
    assert machine.served == "config three\n"


def test_a_reload_that_does_not_work_becomes_one_restart(machine: TreeHost) -> None:
    """As after `rm -rf /tmp/*`: a unit with PrivateTmp= fails each reload with 226/NAMESPACE."""
    serves_it = f'cmp -s "$FAKE/served" {machine.config} || {{ echo "an earlier one"; exit 1; }}'
    assert machine.install(machine.tree("one", action="reload", health=serves_it)).code == 0
    (machine.top / "fake" / "reload.fails").touch()
    machine.forget_log()
    done = machine.install(machine.tree("two", action="reload", health=serves_it))
    assert done.code == 0, done
    assert "its reload failed, so demo.service is restarted" in done.stderr, done.stderr
    assert machine.served == "config two\n"
    assert machine.log.count("systemctl restart -- demo.service") == 1, machine.log
    assert machine.converge(machine.tree("two", action="reload", health=serves_it)) is None


def test_a_reload_that_loads_nothing_is_rolled_back_without_a_restart(machine: TreeHost) -> None:
    serves_it = f'cmp -s "$FAKE/served" {machine.config} || {{ echo "an earlier one"; exit 1; }}'
    assert machine.install(machine.tree("one", action="reload", health=serves_it)).code == 0
    (machine.top / "fake" / "reload.ignored").touch()
    machine.forget_log()
    done = machine.install(machine.tree("two", action="reload", health=serves_it))
    assert done.code == 5, done
    assert machine.served == "config one\n"
    assert "systemctl restart" not in "\n".join(machine.log), machine.log


def test_a_restart_after_a_failed_reload_that_fails_too_is_rolled_back(machine: TreeHost) -> None:
    machine.install(machine.tree("one", action="reload"))
    machine.forget_log()
    done = machine.install(machine.tree("crash", action="reload"))
    assert done.code == 5, done
    assert "systemctl restart demo.service failed" in done.stderr, done.stderr
    assert machine.served == "config one\n"
    assert machine.log.count("systemctl restart -- demo.service") == 1, machine.log


def _previous_after(machine: TreeHost) -> Path:
    """Generation "one", to which a bad "two" would go back."""
    assert machine.install(machine.tree("one")).code == 0
    return (machine.base / "current").resolve()


@pytest.mark.fast_cases(2)
@pytest.mark.parametrize("tampered", ["config", "manifest", "params", "gone"])
def test_a_tampered_generation_is_not_put_back(machine: TreeHost, tampered: str) -> None:
    previous = _previous_after(machine)
    config = Path(f"{previous}/root{machine.config}")
    if tampered == "config":
        config.write_text("config planted\n")
    elif tampered == "gone":
        config.unlink()
    else:
        (previous / tampered).write_text("")
    done = machine.install(machine.tree("bad"))
    assert done.code == 5, done
    changed = str(machine.config) if tampered in ("config", "gone") else tampered
    assert f"NOT PUT BACK: changed since it was proven: {changed}" in done.stderr, done.stderr
    assert "the previous configuration serves again" not in done.stderr
    assert machine.config.read_text() == "config bad\n", "the new files stay"
    assert machine.served != "config planted\n"
    assert machine.install(machine.tree("three")).code == 0
    assert machine.served == "config three\n"


def test_a_file_that_both_generations_have_is_copied_again(machine: TreeHost) -> None:
    previous = _previous_after(machine)
    Path(f"{previous}/root{machine.other}").write_text("planted\n")
    Path(f"{previous}/root{machine.config}").chmod(0o666)
    files = {
        machine.config: "config bad\n", machine.other: "other one\n",
        machine.unit: "[Unit] one\n",
    }  # fmt: skip
    done = machine.install(machine.tree("", files=files))
    assert done.code == 5, done
    assert f"{machine.other} of the previous generation was changed: copied again" in done.stderr
    assert "the previous configuration serves again" in done.stderr, done.stderr
    assert machine.other.read_text() == "other one\n"
    assert machine.faults() == []
    assert machine.converge(machine.tree("one")) is None


def test_an_undo_that_cannot_go_back_fails(machine: TreeHost) -> None:
    previous = _previous_after(machine)
    assert machine.install(machine.tree("two", confirm=7)).code == 0
    Path(f"{previous}/root{machine.config}").write_text("config planted\n")
    done = machine.again("undo")
    assert done.code == 5, done
    assert "NOT PUT BACK" in done.stderr, done.stderr
    assert machine.config.read_text() == "config two\n"


@pytest.mark.parametrize("emptied", ["apply", "params", "manifest"])
def test_a_generation_emptied_by_a_power_cut_is_finished(machine: TreeHost, emptied: str) -> None:
    first, two = machine.tree("one"), machine.tree("two")
    assert machine.install(first).code == 0
    assert machine.install(two).code == 0
    current = (machine.base / "current").resolve()
    (current / emptied).write_text("")
    (machine.base / "loaded").unlink()
    (machine.top / "fake/active.demo.service").unlink()
    (machine.top / "fake/served").unlink()
    done = machine.converge(two)
    assert done is not None
    assert done.code == 0, done
    assert machine.served == "config two\n"
    assert (current / emptied).read_text() != ""
    assert machine.converge(two) is None


def test_an_empty_script_of_another_generation_is_no_success(machine: TreeHost) -> None:
    assert machine.install(machine.tree("one")).code == 0
    (machine.base / "current/apply").write_text("")
    done = machine.load(machine.tree("two"))
    assert done.code == 1, done
    assert "apply is empty" in done.stderr, done.stderr


def test_what_is_written_is_on_the_disk_before_the_swap(machine: TreeHost) -> None:
    """A stand-in for sync notes what is current when it is called, and for which files."""
    assert machine.install(machine.tree("one")).code == 0
    before = machine.current
    program = machine.top / "bin/sync"
    program.write_text(
        '#!/bin/sh\nshift\nc=$(readlink "$TREE/current")\n'
        'for f; do echo "${c##*/} $f" >>"$FAKE/synced"; done\n'
    )
    program.chmod(0o755)
    machine.environment["TREE"] = str(machine.base)
    assert machine.install(machine.tree("two")).code == 0
    after = machine.current
    synced = (machine.top / "fake/synced").read_text().splitlines()
    new = machine.base / "gen" / after
    for path in (new, *(p for p in new.rglob("*") if p.is_file() and p.name != "pid")):
        assert f"{before} {path}" in synced, (path, synced)
    for place in (f"{machine.unit}.phoenix-new", machine.base / "loaded.new", machine.base):
        assert f"{after} {place}" in synced, (place, synced)


def test_second_run_waits_for_the_first(machine: TreeHost) -> None:
    machine.install(machine.tree("one"))
    stage = machine.stage(machine.tree("two"))
    with (machine.base / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting = subprocess.Popen(
            ["sh", str(stage / "apply"), "install"],
            env={
                **os.environ, "FAKE": str(machine.top / "fake"),
                "PATH": f"{machine.top / 'bin'}:{os.environ['PATH']}",
            },
        )  # fmt: skip
        time.sleep(0.3)
        assert waiting.poll() is None, "it did not wait"
        assert machine.served == "config one\n"
    assert waiting.wait(timeout=60) == 0
    assert machine.served == "config two\n"


@pytest.mark.long
def test_killed_anywhere_in_a_change_it_converges_and_never_mixes(machine: TreeHost) -> None:
    machine.install(machine.tree("0"))
    for at in range(1, 200, STRIDE):
        old = (machine.served or "").removeprefix("config ").strip()
        tree = machine.tree(str(at))
        done = machine.install(tree, kill_at=at)
        if not killed(done):
            assert done.code == 0, (at, done)
            assert at > 20, at
            return
        assert not machine.faults(), (at, machine.faults())
        contents = {
            machine.config.read_text(),
            machine.other.read_text().replace("other", "config"),
        }
        assert contents in ({f"config {old}\n"}, {f"config {at}\n"}), (at, contents)
        assert machine.served in {f"config {old}\n", f"config {at}\n"}, (at, machine.served)
        again = machine.converge(tree)
        assert again is None or again.code == 0, (at, again)
        assert machine.converge(tree) is None, (at, again, machine.state(tree))
        assert machine.served == f"config {at}\n", (at, machine.served)
        assert not machine.faults(), (at, machine.faults())
    raise AssertionError("the script never came to its end")


@pytest.mark.long
def test_killed_anywhere_in_a_first_install_it_converges_and_keeps_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for at in range(1, 200, STRIDE):
        with monkeypatch.context() as patch:
            machine = make_host(tmp_path / str(at), patch)
            machine.config.write_text("by hand\n")
            tree = machine.tree("one")
            done = machine.install(tree, kill_at=at)
            if not killed(done):
                assert done.code == 0, (at, done)
                assert at > 20, at
                return
            assert not machine.faults(), (at, machine.faults())
            assert machine.config.read_text() in {"by hand\n", "config one\n"}, at
            again = machine.converge(tree)
            assert again is None or again.code == 0, (at, again)
            assert machine.converge(tree) is None, (at, again, machine.state(tree))
            assert machine.served == "config one\n", at
            less = machine.tree("one", files={machine.other: "x"}, health="")
            assert machine.install(less).code == 0
            assert machine.config.read_text() == "by hand\n", (at, "what was there is lost")
    raise AssertionError("the script never came to its end")


@pytest.mark.long
def test_killed_anywhere_in_a_rollback_the_next_run_converges(machine: TreeHost) -> None:
    machine.install(machine.tree("one"))
    for at in range(20, 200, STRIDE):
        done = machine.install(machine.tree("bad"), kill_at=at)
        if not killed(done):
            assert done.code == 5, (at, done)
            assert machine.served == "config one\n"
            assert at > 30, at
            return
        assert not machine.faults(), (at, machine.faults())
        again = machine.converge(machine.tree("one"))
        assert again is None or again.code == 0, (at, again)
        assert machine.converge(machine.tree("one")) is None, (at, again)
        assert machine.served == "config one\n", (at, machine.served)
    raise AssertionError("the script never came to its end")


def test_what_was_there_before_the_first_generation_runs_again_where_that_one_fails(
    machine: TreeHost,
) -> None:
    note = f'echo again >>"{machine.top}/otherwise"'
    result = machine.install(machine.tree("bad", otherwise=note))
    assert result.code == 5, result
    assert (machine.top / "otherwise").read_text() == "again\n"
    assert machine.install(machine.tree("one", otherwise=note)).code == 0
    assert machine.install(machine.tree("bad", otherwise=note)).code == 5
    assert (machine.top / "otherwise").read_text() == "again\n", "there is a generation to go to"


def test_no_failed_unit_is_left_of_a_tree_that_goes(machine: TreeHost) -> None:
    """As of a backup by a timer that failed last: its service is none that the tree starts."""
    folder = machine.unit.parent
    drop_in = folder / "other.service.d"
    drop_in.mkdir()
    job, template, part = folder / "job.service", folder / "each@.timer", drop_in / "more.conf"
    files = {machine.unit: "[Unit] a\n", job: "j\n", template: "e\n", part: "p\n"}
    assert machine.install(machine.tree("one", files=files)).code == 0
    before = len(machine.log)
    assert machine.again("remove").code == 0
    assert not job.exists()
    reset = [call.split()[-1] for call in machine.log[before:] if "reset-failed" in call]
    assert sorted(set(reset)) == ["demo.service", "each@*.timer", "job.service"]
