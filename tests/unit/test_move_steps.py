"""The order of a move, at each point of failure: one copy runs at most, and it has its data."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from phoenix.components.move.steps import MoveFailedError, Phase, move

ORDER = [
    "prepare", "mark copying", "stop", "copy", "mark copied", "mark started", "start", "prove",
    "mark proven",
]  # fmt: skip


class KilledError(BaseException):
    """The process is gone: nothing more is done."""


@dataclass
class World:
    """Two hosts. `fails` names steps that fail (once each time), `killed` one at which all ends."""

    fails: tuple[str, ...] = ()
    killed: str = ""
    phase: Phase | None = None
    old_runs: bool = True
    old_data: str = "data"
    new_runs: bool = False
    new_data: str = ""
    calls: list[str] = field(default_factory=list)

    def _step(self, name: str) -> None:
        self.calls.append(name)
        if name in self.fails:
            raise RuntimeError(f"{name} failed")

    def _end(self, name: str) -> None:
        assert not (self.old_runs and self.new_runs), f"two copies run after {name}: {self.calls}"
        if name == self.killed:
            raise KilledError

    def prepare(self) -> None:
        self._step("prepare")
        self._end("prepare")

    def mark(self, phase: Phase) -> None:
        self._step(f"mark {phase}")
        self.phase = phase
        self._end(f"mark {phase}")

    def stop(self) -> None:
        self._step("stop")
        self.old_runs = False
        self._end("stop")

    def copy(self) -> None:
        assert not self.old_runs, "a running stack is copied"
        self.new_data = "part"
        self._step("copy")
        if self.killed == "half of copy":
            raise KilledError
        self.new_data = self.old_data
        self._end("copy")

    def start(self) -> None:
        assert self.new_data == self.old_data, "an empty or partial copy is started"
        assert not self.old_runs
        self.new_runs = True
        self._step("start")
        self._end("start")

    def prove(self) -> None:
        self._step("prove")
        self._end("prove")

    def remove(self) -> None:
        self._step("remove")
        self.new_runs, self.new_data, self.phase = False, "", None
        self._end("remove")

    def restart(self) -> None:
        self._step("restart")
        self.old_runs = True
        self._end("restart")

    @property
    def place(self) -> str:
        """Where it is usable, with its data."""
        assert self.old_data == "data"
        if self.old_runs:
            return "old"
        return "new" if self.new_runs and self.new_data == "data" else ""


def test_the_order() -> None:
    world = World()
    move("shop", world, None)
    assert world.calls == ORDER
    assert world.place == "new"


@pytest.mark.parametrize("step", [step for step in ORDER if step != "prepare"])
def test_a_step_that_fails_brings_the_old_copy_back(step: str) -> None:
    world = World(fails=(step,))
    with pytest.raises(MoveFailedError, match=f"{step} failed") as failure:
        move("shop", world, None)
    assert world.place == "old"
    assert not world.new_runs
    if step != "mark copying":
        assert "The old copy runs again" in str(failure.value)
        assert world.new_data == ""
    else:
        assert "was not touched" in str(failure.value)
    assert "goes on from there" not in str(failure.value)


def test_what_is_missing_is_found_before_anything_is_touched() -> None:
    world = World(fails=("prepare",))
    with pytest.raises(MoveFailedError, match="was not touched"):
        move("shop", world, None)
    assert world.calls == ["prepare"]


@pytest.mark.parametrize("step", [*ORDER, "half of copy"])
def test_killed_anywhere_the_next_run_goes_on(step: str) -> None:
    world = World(killed=step)
    with pytest.raises(KilledError):
        move("shop", world, None)
    world.killed = ""
    move("shop", world, world.phase)
    assert world.place == "new"
    assert world.phase == "proven"


@pytest.mark.parametrize("step", [*ORDER, "half of copy"])
@pytest.mark.parametrize("fault", ["copy", "start", "prove"])
def test_killed_anywhere_and_then_failing_it_goes_back(step: str, fault: str) -> None:
    world = World(killed=step)
    with pytest.raises(KilledError):
        move("shop", world, None)
    world.killed, world.fails = "", (fault,)
    world.calls.clear()
    try:
        move("shop", world, world.phase)
    except MoveFailedError:
        assert world.place == "old"
    else:  # it had come further than the fault
        assert fault not in world.calls
        assert world.place == "new"


def test_a_new_copy_that_cannot_be_removed_leaves_the_old_one_stopped() -> None:
    world = World(fails=("prove", "remove"))
    with pytest.raises(MoveFailedError) as failure:
        move("shop", world, None)
    assert not (world.old_runs and world.new_runs)
    text = str(failure.value)
    assert "the new copy could not be removed: remove failed" in text
    assert "stays stopped: never do two copies run" in text
    assert "`phoenix sync --move` goes on from there" in text


def test_a_partial_copy_that_cannot_be_removed_does_not_keep_the_old_one_down() -> None:
    """The new host is gone in the middle of the copy: nothing runs there."""
    world = World(fails=("copy", "remove"))
    with pytest.raises(MoveFailedError) as failure:
        move("shop", world, None)
    assert world.place == "old"
    text = str(failure.value)
    assert text.index("The old copy runs again") < text.index("could not be removed")
    assert "goes on from there" in text


def test_an_old_host_that_is_gone_is_said() -> None:
    world = World(fails=("copy", "restart"))
    with pytest.raises(MoveFailedError) as failure:
        move("shop", world, None)
    assert "the old copy could not be started again: restart failed" in str(failure.value)
    assert "goes on from there" in str(failure.value)
