"""Portainer's upgrade and its way back: the guest's own scripts, the double's own database."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from phoenix.components.config_tree.tree import Tree, TreeFile
from phoenix.components.portainer import database
from portainer_emulator.store import Store
from tests.unit.tree_host import GROUP, SHIMMED, USER, TreeHost, killed, make_host

ROOT = Path(__file__).parents[2]
# The unit: its server migrates the database, or ends at the sight of a newer one. A "broken" one
# migrates, and then does not answer. What runs is a folder: a file for each thing that is asked.
STARTS = f"""#!{sys.executable} -IS
import datetime, os, re, sys
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
from portainer_emulator.store import SchemaError, Store
fake = Path(os.environ["FAKE"])
image = re.search("image: (.*)", (fake / "compose").read_text())[1]
version = image.rpartition(":")[2].partition("-")[0]
(fake / "active").touch()
now = datetime.datetime.now(datetime.UTC)
found = {{"started": now.isoformat(), "running": "true", "version": version, "logs": ""}}
try:
    Store(fake / "data").migrate(version)
    if image.endswith("-broken"):
        found["version"] = ""
except SchemaError as error:
    found |= {{"running": "false", "version": "", "logs": f"FTL {{error}}"}}
(fake / "server").mkdir(exist_ok=True)
for name, value in found.items():
    (fake / "server" / name).write_text(value)
"""
SYSTEMCTL = """#!/bin/sh
printf 'systemctl %s\\n' "$*" >>"$FAKE/log"
for word; do case $word in -*) ;; *) break ;; esac; done
case "$word $*" in
    start\\ *|restart\\ *) exec "${0%/*}/server-starts" ;;
    stop\\ *) rm -rf "$FAKE/active" "$FAKE/server" ;;
    is-active\\ *) [ -e "$FAKE/active" ] ;;
    show\\ *--value*) date -u '+%a %Y-%m-%d 00:00:00 UTC' ;;
    show\\ *)
        if [ -e "$FAKE/active" ]; then echo ActiveState=active; else echo ActiveState=inactive; fi
        printf 'UnitFileState=enabled\\nNeedDaemonReload=no\\n' ;;
esac
"""
DOCKER = """#!/bin/sh
[ ! -e "$FAKE/docker_hangs" ] || exit 1
[ "$1" != volume ] || { echo "$FAKE/data"; exit; }
cd "$FAKE/server" 2>/dev/null || exit 1
case $1 in
    inspect) echo "$(cat running) $(cat started)" ;;
    logs) cat logs >&2 ;;
