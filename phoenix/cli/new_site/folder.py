"""A new site's folder: written whole, and finished where writing was interrupted."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from phoenix.cli.exits import CommandError
from phoenix.locations import CHECKOUT, PROJECT

JOURNAL = ".phoenix-init.json"
"""The files that are being written, whole: there from the first one to the last."""
_OTHERS = frozenset({JOURNAL, ".git"})


def unfinished(folder: Path) -> dict[str, str] | None:
    """What an interrupted `init` was writing there; None where there is none.

    Raises:
        CommandError: its journal cannot be read.
    """
    journal = folder / JOURNAL
    if not journal.exists():
        return None
    try:
        files = json.loads(journal.read_text(encoding="utf-8"))
        return {str(name): str(text) for name, text in files.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise CommandError(
            f"{journal} cannot be read ({error}): remove {folder}, if nothing in it is yours, and "
            "call this again"
        ) from None


def check(folder: Path) -> None:
    """Refuse a folder that holds anything, and one inside the code.

    A new repository's `.git` is nothing.

    Raises:
        CommandError: says what is there.
    """
    if CHECKOUT and folder.resolve().is_relative_to(PROJECT.resolve()):
        raise CommandError(
            f"{folder} is inside the code of Phoenix, {PROJECT}: choose a folder outside it, which "
            "is the site's own repository"
        )
    if folder.exists() and not folder.is_dir():
        raise CommandError(f"{folder} is not a folder")
    existing = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    if others := [name for name in existing if name not in _OTHERS]:
        shown = ", ".join(others[:5]) + (" and more" if len(others) > 5 else "")
        raise CommandError(
            f"{folder} is not empty ({shown}): choose another folder. To change a site that is "
            "there: phoenix add host|service|stack --site DIR"
        )


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Write a site's files; who was interrupted calls `unfinished` and this again.

    A file that is there already, of an interrupted call, stays as it is: it is whole, and may have
    been edited since.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / JOURNAL, json.dumps(files))
    for name, text in files.items():
        if not (folder / name).exists():
            write_whole(folder / name, text)
    (folder / JOURNAL).unlink()


def write_whole(file: Path, text: str) -> None:
    """Write a file whole, or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=".phoenix-")
    path = Path(temporary)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        path.chmod(file.stat().st_mode & 0o7777 if file.exists() else 0o644)
        path.replace(file)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
