from __future__ import annotations

import base64
import io
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from pyinfra.api.exceptions import FactProcessError

from phoenix.components.config_tree.tree import (
    FileState,
    Tree,
    TreeError,
    TreeFile,
    TreeState,
    UnitState,
    compare,
    parse_state,
)
from tests.unit.tree_host import make_host

CONFIG, UNIT = "/etc/demo/config", "/etc/systemd/system/demo.service"
TREE = Tree(
    component="demo",
    files={CONFIG: TreeFile("text ü\n", mode="0640", group="www-data"), UNIT: TreeFile("[Unit]\n")},
    unit="demo.service",
    enable=("demo.timer", "demo.service"),
)


def settled(tree: Tree) -> TreeState:
    """What a host has after the tree was put there."""
    files = {
        path: FileState(
            file.mode.lstrip("0") or "0", file.user, file.group, file.sha256, tree.link(path)
        )
        for path, file in tree.files.items()
    }
    units = dict.fromkeys(tree.all_units, UnitState("active", "enabled", stale=False))
    return TreeState("g1", "g1", files, frozenset(tree.files), units)


def test_settled_host_needs_nothing() -> None:
    diff = compare(TREE, settled(TREE))
    assert not diff, diff


def test_fresh_host_needs_every_file_and_unit() -> None:
    diff = compare(TREE, TreeState())
    assert diff.files == {CONFIG: "is missing", UNIT: "is missing"}
    assert diff.load == ("demo.service is absent", "demo.timer is absent")


@pytest.mark.parametrize(
    ("path", "change", "reason"),
    [
        (CONFIG, {"sha256": "0" * 64}, "has other content"),
        (CONFIG, {"mode": "644"}, "is 644 root:www-data, not 640 root:www-data"),
        (CONFIG, {"user": "nobody"}, "is 640 nobody:www-data, not 640 root:www-data"),
        (CONFIG, {"link": None}, "is not the generation's own file"),
        (CONFIG, {"link": "/elsewhere"}, "is not the generation's own file"),
        (UNIT, {"link": "/dev/null"}, "is not the generation's own file"),
    ],
)
def test_drift_of_a_file_is_a_reason(path: str, change: dict[str, str], reason: str) -> None:
    state = settled(TREE)
    state = replace(state, files={**state.files, path: replace(state.files[path], **change)})
    diff = compare(TREE, state)
    assert (diff.files, diff.load) == ({path: reason}, ())


@pytest.mark.parametrize(
    ("unit", "reason"),
    [
        (UnitState("failed", "enabled", stale=False), "demo.service is failed"),
        (UnitState("active", "disabled", stale=False), "demo.service is disabled"),
        (UnitState("active", "masked", stale=False), "demo.service is masked"),
        (
            UnitState("active", "enabled", stale=True),
            "systemd has not read the newest demo.service",
        ),
    ],
)  # fmt: skip
def test_state_of_a_unit_is_a_reason_to_load(unit: UnitState, reason: str) -> None:
    state = settled(TREE)
    state = replace(state, units={**state.units, "demo.service": unit})
    diff = compare(TREE, state)
    assert (diff.files, diff.load) == ({}, (reason,))


def test_unloaded_generation_is_loaded_and_not_sent_again() -> None:
    for loaded in (None, "g0"):
        diff = compare(TREE, replace(settled(TREE), loaded=loaded))
        assert (diff.files, diff.load) == ({}, ("the current generation was never loaded",))


def test_path_that_left_and_files_of_another_hand_make_a_generation() -> None:
    state = replace(settled(TREE), occupied=frozenset({CONFIG, UNIT, "/etc/old"}))
    assert compare(TREE, state).files == {"/etc/old": "is no longer part of the component"}
    by_hand = replace(settled(TREE), current=None, loaded=None)
    assert compare(TREE, by_hand).files == {CONFIG: "was not put there by Phoenix"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"component": "Demo"}, "use lower-case letters"),
        ({"component": "a/b"}, "use lower-case letters"),
        ({"component": ""}, "use lower-case letters"),
        ({"files": {}}, "needs at least one file"),
        ({"action": "kill"}, "'kill' is not reload or restart"),
        ({"files": {"etc/x": TreeFile("")}}, "not a plain absolute path"),
        ({"files": {"/etc/../x": TreeFile("")}}, "not a plain absolute path"),
        ({"files": {"/etc//x": TreeFile("")}}, "not a plain absolute path"),
        ({"files": {"/etc/x\t": TreeFile("")}}, "no blanks or quotes"),
        ({"files": {"/etc/x'": TreeFile("")}}, "no blanks or quotes"),
        ({"files": {"/x": TreeFile("", mode="644")}}, "mode '644' is not like 0644"),
        ({"files": {"/x": TreeFile("", mode="0648")}}, "mode '0648' is not like 0644"),
        ({"files": {"/x": TreeFile("", secret=True)}}, "a secret must not be world-readable"),
    ],
)
def test_impossible_tree_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(TreeError) as caught:
        replace(TREE, **change)  # type: ignore[arg-type]
    assert message in str(caught.value)


