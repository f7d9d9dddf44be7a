"""One run at a time for one site and one control machine, by the kernel's own lock.

flock(2) is given up when its holder ends, however it ends, so a lock that a dead process left
needs no judgement of its age. The file beside it only tells who holds it. It is never removed:
a removed file could be locked by two at once.
"""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

OWNER = "PHOENIX_LOCK_OWNER"
"""Environment variable with the owner, as JSON, for whom a run is to lock the site."""

KEEP = "PHOENIX_LOCK_KEEP"
"""Environment variable, set in a run that is to do nothing but keep the lock until its input ends;
it reports `locked` when it has it."""


class Owner(BaseModel):
    """Who holds a lock: a process, and since when (UTC)."""

    model_config = ConfigDict(extra="ignore")

    user: str
    machine: str
    pid: int
    command: str
    since: datetime

    def age(self, now: datetime) -> str:
        """How long it has been held, as a person says it."""
        seconds = max(0, int((now - self.since).total_seconds()))
        minutes, seconds = divmod(seconds, 60)
        hours, minutes = divmod(minutes, 60)
        if hours:
            return f"{hours} h {minutes} min"
        return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"

    def __str__(self) -> str:
        """Who, where and what."""
        return f"{self.user}@{self.machine} (process {self.pid}): {self.command}"


class LockedError(RuntimeError):
    """Another run holds the lock; `owner` is None where it can't be read."""

    def __init__(self, owner: Owner | None) -> None:
        """Keep the owner, for JSON."""
        self.owner = owner
        holder = f"{owner}, for {owner.age(datetime.now(UTC))}" if owner else "somebody else"
        super().__init__(f"another run is at work on this site: {holder}. Nothing was started.")


def this_process(command: str) -> Owner:
    """This process as an owner.

    Args:
        command: what it does, as the operator typed it.
    """
    return Owner(
        user=_user(),
        machine=socket.gethostname(),
        pid=os.getpid(),
        command=command,
        since=datetime.now(UTC),
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may have no name for its user
        return str(os.getuid())


@contextmanager
def hold(path: Path, owner: Owner) -> Iterator[Owner | None]:
    """Hold a lock for as long as the context lasts.

    Args:
        path: the lock's file, made with its directory (mode 0600).
        owner: who holds it, written into the file for others to read.

    Yields:
        The owner of a run that died while it held the lock; None if there was none.

    Raises:
        LockedError: another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "r+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockedError(parse_owner(stream.read())) from None
        died = parse_owner(stream.read())
        _write(stream.fileno(), owner.model_dump_json())
        try:
            yield died
        finally:
            _write(stream.fileno(), "")


def parse_owner(text: str) -> Owner | None:
    """An owner from its JSON; None where the text is none."""
    try:
        return Owner.model_validate(json.loads(text))
    except ValueError:
        return None


def _write(descriptor: int, text: str) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text.encode(), 0)
