"""The snapshots that the hosts' timers have made, and the one of a moment. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict

from phoenix.backup.archive import BackupError
from phoenix.derived.backups import STACK, Part

_AGO = re.compile(r"([1-9][0-9]{0,3})([hdw])\Z")
_UNITS = {"h": "hours", "d": "days", "w": "weeks"}
_FRACTION = re.compile(r"(\.[0-9]{6})[0-9]+")
LATEST = datetime.max.replace(tzinfo=UTC)
"""After whatever there is: a host's clock may be ahead of the operator's."""
MOMENT_FIX = (
    "write yesterday, a date as 2026-11-25, a time as 2026-11-25T14:00, how long ago as 6h, 3d or "
    "2w, or latest"
)


class Snapshot(BaseModel):
    """One snapshot of a part; `time` is when it began."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    part: str
    id: str
    time: AwareDatetime


class Noted(BaseModel):
    """What a host has noted of one part: its newest good backup and proof, and why not newer ones.

    `backed_up` and `proven` are None where there was none; `failure` and `unproven` are empty
    where the last try went well.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    part: str
    backed_up: AwareDatetime | None
    snapshot: str
    proven: AwareDatetime | None
    proven_snapshot: str
    failure: str
    unproven: str


class HostBackups(BaseModel):
    """What one host tells of its backups."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    snapshots: tuple[Snapshot, ...]
    noted: tuple[Noted, ...]


def parse(lines: Sequence[str]) -> HostBackups:
    """What `phoenix-backup list` and `phoenix-backup state` print, one after the other.

    Raises:
        ValueError: it is of another form.
    """
    first, *rest = lines or ["null"]
    return HostBackups(
        snapshots=tuple(_snapshot(row) for row in json.loads(first) or ()),
        noted=tuple(_noted(line.split("\t")) for line in rest),
    )


def _snapshot(row: Any) -> Snapshot:
    """One of restic's, whose times have nanoseconds."""
    moment = datetime.fromisoformat(_FRACTION.sub(r"\1", row["time"]))
    return Snapshot(part=(row.get("tags") or [""])[0], id=row["short_id"], time=moment)


def _noted(fields: Sequence[str]) -> Noted:
    part, backed_up, snapshot, proven, proven_snapshot, failure, unproven = (
        "" if word == "-" else word for word in fields
    )
    return Noted(
        part=part, backed_up=_moment(backed_up), snapshot=snapshot, proven=_moment(proven),
        proven_snapshot=proven_snapshot, failure=failure, unproven=unproven,
    )  # fmt: skip


def _moment(seconds: str) -> datetime | None:
    return datetime.fromtimestamp(int(seconds), UTC) if seconds else None


def moment(
    text: str, now: datetime, local: Callable[[datetime], datetime] | None = None
) -> datetime:
    """The moment that an operator means: a day is meant with its end.

    Args:
        text: see `MOMENT_FIX`.
        now: with the operator's time zone, which counts where `text` names none.
        local: gives a time without a zone the operator's, as it was then: in summer it may have
            been another one than now.

    Raises:
        BackupError: it is none; says what may be written.
    """
    word = text.strip().lower()
    if word in ("latest", "now", "today"):
        return LATEST
    if ago := _AGO.match(word):
        return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    if word == "yesterday":
        return _end(now - timedelta(days=1))
    try:
        stated = datetime.fromisoformat(text.strip())
    except ValueError:
        raise BackupError(f"--at {text!r} is not a time: {MOMENT_FIX}") from None
    if re.fullmatch(r"\d{4}-?\d{2}-?\d{2}", text.strip()):
        stated = datetime.combine(stated.date(), time.max)
    if stated.tzinfo:
        return stated
    return local(stated) if local else stated.replace(tzinfo=now.tzinfo)


def _end(day: datetime) -> datetime:
    return datetime.combine(day.date(), time.max, day.tzinfo)


def newest(snapshots: Iterable[Snapshot], part: str, at: datetime) -> Snapshot:
    """The last snapshot of a part that was begun by a moment.

    Raises:
        BackupError: there is none; says what there is.
    """
    of_part = sorted(
        (snapshot for snapshot in snapshots if snapshot.part == part),
        key=lambda snapshot: snapshot.time,
    )
    before = [snapshot for snapshot in of_part if snapshot.time <= at]
    if before:
        return before[-1]
    have = (
        f"the oldest is of {of_part[0].time:%Y-%m-%d %H:%M %Z}"
        if of_part
        else "there is none at all"
    )
    old = "" if at == LATEST else f" is as old as {at:%Y-%m-%d %H:%M %Z}"
    raise BackupError(f"no backup of {part}{old}: {have}")


def parts_named(parts: Sequence[Part], word: str | None) -> tuple[Part, ...]:
    """The parts that an operator means.

    Args:
        parts: of the site.
        word: `ca`, `portainer`, or `stack:` with a stack's name or project; None: all.

    Raises:
        BackupError: none is backed up by that name; says which are.
    """
    if word is None:
        return tuple(parts)
    name = word.removeprefix(STACK)
    matching = tuple(
        part
        for part in parts
        if part.name == word
        or (word.startswith(STACK) and part.stack is not None and part.stack.name == name)
    )
    if not matching:
        have = ", ".join(part.name for part in parts) or "nothing, as the site has no `backups`"
        raise BackupError(f"{word} is not backed up by a timer; backed up are: {have}")
    return matching
