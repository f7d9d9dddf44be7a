"""The two ends of a move as the operation speaks to them: what it asks, copies and refuses."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from pyinfra.api.exceptions import OperationError
from pyinfra.api.host import Host

from operations import moves
from phoenix.components.move.decision import Moves

PROJECT, DATA = "shop", "/v/shop_data/_data"
VOLUME = ["volume", "shop_data", "local", None, {"a": "b"}, DATA]


@dataclass(frozen=True)
class Named:
    name: str


@dataclass
class Engine:
    """What deploys on the new host: images that it has or can be given."""

    present: set[str] = field(default_factory=set)
    refused: str | None = None
    pulled: list[str] = field(default_factory=list)

    def image_present(self, endpoint: int, image: str) -> bool:
        assert endpoint == 7
        return image in self.present

    def pull_image(self, endpoint: int, image: str) -> str | None:
        self.pulled.append(image)
        return self.refused

    @contextmanager
    def opened(self) -> Iterator[tuple[Engine, int]]:
        yield self, 7


@dataclass
class Wires:
    """Both hosts: what each script answers, and what was asked of whom."""

    contents: list[list[Any]] = field(default_factory=lambda: [VOLUME])
    sizes: str = "1000000\n"
    free: str = "/dev/vda1 99000000000\n"
    sums: list[str] = field(default_factory=lambda: ["abc  -\n", "abc  -\n"])
    notes: str = ""
    asked: list[tuple[str, str, tuple[str, ...]]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def at(self, target: Named, script: str, *words: str) -> str:
        self.asked.append((target.name, script, words))
        match script, words[0]:
            case "contents", _:
                return "".join(f"{json.dumps(row)}\n" for row in self.contents)
            case "space", "sizes":
                return self.sizes
            case "space", _:
                return self.free
            case "target", "volume" | "folder":
                return f"/new/{words[2]}\n{self.notes}"
        return ""

    def stream(self, source: Any, target: Any, tell: Callable[[int], None]) -> int:
        self.asked.append((f"{source[0].name}>{target[0].name}", "stream", (source[1], target[1])))
        tell(5)
        return 5

    def verbs(self) -> list[tuple[str, str, str]]:
        return [(host, script, words[0]) for host, script, words in self.asked]


@pytest.fixture
def wires(monkeypatch: pytest.MonkeyPatch) -> Wires:
    double = Wires()
    monkeypatch.setattr(moves, "_at", double.at)
    monkeypatch.setattr(moves, "stream", double.stream)
    monkeypatch.setattr(moves, "ask_each", lambda _: double.sums)
    monkeypatch.setattr(moves, "log_lines", double.said.extend)
    return double


def ends(engine: Engine | None = None, *images: str) -> moves._Ends:
    arrival = moves.Arrival(cast(Any, engine or Engine()), "", {}, images, ())
    new, old = cast(Host, Named("b")), cast(Host, Named("a"))
    return moves._Ends(Moves(PROJECT, "a", "b"), arrival, new, old)


def test_missing_images_and_room_are_seen_to_before_anything_is_stopped(wires: Wires) -> None:
    engine = Engine({"here:1"})
    ends(engine, "here:1", "missing:1").prepare()
    assert engine.pulled == ["missing:1"]
    assert wires.verbs() == [("a", "contents", PROJECT), ("a", "space", "sizes"),
                             ("b", "space", "free")]  # fmt: skip


def test_an_image_that_cannot_be_pulled_is_told(wires: Wires) -> None:
    with pytest.raises(OperationError, match="image missing:1 cannot be pulled: no such image"):
        ends(Engine(refused="no such image"), "missing:1").prepare()


def test_no_room_on_the_new_host_is_told(wires: Wires) -> None:
    wires.free = "/dev/vda1 1000\n"
    with pytest.raises(OperationError, match="b: 65 MiB are needed on /dev/vda1, and 0 MiB"):
        ends().prepare()


def test_a_file_that_a_stack_writes_to_is_refused(wires: Wires) -> None:
    wires.contents = [
        ["container", "/web", [{"Type": "bind", "Source": "/srv/shop.db", "RW": True}]]
    ]
    wires.sizes = "file\n"
    with pytest.raises(OperationError, match=r"writes to /srv/shop\.db, which is a file"):
        ends().prepare()


def test_a_volume_that_others_use_is_refused(wires: Wires) -> None:
    mounts = [{"Type": "volume", "Name": "shop_data"}]
    wires.contents = [VOLUME, ["user", "/wiki", mounts]]
    with pytest.raises(OperationError, match="wiki runs and uses the volume shop_data"):
        ends().prepare()


def test_what_is_not_copied_is_told(wires: Wires) -> None:
    wires.contents = [["volume", "x" * 3, "nfs", None, None, "/n"]]
    ends().prepare()
    assert any("the volume xxx is not copied" in line for line in wires.said)


def test_a_volume_is_made_filled_and_compared(wires: Wires) -> None:
    wires.notes = "what it held is kept\n"
    ends().copy()
    (call,) = [words for host, script, words in wires.asked if script == "target"]
    assert call == ("volume", PROJECT, "shop_data", "a=b")
    (both,) = [words for _, script, words in wires.asked if script == "stream"]
    assert both[0].endswith(f"archive send {DATA}")
    assert both[1].endswith("archive receive /new/shop_data")
    assert wires.said[0] == "stack shop: what it held is kept"
    assert wires.said[1].endswith("equal on both hosts: sha256 abc")


@pytest.mark.parametrize("sums", [["abc  -\n", "abd  -\n"], ["", ""], ["abc  -\n", ""]])
def test_a_copy_that_differs_is_an_error(wires: Wires, sums: list[str]) -> None:
    wires.sums = sums
    with pytest.raises(OperationError, match="the copy of volume shop_data on b differs"):
        ends().copy()


def test_without_volumes_nothing_is_copied(wires: Wires) -> None:
    wires.contents = []
    both_ends = ends()
    both_ends.prepare()
    both_ends.copy()
    assert wires.verbs() == [("a", "contents", PROJECT)]


def test_contents_are_read_before_the_stack_is_stopped(wires: Wires) -> None:
    ends().stop()
    assert wires.verbs() == [("a", "contents", PROJECT), ("a", "source", "stop")]


def test_an_answer_of_another_form_is_told_with_its_host(wires: Wires) -> None:
    wires.contents = [["container"]]
    with pytest.raises(OperationError, match="a: unexpected answer of docker"):
        ends().stop()
    assert ("a", "source", "stop") not in wires.verbs()
