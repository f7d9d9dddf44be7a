"""Whether to restore a part of a backup on its guest: the data there decide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from phoenix.backup.archive import BackupError
from phoenix.components.answers import unexpected

Step = Literal["put", "replace", "keep"]


@dataclass(frozen=True)
class PresentData:
    """The data at the place that a part is restored to.

    Attributes:
        present: whether there are any.
        identity: of which CA or server they are (see `phoenix.backup.contents`); empty if unknown.
        restored: the sha256 of the part that was restored there last; empty if none was.
    """

    present: bool = False
    identity: str = ""
    restored: str = ""


def decide(
    present_data: PresentData,
    *,
    part: str,
    location: str,
    identity: str,
    sha256: str,
    replace: bool,
) -> Step:
    """The step for one part.

    No data there: put. The same CA or the same server: its data are newer than the backup's, so
    keep them. With `replace`: replace them, but those of the same part only once.

    Raises:
        BackupError: data of another CA or server are there, and `replace` is off.
    """
    if not present_data.present:
        return "put"
    same = present_data.identity == identity
    if replace and not (same and present_data.restored == sha256):
        return "replace"
    if same:
        return "keep"
    raise BackupError(
        f"{location} holds something else than {part} of the backup. Nothing was changed. "
        "fix: give --replace to restore over it; the present data are kept beside it "
        "(deploys/restore.py: restore_replace=true)"
    )


def parse_present_data(lines: list[str]) -> PresentData:
    """Parse the output of the facts of `facts.backup`: `there`, `identity WORD`, `restored SHA256`.

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
                raise BackupError(unexpected(line))
    return PresentData(present, words["identity"], words["restored"])
