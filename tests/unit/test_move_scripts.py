"""The shell of both ends of a move, run for real on directories, with a `docker` of our own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from facts.moves import Moves
from phoenix import files
from phoenix.components.move.contents import Place, read
from phoenix.components.move.decision import Unfinished
from phoenix.shell import Script

PROJECT = "shop-production"
LABEL = "com.docker.compose.project"
PROGRAM = f"""
import sys
sys.path.append({str(Path(__file__).parent)!r})
import docker_program
docker_program.main(sys.argv[1:])
"""
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="owners need root")


@dataclass
class End:
    """One host."""

    top: Path

    def __post_init__(self) -> None:
        (self.top / "bin").mkdir(parents=True)
        program = self.top / "bin/docker"
        program.write_text(f"#!{sys.executable} -IS{PROGRAM}")
        program.chmod(0o755)
        self.write({"containers": [], "volumes": {}, "networks": {}})

    @property
    def state(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.top / "state.json").read_text())
        return content

    def write(self, state: dict[str, Any]) -> None:
        (self.top / "state.json").write_text(json.dumps(state))

    def container(
        self, name: str, *volumes: str, running: bool = True, policy: str = "unless-stopped",
        project: str = PROJECT, most: int = 0,
    ) -> None:  # fmt: skip
        state = self.state
        state["containers"].append({
            "Id": name, "Name": f"/{name}", "Project": project,
            "State": {"Running": running, "Status": "running" if running else "exited"},
            "HostConfig": {"RestartPolicy": {"Name": policy, "MaximumRetryCount": most}},
            "Mounts": [
                {"Type": "volume", "Name": volume, "Source": str(self.place(volume))}
                for volume in volumes
            ],
        })  # fmt: skip
        state["networks"][f"{project}_default"] = project
        self.write(state)

    def volume(self, name: str, **content: str) -> Path:
        self.docker("volume", "create", "--label", f"{LABEL}={PROJECT}", name)
        for file, text in content.items():
            (self.place(name) / file).write_text(text)
        return self.place(name)

    def place(self, name: str) -> Path:
        return self.top / "volumes" / name / "_data"

    def held(self, name: str) -> dict[str, str]:
        return {path.name: path.read_text() for path in self.place(name).iterdir()}

    def docker(self, *words: str) -> None:
        subprocess.run([self.top / "bin/docker", *words], env=self.environment, check=True,
                       capture_output=True)  # fmt: skip

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ, "PATH": f"{self.top / 'bin'}:{os.environ['PATH']}",
            "DOCKER_HOME": str(self.top), "PHOENIX_MOVES": str(self.moves),
        }  # fmt: skip

    @property
    def moves(self) -> Path:
        return self.top / "moves"

    def run(self, name: str, *words: str, ok: bool = True, data: bytes = b"") -> Any:
        argv = Script(name, files.text(f"components/move/{name}.sh")).argv(*words)
        done = subprocess.run(
            argv, env=self.environment, input=data, capture_output=True, check=False
        )
        assert (done.returncode == 0) is ok, done.stderr.decode()
        return done

    def running(self) -> dict[str, tuple[bool, str]]:
        return {
            row["Id"]: (row["State"]["Running"], row["HostConfig"]["RestartPolicy"]["Name"])
            for row in self.state["containers"]
        }


@pytest.fixture
def old(tmp_path: Path) -> End:
    return End(tmp_path / "old")


@pytest.fixture
def new(tmp_path: Path) -> End:
    return End(tmp_path / "new")


# -- archive.sh ------------------------------------------------------------------------------------


def odd_tree(top: Path) -> None:
    """What a careless copy loses."""
    (top / "a").write_text("text")
    os.link(top / "a", top / "hard")
    os.chown(top / "a", 1234, 4321)
    (top / "a").chmod(0o4751)
    os.setxattr(top / "a", "user.odd", b"\x00value")
    with (top / "sparse").open("wb") as stream:
        stream.truncate(40_000_000)
        stream.seek(20_000_000)
        stream.write(b"island")
    (top / "link").symlink_to("/nowhere")
    os.mkfifo(top / "fifo")
    (top / "sub").mkdir()
    (top / "sub/-n 'strange'\n").write_text("x")
    os.utime(top / "sub", ns=(1, 1_000_000_000_123_456_789))
    (top / "sub").chmod(0o1777)
    os.chown(top, 77, 88)
    top.chmod(0o751)


@AS_ROOT
def test_a_directory_arrives_with_owner_mode_attributes_links_and_holes(
    old: End, new: End, tmp_path: Path
) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    odd_tree(source)
    sent = old.run("archive", "send", str(source)).stdout
    assert len(sent) < 1_000_000, "holes were sent"
    new.run("archive", "receive", str(target), data=sent)
    top, a, sparse = target.stat(), (target / "a").stat(), (target / "sparse").stat()
    assert (top.st_uid, top.st_gid, top.st_mode & 0o7777) == (77, 88, 0o751)
    assert (a.st_uid, a.st_gid, a.st_mode & 0o7777, a.st_nlink) == (1234, 4321, 0o4751, 2)
    assert a.st_ino == (target / "hard").stat().st_ino
    assert os.getxattr(target / "a", "user.odd") == b"\x00value"
    assert sparse.st_size == 40_000_000
    assert sparse.st_blocks * 512 < 1_000_000
    assert (target / "link").readlink() == Path("/nowhere")
    assert (target / "fifo").is_fifo()
    assert (target / "sub").stat().st_mtime_ns == 1_000_000_000_123_456_789
    sums = [
        end.run("archive", "sum", str(place)).stdout
        for end, place in ((old, source), (new, target))
    ]
    assert sums[0] == sums[1] != b""


@pytest.mark.fast_cases(3)
@AS_ROOT
@pytest.mark.parametrize(
    "change",
    [
        lambda top: (top / "a").write_text("tEXt"),
        lambda top: (top / "a").chmod(0o751),
        lambda top: os.chown(top / "a", 1234, 4322),
        lambda top: os.setxattr(top / "a", "user.odd", b"other"),
        lambda top: (top / "hard").unlink(),
        lambda top: os.utime(top / "sub", ns=(1, 2)),
        lambda top: (top / "more").touch(),
        lambda top: top.chmod(0o750),
        lambda top: (top / "fifo").unlink(),
    ],
)
def test_the_checksum_sees_each_difference(old: End, tmp_path: Path, change: Any) -> None:
    top = tmp_path / "top"
    top.mkdir()
    odd_tree(top)
    before = old.run("archive", "sum", str(top)).stdout
    assert old.run("archive", "sum", str(top)).stdout == before
    change(top)
    assert old.run("archive", "sum", str(top)).stdout != before


def test_a_stream_that_ends_early_is_an_error(old: End, new: End, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    (source / "file").write_bytes(os.urandom(200_000))
    sent = old.run("archive", "send", str(source)).stdout
    failed = new.run("archive", "receive", str(target), data=sent[:100_000], ok=False)
    assert b"tar ended with status" in failed.stderr


def test_a_directory_that_is_gone_is_an_error(old: End, tmp_path: Path) -> None:
    for verb in ("send", "sum"):
        assert old.run("archive", verb, str(tmp_path / "none"), ok=False).stdout == b""


# -- the old host ----------------------------------------------------------------------------------


def test_the_old_copy_stays_stopped_and_comes_back_as_it_ran(old: End) -> None:
    old.container("web", policy="always")
    old.container("job", running=False, policy="no")
    old.container("retry", policy="on-failure", most=3)
    old.container("other", policy="always", project="other")
    before = old.state
    old.run("source", "stop", PROJECT)
    stopped = old.running()
    assert stopped == {"web": (False, "no"), "job": (False, "no"), "retry": (False, "no"),
                       "other": (True, "always")}  # fmt: skip
    old.run("source", "stop", PROJECT)  # a run that was killed is gone on with
    assert old.running() == stopped
    old.run("source", "start", PROJECT)
    assert old.state == before
    assert list(old.moves.iterdir()) == []


def test_what_docker_starts_again_in_the_same_moment_is_stopped_again(old: End) -> None:
    old.container("web")
    state = old.state
    state["containers"][0]["Comebacks"] = 1
    old.write(state)
    old.run("source", "stop", PROJECT)
    assert old.running() == {"web": (False, "no")}


def test_what_does_not_stop_is_told(old: End) -> None:
    old.container("web")
    state = old.state
    state["containers"][0]["Comebacks"] = 9
    old.write(state)
    done = old.run("source", "stop", PROJECT, ok=False)
    assert done.stderr.decode() == f"phoenix: {PROJECT} still runs: web\n"


def test_what_ran_is_known_though_docker_was_down_at_first(old: End) -> None:
    old.container("web", policy="always")
    (old.top / "down").touch()
    old.run("source", "stop", PROJECT, ok=False)
    (old.top / "down").unlink()
    old.run("source", "stop", PROJECT)
    old.run("source", "start", PROJECT)
    assert old.running() == {"web": (True, "always")}


def test_nothing_is_started_that_no_move_stopped(old: End) -> None:
    old.container("web", running=False)
    old.run("source", "start", PROJECT)
    assert old.running() == {"web": (False, "unless-stopped")}


def test_the_old_containers_go_and_their_volumes_stay(old: End) -> None:
    old.volume("data", file="kept")
    old.container("web", "data")
    old.container("other", project="other")
    assert b"runs here again" in old.run("source", "gone", PROJECT, ok=False).stderr
    old.run("source", "stop", PROJECT)
    old.run("source", "gone", PROJECT)
    assert list(old.running()) == ["other"]
    assert list(old.state["networks"]) == ["other_default"]
    assert old.held("data") == {"file": "kept"}
    assert list(old.moves.iterdir()) == []


def test_its_contents_are_told(old: End) -> None:
    old.volume("data")
    old.volume("unused")
    old.container("web", "data", running=False)
    old.container("other", "data", project="other")
    contents = read(old.run("contents", PROJECT).stdout.decode().splitlines())
    assert [place.name for place in contents.places] == ["data", "unused"]
    assert contents.places[0] == Place(
        "volume", "data", str(old.place("data")), (f"{LABEL}={PROJECT}",)
    )
    assert contents.faults == ("other runs and uses the volume data as well: stop it first",)


def test_sizes_and_room_are_told(old: End, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    words = [str(tmp_path), str(tmp_path / "file")]
    size, kind = old.run("space", "sizes", *words).stdout.decode().split()
    assert int(size) > 0
    assert kind == "file"
    free = old.run("space", "free", str(tmp_path / "not/there/yet"), "/").stdout.decode()
    assert [int(line.rpartition(" ")[2]) > 0 for line in free.splitlines()] == [True, True]


# -- the new host ----------------------------------------------------------------------------------


def moves_of(end: End) -> Any:
    argv = Moves().command().get_raw_value().replace("/var/lib/phoenix/moves", str(end.moves))
    done = subprocess.run(["sh", "-c", argv], capture_output=True, text=True, check=True)
    return Moves().process(done.stdout.splitlines())


def test_a_move_is_known_from_its_beginning_to_its_end(new: End, old: End) -> None:
    assert moves_of(new).arriving == {}
    new.run("target", "begin", PROJECT, "a")
    assert moves_of(new).arriving == {PROJECT: Unfinished("a", "copying")}
    new.run("target", "phase", PROJECT, "started")
    assert moves_of(new).arriving == {PROJECT: Unfinished("a", "started")}
    new.run("target", "end", PROJECT)
    assert moves_of(new).arriving == {}
    old.container("web")
    old.run("source", "stop", PROJECT)
    assert moves_of(old).left == {PROJECT}


def test_a_volume_is_made_empty_with_its_labels(new: End) -> None:
    new.run("target", "begin", PROJECT, "a")
    labels = [f"{LABEL}={PROJECT}", "com.docker.compose.volume=da ta"]
    place = new.run("target", "volume", PROJECT, "data", *labels).stdout.decode().strip()
    assert place == str(new.place("data"))
    (new.place("data") / "part").write_text("of a copy that was cut off")
    new.run("target", "volume", PROJECT, "data", *labels)
    assert new.held("data") == {}
    assert new.state["volumes"]["data"]["Labels"] == dict(label.split("=", 1) for label in labels)
    assert list(new.state["volumes"]) == ["data"]


def test_what_a_volume_held_before_is_kept_beside_it(new: End) -> None:
    new.volume("data", precious="here first")
    new.run("target", "begin", PROJECT, "a")
    output = new.run("target", "volume", PROJECT, "data").stdout.decode()
    assert new.held("data") == {}
    (beside,) = set(new.state["volumes"]) - {"data"}
    assert f"kept in the volume {beside}" in output
    assert new.held(beside) == {"precious": "here first"}
    (new.place("data") / "part").write_text("ours")
    new.run("target", "volume", PROJECT, "data")
    assert set(new.state["volumes"]) == {"data", beside}
    new.run("target", "undo", PROJECT)
    assert list(new.state["volumes"]) == [beside]


def test_a_volume_in_use_is_not_taken(new: End) -> None:
    new.volume("data", precious="x")
    new.container("other", "data", project="other")
    new.run("target", "begin", PROJECT, "a")
    assert (
        b"is in use here by other" in new.run("target", "volume", PROJECT, "data", ok=False).stderr
    )
    assert new.held("data") == {"precious": "x"}


def test_stopped_containers_of_an_earlier_time_go_when_a_move_begins(new: End) -> None:
    new.container("old", "data", running=False)
    new.container("other", running=False, project="other")
    new.run("target", "begin", PROJECT, "a")
    assert list(new.running()) == ["other"]


def test_a_directory_that_is_not_empty_is_refused(new: End, tmp_path: Path) -> None:
    place = tmp_path / "srv"
    new.run("target", "begin", PROJECT, "a")
    assert new.run("target", "folder", PROJECT, str(place)).stdout.decode().strip() == str(place)
    (place / "part").touch()
    new.run("target", "folder", PROJECT, str(place))  # it is ours
    assert list(place.iterdir()) == []
    other = tmp_path / "other"
    other.mkdir()
    (other / "precious").touch()
    failed = new.run("target", "folder", PROJECT, str(other), ok=False)
    assert b"is here already and not empty" in failed.stderr
    (place / "part").touch()
    new.run("target", "undo", PROJECT)
    assert list(place.iterdir()) == []
    assert (other / "precious").exists()


def test_a_copy_is_taken_away_whole_and_nothing_else(new: End) -> None:
    new.run("target", "begin", PROJECT, "a")
    new.run("target", "volume", PROJECT, "data")
    new.container("web", "data")
    new.container("other", project="other")
    new.volume("foreign", kept="x")
    new.run("target", "undo", PROJECT)
    assert list(new.running()) == ["other"]
    assert list(new.state["networks"]) == ["other_default"]
    assert list(new.state["volumes"]) == ["foreign"]
    assert moves_of(new).arriving == {}
    new.run("target", "undo", PROJECT)  # it may be asked twice


def test_docker_that_is_down_fails_every_verb(new: End, old: End) -> None:
    new.run("target", "begin", PROJECT, "a")
    for end in (new, old):
        (end.top / "down").touch()
    for verb in ("stop", "start", "gone"):
        old.run("source", verb, PROJECT, ok=False)
    for words in (("begin", PROJECT, "a"), ("volume", PROJECT, "data"), ("undo", PROJECT)):
        new.run("target", *words, ok=False)
    assert moves_of(new).arriving == {PROJECT: Unfinished("a", "copying")}
    old.run("contents", PROJECT, ok=False)
