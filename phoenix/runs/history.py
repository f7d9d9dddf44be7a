"""What the site itself remembers of its runs: who ran what, from which revision, with what result.

The hypervisor keeps it, a JSON object a line. `operations.site_lock` writes it, as part of the lock
that each run holds; so a run that is killed is in it too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from phoenix.runs.lock import Owner
from phoenix.runs.revision import Revision, contains
from phoenix.shell import Script

FILE = "/var/lib/phoenix/history.jsonl"
"""On the hypervisor, mode 0600."""
KEPT = 500
"""So many runs are remembered at least, and at most twice as many."""
OLDER = "PHOENIX_OLDER"
"""Environment variable with `1`: what is deployed may be replaced by an older revision."""
WANTED = "PHOENIX_HISTORY"
"""Environment variable for `deploys/history.py`: `all` for every run, else the last deployment."""
DEPLOY = "deploys/history.py"
"""The file that reads the history, and adds a `Refusal` to it."""
REFUSED = "PHOENIX_HISTORY_REFUSED"
"""Environment variable for `deploys/history.py`: a `Refusal` that it is to add, as JSON."""
TOLD = "history"
"""The value that `deploys/history.py` tells: the file's lines."""
DEPLOYS = '"deploys":true'
"""What the line of a run has that deploys the declaration, and did begin to."""

READ = Script(
    "history",
    """[ -r "$1" ] || exit 0
if [ "$2" = all ]; then cat "$1"; else grep -F "$3" "$1" | tail -n 1; fi
""",
)
"""Words: the file, `all` or `last`, and what marks a deployment."""

APPEND = Script(
    "history",
    """umask 077; exec 8>>"$1.queue"; flock 8; mkdir -p -m 755 "${2%/*}" &&
cat >>"$2"; chmod 600 "$2"
""",
)
"""Words: the lock's file, in whose queue the others write, and the history's. A line comes in."""
_LONGEST = 600

Result = Literal["ok", "failed", "stopped", "lost", "refused"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="ignore")


class Refusal(_Model):
    """A run that was refused before it had a connection to the site: whose, and why."""

    owner: Owner
    reason: str


class Start(_Model):
    """A run that begins. `run` is the same for all calls of pyinfra by one command."""

    run: str
    user: str
    machine: str
    command: str
    commit: str | None
    dirty: bool
    deploys: bool
    began: datetime


class End(_Model):
    """How a run ended. `changed`: steps that changed something; `failed`: hosts.

    `reason`: why it was refused; empty where it was not.
    """

    result: Result
    changed: int
    hosts: list[str]
    failed: list[str]
    reason: str = ""


LOST = End(result="lost", changed=0, hosts=[], failed=[])
"""Of a run whose connection went before it said how it ended: killed, or cut off."""


class Entry(_Model):
    """One run, or one call of it."""

    start: Start
    end: End
    ended: datetime


def started(owner: Owner, revision: Revision, *, deploys: bool) -> Start:
    """The beginning of an owner's run, from this revision; whether it deploys the declaration."""
    return Start(
        run=f"{owner.user}@{owner.machine}:{owner.pid}:{owner.since.isoformat()}",
        user=owner.user,
        machine=owner.machine,
        command=owner.command,
        commit=revision.commit,
        dirty=revision.dirty,
        deploys=deploys,
        began=datetime.now(UTC),
    )


def refused(reason: str) -> End:
    """The end of a run that was not begun, and why: on one line, no longer than a person reads."""
    text = " ".join(reason.split())
    text = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
    return End(result="refused", changed=0, hosts=[], failed=[], reason=text)


def parse(lines: Iterable[str]) -> list[Entry]:
    """The runs in a history, oldest first. The calls of one command are one run.

    A line that is none, as a full disk leaves one, is left out.
    """
    runs: dict[str, Entry] = {}
    for line in lines:
        try:
            raw = json.loads(line)
            raw["end"] = raw.get("end") or LOST.model_dump()
            entry = Entry.model_validate(raw)
        except (ValueError, ValidationError, TypeError, AttributeError, KeyError):
            continue
        before = runs.get(entry.start.run)
        runs[entry.start.run] = _joined(before, entry) if before else entry
    return list(runs.values())


def _joined(first: Entry, second: Entry) -> Entry:
    order: Sequence[Result] = ("ok", "stopped", "lost", "refused", "failed")
    worst = max(first.end.result, second.end.result, key=order.index)
    end = End(
        result=worst,
        changed=first.end.changed + second.end.changed,
        hosts=sorted({*first.end.hosts, *second.end.hosts}),
        failed=sorted({*first.end.failed, *second.end.failed}),
        reason=second.end.reason or first.end.reason,
    )
    start = second.start.model_copy(update={"began": first.start.began})
    return Entry(start=first.start if first.start.deploys else start, end=end, ended=second.ended)


def deployed(entries: Sequence[Entry]) -> Entry | None:
    """The last run that deployed the declaration, or a part of it; None if there is none."""
    return next((entry for entry in reversed(entries) if entry.start.deploys), None)


def older_allowed() -> bool:
    """Whether the operator said that an older revision may replace what is deployed."""
    return os.environ.get(OLDER) == "1"


def behind(root: Path, own_revision: Revision, last: Entry | None) -> str:
    """Why this checkout must not replace what is deployed; empty where it may.

    Args:
        root: the checkout.
        own_revision: its revision.
        last: the last deployment. One without a revision may be replaced.
    """
    if last is None or last.start.commit is None or own_revision.commit is None:
        return ""
    if own_revision.commit == last.start.commit:
        return ""
    contained = contains(root, last.start.commit)
    if contained:
        return ""
    how = (
        "which this checkout does not know: it is older, or of another branch"
        if contained is None
        else "which is not part of this checkout: it is older, or of another branch"
    )
    who = f"{last.start.user}@{last.start.machine} at {last.ended:%Y-%m-%d %H:%M} UTC"
    return (
        f"what is deployed is of revision {last.start.commit[:12]} (by {who}), {how}. This is "
        f"{own_revision.commit[:12]}: get the newer one first (git pull)"
    )


def missing_revision(last: Entry | None) -> str:
    """What the history cannot say of the last deployment; empty where it says all."""
    if last is None:
        return ""
    who = f"{last.start.user}@{last.start.machine} at {last.ended:%Y-%m-%d %H:%M} UTC"
    if last.start.commit is None:
        return f"what is deployed came from no checkout, by {who}: its revision is unknown"
    if last.start.dirty:
        return (
            f"what is deployed came from revision {last.start.commit[:12]} with changes that are "
            f"not committed, by {who}"
        )
    return ""