def test_name_follows_content_and_ownership_and_nothing_else() -> None:
    assert replace(TREE, validate="true", deadline=1).id == TREE.id
    names = {
        TREE.id,
        *(
            replace(TREE, files=dict(TREE.files) | {CONFIG: file}).id
            for file in (TreeFile("x"), TreeFile("x", mode="0600"), TreeFile("x", user="nobody"))
        ),
    }
    assert len(names) == 4, names


def test_units_and_copies() -> None:
    assert TREE.all_units == ("demo.service", "demo.timer")
    assert TREE.link(UNIT) is None
    assert TREE.link(CONFIG) == "/var/lib/phoenix/trees/demo/current/root/etc/demo/config"


def test_params_survive_a_shell_as_they_are() -> None:
    nasty = "a 'b' \"$HOME\" `id` \\ \n c"
    tree = replace(TREE, validate=nasty, health="x", confirm=3)
    shown = subprocess.run(
        ["sh", "-c", f'{tree.params()}printf %s "$validate|$enable|$confirm|$deadline"'],
        capture_output=True, text=True, check=True, timeout=10,
    ).stdout  # fmt: skip
    assert shown == f"{nasty}|demo.timer demo.service|3|30"


def test_archive_holds_the_stage_readable_by_its_owner_alone() -> None:
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(TREE.archive("script")))) as tar:
        members = {info.name: info for info in tar}
        content = tar.extractfile(f"root{CONFIG}")
        assert content is not None
        assert content.read() == "text ü\n".encode()
    assert sorted(members) == ["apply", "id", "manifest", "params", f"root{CONFIG}", f"root{UNIT}"]
    assert {info.mode for info in members.values()} == {0o600}


def test_no_content_in_any_repr() -> None:
    file = TreeFile("planted-5ecret", mode="0600", secret=True)
    for shown in (repr(file), repr(replace(TREE, files={"/etc/x": file}))):
        assert "planted" not in shown, shown


def test_unexpected_lines_and_a_held_lock_are_errors() -> None:
    for line in ("", "file\t/x", "sudo: a password is required", "unit\tx"):
        with pytest.raises(TreeError, match="unexpected answer of the host"):
            parse_state([line])
    with pytest.raises(TreeError, match="another run has held /x/lock for two minutes"):
        parse_state(["busy\t/x/lock"])


def test_state_of_a_host_between_swap_and_load_is_read() -> None:
    link = "/var/lib/phoenix/trees/demo/current/root/etc/demo/config"
    state = parse_state(
        [
            "current\tdef.2",
            "loaded\tabc.1",
            f"file\t{CONFIG}\t{link}\t640\troot\twww-data\t{'a' * 64}",
            f"file\t{UNIT}\t\t644\troot\troot\t{'b' * 64}",
            f"occupied\t{CONFIG}",
            "unit\tdemo.service\tactive\tenabled\tyes",
        ]
    )
    assert state == TreeState(
        "def.2",
        "abc.1",
        {
            CONFIG: FileState("640", "root", "www-data", "a" * 64, link),
            UNIT: FileState("644", "root", "root", "b" * 64, None),
        },
        frozenset({CONFIG}),
        {"demo.service": UnitState("active", "enabled", stale=True)},
    )


def test_a_systemd_that_does_not_answer_is_no_service_to_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = make_host(tmp_path, monkeypatch)
    tree = machine.tree("one")
    assert machine.install(tree).code == 0
    assert not compare(tree, machine.state(tree))
    (machine.top / "bin/systemctl").write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(FactProcessError, match="systemd does not tell how demo"):
        machine.state(tree)


def test_directories_of_a_tree_are_state() -> None:
    lines = "# ours\nd /var/lib/demo 0750 root demo\nd /run/demo 0755\nL /x - - - - /y\n"
    tree = Tree(component="demo", files={"/etc/tmpfiles.d/demo.conf": TreeFile(lines)})
    assert tree.directories == {
        "/var/lib/demo": ("750", "root", "demo"), "/run/demo": ("755", "root", "root"),
    }  # fmt: skip
    assert tree.paths == ("/etc/tmpfiles.d/demo.conf", "/run/demo", "/var/lib/demo")
    state = parse_state(["directory\t/var/lib/demo\t777\tperson\tdemo"])
    assert compare(tree, state).load == (
        "/var/lib/demo is 777 person:demo, not 750 root:demo",
        "/run/demo is missing, not 755 root:root",
    )