esac
"""
CURL = """#!/bin/sh
version=$(cat "$FAKE/server/version" 2>/dev/null)
[ -n "$version" ] || { echo "curl: (7) Failed to connect" >&2; exit 7; }
printf '{"Version":"%s","InstanceID":"x"}\\n' "$version"
"""


class Server:
    """A guest with Portainer as its one component."""

    def __init__(self, top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.host: TreeHost = make_host(top, monkeypatch)
        for name, value in (
            ("BASE", str(top / "trees")),
            ("DIRECTORY", str(top / "etc/demo")),
            ("SERVER_UNIT", "demo.service"),
        ):
            monkeypatch.setattr(database, name, value)
        self.compose = top / "etc/demo/compose.yml"
        (top / "fake/compose").symlink_to(self.compose)
        programs = {
            "systemctl": SYSTEMCTL, "server-starts": STARTS, "docker": DOCKER, "curl": CURL
        }  # fmt: skip
        for name, text in programs.items():
            (top / "bin" / name).write_text(text)
            (top / "bin" / name).chmod(0o755)
        self.data = top / "fake/data"
        self.kept = self.host.base / "database"

    def tree(self, version: str, note: str = "") -> Tree:
        line = database.Database("demo", "portainer.test:9443", "10.0.0.1")
        text = f"services:\n  main:\n    image: portainer/portainer-ce:{version}\n{note}"
        return Tree(
            component="demo",
            files={str(self.compose): TreeFile(text, user=USER, group=GROUP)},
            unit="demo.service",
            action="restart",
            validate=line.fits,
            before=line.keep,
            revert=line.put_back,
            health=line.answers,
            deadline=0,
        )

    @property
    def schema(self) -> str:
        return str(json.loads((self.data / "portainer.db").read_text())["schema"])

    @property
    def version(self) -> str:
        """What the server answers; empty where it does not."""
        version = self.host.top / "fake/server/version"
        return version.read_text() if version.exists() else ""

    def note(self, text: str) -> None:
        """Something that Portainer learns while it runs."""
        store = Store(self.data)
        store.data["note"] = text
        store.save()

    @property
    def noted(self) -> str:
        return str(Store(self.data).data.get("note", ""))


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    server = Server(tmp_path, monkeypatch)
    assert server.host.install(server.tree("2.33.1")).code == 0
    server.note("learnt by 2.33.1")
    return server


def test_an_upgrade_keeps_the_database_of_before(server: Server) -> None:
    done = server.host.install(server.tree("2.39.1"))
    assert done.code == 0, done
    assert (server.version, server.schema, server.noted) == ("2.39.1", "2.39.1", "learnt by 2.33.1")
    assert json.loads((server.kept / "portainer.db").read_text())["schema"] == "2.33.1"
    assert (server.kept / "image").read_text().strip() == "portainer/portainer-ce:2.33.1"
    assert (server.kept / "portainer.db").stat().st_mode & 0o077 == 0
    assert server.host.converge(server.tree("2.39.1")) is None


def test_an_upgrade_that_does_not_come_up_goes_back_with_its_database(server: Server) -> None:
    done = server.host.install(server.tree("2.39.1-broken"))
    assert done.code == 5, done
    assert "the database of portainer/portainer-ce:2.33.1 is back" in done.stderr, done.stderr
    assert "the previous configuration serves again" in done.stderr, done.stderr
    assert (server.version, server.schema, server.noted) == ("2.33.1", "2.33.1", "learnt by 2.33.1")
    assert server.host.converge(server.tree("2.33.1")) is None


def test_where_docker_does_not_answer_no_other_image_takes_over(server: Server) -> None:
    """Before, it was taken for a server without a volume, and its database was not kept."""
    hangs = server.host.top / "fake/docker_hangs"
    hangs.touch()
    done = server.host.install(server.tree("2.39.1"))
    assert done.code == 3, done
    assert "Docker does not answer" in done.stderr
    assert (server.version, server.schema) == ("2.33.1", "2.33.1")
    hangs.unlink()
    assert server.host.install(server.tree("2.39.1")).code == 0
    assert json.loads((server.kept / "portainer.db").read_text())["schema"] == "2.33.1"


def test_a_full_disk_keeps_the_image_of_before_and_no_half_copy(server: Server) -> None:
    cp = server.host.top / "bin/cp"
    before = cp.read_bytes() if cp.exists() else None
    cp.write_text(
        '#!/bin/sh\ncase $* in *portainer.db*) for to; do :; done; echo half >"$to"; '
        'echo "cp: No space left on device" >&2; exit 1 ;; esac\nexec /bin/cp "$@"\n'
    )
    cp.chmod(0o755)
    done = server.host.install(server.tree("2.39.1"))
    assert done.code == 3, done
    assert (server.version, server.schema) == ("2.33.1", "2.33.1")
    assert list(server.host.base.glob("database*")) == []
    cp.unlink()
    if before is not None:
        cp.write_bytes(before)
        cp.chmod(0o755)
    assert server.host.install(server.tree("2.39.1")).code == 0


def test_what_is_learnt_after_a_failed_upgrade_is_in_the_next_copy(server: Server) -> None:
    for text in ("first", "second"):
        server.note(text)
        assert server.host.install(server.tree("2.39.1-broken")).code == 5
        assert server.noted == text


def test_another_change_copies_nothing_and_takes_nothing_back(server: Server) -> None:
    assert server.host.install(server.tree("2.39.1-broken")).code == 5
    server.note("learnt since")
    changed = server.tree("2.33.1", "# other\n")
    done = server.host.install(type(changed)(**{**vars(changed), "health": "false"}))
    assert done.code == 5, done
    assert server.noted == "learnt since", "a copy of before an earlier upgrade came back"


def test_a_downgrade_is_refused_at_once_with_the_cause_and_the_way_back(server: Server) -> None:
    assert server.host.install(server.tree("2.39.1")).code == 0
    server.host.forget_log()
    done = server.host.install(server.tree("2.33.1"))
    assert done.code == 3, done
    assert "the database is of Portainer 2.39.1, which runs" in done.stderr, done.stderr
    assert "declare portainer_image 2.39.1 or newer" in done.stderr, done.stderr
    assert "systemctl stop demo.service; cp " in done.stderr, done.stderr
    assert [line for line in server.host.log if "stop" in line or "start" in line] == []
    assert server.version == "2.39.1"
    # Older than the copy as well: only a backup helps.
    done = server.host.install(server.tree("2.21.0"))
    assert "phoenix restore FILE --part portainer --replace" in done.stderr, done.stderr
    # The way back that was told.
    shutil.rmtree(server.host.top / "fake/server")
    (server.data / "portainer.db").write_bytes((server.kept / "portainer.db").read_bytes())
    assert server.host.install(server.tree("2.33.1")).code == 0
    assert (server.version, server.noted) == ("2.33.1", "learnt by 2.33.1")


def test_an_older_server_whose_tag_tells_nothing_fails_at_once_and_says_why(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert server.host.install(server.tree("2.39.1")).code == 0
    older = server.tree("2.33.1")
    patient = type(older)(**{**vars(older), "validate": "", "deadline": 600})
    done = server.host.install(patient)  # the harness itself ends after 60 s
    assert done.code == 5, done
    assert "it will not become healthy" in done.stderr, done.stderr
    assert "The database schema version does not align" in done.stderr, done.stderr
    assert server.version == "2.39.1", "the newer one serves again"
    assert json.loads((server.kept / "portainer.db").read_text())["schema"] == "2.33.1", "still"


@pytest.mark.long
@pytest.mark.parametrize("fault", ["", "-broken"])
def test_killed_anywhere_the_next_run_ends_it_and_no_word_is_lost(
    tmp_path: Path, fault: str
) -> None:
    """A failed upgrade ends on the old server with its database, a good one on the new."""
    for step in range(1, 120, 7):
        with pytest.MonkeyPatch.context() as patch:
            top = tmp_path / f"{step}"
            top.mkdir()
            server = Server(top, patch)
            assert server.host.install(server.tree("2.33.1")).code == 0
            server.note("learnt")
            tree = server.tree(f"2.39.1{fault}")
            first = server.host.install(tree, kill_at=step)
            if not killed(first):
                break
            if server.host.current.startswith(tree.id):
                server.host.load(tree)
            else:
                server.host.install(tree)
            expected = "2.33.1" if fault else "2.39.1"
            assert (server.version, server.schema, server.noted) == (expected, expected, "learnt")
    else:
        raise AssertionError("120 steps did not end it")


def test_the_shims_see_what_the_copy_is_made_with() -> None:
    assert {"cp", "mv", "rm", "systemctl"} <= set(SHIMMED)
