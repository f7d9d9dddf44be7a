"""Whether a part of a backup is to be put on its guest: what is there decides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from phoenix.backup.archive import BackupError

Step = Literal["put", "replace", "keep"]


@dataclass(frozen=True)
class Found:
    """What stands where a part would go.

    `identity` tells whose data they are (see `phoenix.backup.contents`), empty where that cannot
    be told; `restored` is the sha256 of the part that was put there last.
    """

    present: bool = False
    identity: str = ""
    restored: str = ""


def decide(
    found: Found, *, what: str, place: str, identity: str, sha256: str, replace: bool
) -> Step:
    """What to do with one part.

    Nothing there: put. The same CA or the same server: its data are newer than the backup's, so
    they stay. With `replace` the backup's come in their place, over the same one's only once.

    Raises:
        BackupError: others' data are there, and they are not to be replaced.
    """
    if not found.present:
        return "put"
    same = found.identity == identity
    if replace and not (same and found.restored == sha256):
        return "replace"
    if same:
        return "keep"
    raise BackupError(
        f"{place} holds something else than {what} of the backup, and nothing was changed: give "
        "restore_replace=true to put the backup's in its place (what is there is kept beside it)"
    )


def parse_found(lines: list[str]) -> Found:
    """Read what the facts of `facts.backup` print: `there`, `identity WORD`, `restored SHA256`.

    Raises:
        BackupError: a line is not of that form.
    """
    present, words = False, {"identity": "", "restored": ""}
    for line in lines:
        match line.split():
            case ["there"]:
                present = True
            case [("identity" | "restored") as key, value]:
                words[key] = value
            case _:
                raise BackupError(f"unexpected line from the host: {line!r}")
    return Found(present, words["identity"], words["restored"])
