"""Live progress of a run: a table that moves in a terminal, plain lines everywhere else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from rich.console import Console, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from phoenix.runs.results import component_of, title_of

_PAUSE = 5.0
"""Seconds between two lines about one long step."""
_STYLES = {"changed": "green", "unchanged": "dim", "failed": "bold red", "unreachable": "bold red"}


class Follower(Protocol):
    """Takes the events of a run as they come."""

    def __call__(self, event: Mapping[str, Any], /) -> None:
        """One event."""


@dataclass
class _Host:
    state: str = "connected"
    step: str = ""
    began: float = 0.0


@dataclass
class LiveTable:
    """Every host with its present step and how long that has taken; redrawn by rich."""

    clock: Callable[[], float] = time.monotonic
    hosts: dict[str, _Host] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)
    position: str = "connecting"

    def __call__(self, event: Mapping[str, Any], /) -> None:
        """Take one event."""
        kind = event["event"]
        if kind == "connect":
            state = "connected" if event["ok"] else "unreachable"
            self.hosts[event["host"]] = _Host(state, "" if event["ok"] else event["reason"])
            self.position = "looking at what is there"
        elif kind == "step":
            self.position = f"step {event['number']} of {event['count']}"
            for name in event["hosts"]:
                self.hosts[name] = _Host("working", title_of(event["step"]), self.clock())
        elif kind == "step_done":
            for outcome in ("changed", "unchanged"):
                for name in event[outcome]:
                    self.hosts[name].state = outcome
        elif kind == "progress" and event["host"] in self.hosts:
            self.hosts[event["host"]].step = event["text"]
        elif kind == "host_failed":
            self.hosts[event["host"]].state = "failed"

    def __rich__(self) -> RenderableType:
        """Draw the table as it is now."""
        now = self.clock()
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
        table.add_row(Text(self.position, style="bold"), "", "", _clock(now - self.began))
        for name, host in self.hosts.items():
            working = host.state == "working"
            state = Spinner("dots") if working else Text("•", style=_STYLES.get(host.state, "dim"))
            elapsed = _clock(now - host.began) if working else ""
            word = "" if working else host.state
            table.add_row(
                Text(name), state, Text(f"{host.step} {word}".strip(), overflow="ellipsis"), elapsed
            )
        return table


@dataclass
class Lines:
    """One line a step, with the seconds since the run began."""

    console: Console
    clock: Callable[[], float] = time.monotonic
    began: float = field(default_factory=time.monotonic)
    counted: str = ""
    reported_at: float = 0.0

    def __call__(self, event: Mapping[str, Any], /) -> None:
        """Take one event."""
        kind = event["event"]
        if kind == "connect" and not event["ok"]:
            self._say(f"{event['host']} does not answer: {event['reason']}")
        elif kind == "step":
            self.counted = f"{event['number']}/{event['count']}"
        elif kind == "step_done":
            parts = [f"changed {', '.join(event['changed'])}"] if event["changed"] else []
            if event["unchanged"]:
                parts.append(f"{len(event['unchanged'])} unchanged")
            if parts:
                self._say(f"{self.counted} {_label(event['step'])}: {'; '.join(parts)}")
        elif kind == "progress" and self.clock() - self.reported_at >= _PAUSE:
            self.reported_at = self.clock()
            self._say(f"{self.counted} {event['host']}: {event['text']}")
        elif kind == "host_failed":
            self._say(f"{self.counted} {_label(event['step'])}: FAILED on {event['host']}")

    def _say(self, text: str) -> None:
        self.console.print(f"[{self.clock() - self.began:6.1f}s] {text}", markup=False)


@contextmanager
def follow(console: Console, *, quiet: bool) -> Iterator[Follower]:
    """What listens to a run: a live table on a terminal, lines elsewhere, nothing if `quiet`."""
    if quiet:
        yield _ignore
    elif console.is_terminal:
        table = LiveTable()
        with Live(table, console=console, refresh_per_second=8, transient=True):
            yield table
    else:
        yield Lines(console)


def _ignore(event: Mapping[str, Any], /) -> None:
    """Nobody looks."""


def _label(step: str) -> str:
    title, component = title_of(step), component_of(step)
    return (
        title if title.lower().startswith(component.replace("_", "-")) else f"{component} | {title}"
    )


def _clock(seconds: float) -> str:
    minutes, seconds_left = divmod(int(seconds), 60)
    return f"{minutes}:{seconds_left:02d}"
