"""What the watcher last saw, as `phoenix.watch` tells it. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import TypeAdapter

from phoenix.site.model import Frozen
from phoenix.watch import folders


class WatchedHost(Frozen):
    """One host. `seen`: when its newest report came, UTC; None: none came since the last boot."""

    name: str
    seen: datetime | None


class WatchedCause(Frozen):
    """A cause that was told, and is not over."""

    severity: Literal["fault", "warning"]
    host: str
    hop: str
    text: str
    since: datetime


class Watched(Frozen):
    """The watcher's last look.

    Attributes:
        at: when it was, UTC.
        working: whether a run of the site was at work, so that nothing new was told.
        hosts: those that report.
        causes: what it has told and is not over.
        places: to how many places alarms go.
        waiting: messages that a place did not take yet.
    """

    at: datetime
    working: bool
    hosts: tuple[WatchedHost, ...]
    causes: tuple[WatchedCause, ...]
    places: int
    waiting: int


WATCHED = TypeAdapter(Watched)
FILE = f"{folders.VAR}/{folders.STATUS}"
"""On the watcher; `phoenix.watch` writes it."""
