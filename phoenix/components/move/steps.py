"""The order of a move, and the way back. Pure: what each step does is given.

Until the new copy is proven the old one is whole, and comes back where a step fails. How far a move
came is written on the new host before each part, so a run that was killed is gone on with.
"""

from __future__ import annotations

from typing import Literal, Protocol

from phoenix.site.findings import SettingError

Phase = Literal["copying", "copied", "started", "proven"]
"""`copying`: the old copy is stopped, or about to be. `copied`: its data are whole on the new host.
`started`: the new copy is started, or about to be. `proven`: it works; the old one can go."""


class MoveFailedError(SettingError):
    """A move did not come to its end; says what runs where now."""


class Ends(Protocol):
    """The two ends of a move."""

    def prepare(self) -> None:
        """Everything that can fail before the old copy is touched: images, free space."""

    def mark(self, phase: Phase) -> None:
        """Write on the new host how far the move is."""

    def stop(self) -> None:
        """Stop the old copy, so that it stays stopped."""

    def copy(self) -> None:
        """Copy the data and compare them; what an earlier try left is replaced."""

    def start(self) -> None:
        """Deploy the new copy and wait until its containers are healthy."""

    def prove(self) -> None:
        """Check the new copy's services on its own host."""

    def remove(self) -> None:
        """Remove the new copy with its data, and forget the move."""

    def restart(self) -> None:
        """Start the old copy as it ran before."""


def move(project: str, ends: Ends, phase: Phase | None) -> None:
    """Move a stack until the new copy is proven.

    Args:
        project: its name, for the errors.
        ends: what each step does.
        phase: how far an earlier run came; None where this one begins.

    Raises:
        MoveFailedError: a step failed; the old copy runs again, or the text says why not.
    """
    if phase is None:
        try:
            ends.prepare()
        except Exception as error:
            raise MoveFailedError(f"{error}\nThe stack {project} was not touched") from error
    if phase == "proven":
        return
    reached = phase
    try:
        if reached in (None, "copying"):
            ends.mark("copying")
            reached = "copying"
            ends.stop()
            ends.copy()
            ends.mark("copied")
        ends.mark("started")
        reached = "started"
        ends.start()
        ends.prove()
        ends.mark("proven")
    except Exception as error:
        raise _gone_back(project, ends, reached, error) from error


def _gone_back(
    project: str, ends: Ends, reached: Phase | None, error: Exception
) -> MoveFailedError:
    """The way back. What was started must be gone before the old copy starts: never two of them."""
    if reached is None:
        return MoveFailedError(f"{error}\nThe stack {project} was not touched")
    faults = []
    try:
        ends.remove()
    except Exception as fault:  # noqa: BLE001  # the first error is the one to be told
        faults.append(f"the new copy could not be removed: {fault}")
    if faults and reached == "started":
        faults.append("so the old copy stays stopped: never do two copies run")
    else:
        try:
            ends.restart()
        except Exception as fault:  # noqa: BLE001
            faults.append(f"the old copy could not be started again: {fault}")
        else:
            faults.insert(0, "The old copy runs again, with its data as they were")
    lines = [f"stack {project} was not moved: {error}", *faults]
    if len(faults) > 1 or not faults[0].startswith("The old copy runs"):
        lines.append("`phoenix sync --move` goes on from there")
    return MoveFailedError("\n".join(lines))
