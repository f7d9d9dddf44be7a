"""Files that look like a part of the site and that nothing reads, as their names are others."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path

from phoenix.declaration.compose import OTHER_NAMES
from phoenix.declaration.stack_places import COMPOSE, MANIFEST, StackPlaces
from phoenix.site.findings import Report

_ALIKE = 0.85  # of difflib: one or two letters of a name


def check(inventories: Path, known: tuple[str, ...], places: StackPlaces, report: Report) -> None:
    """Tell of JSON files and folders of stacks that nothing reads.

    Args:
        inventories: the folder of the site's JSON files.
        known: the names that such a file may have.
        places: the site's stacks.
        report: takes a warning for each.
    """
    for file in sorted(inventories.glob("*.json")):
        meant = difflib.get_close_matches(file.name, known, n=1, cutoff=_ALIKE)
        if file.name not in known and meant and not file.name.endswith(".schema.json"):
            message, fix = "nothing reads this file", f"call it {meant[0]}, or remove it"
            report.unread(file.name, "", message, fix)
    used = {file.parent for name in places.names() for file in places.place(name).searched}
    folders = places.directory.glob("*") if places.directory.is_dir() else ()
    for folder in sorted(folders):
        if folder not in used and folder.is_dir() and (found := next(_of_stack(folder), None)):
            rename = f"call {found} {MANIFEST}" if found.endswith(".json") else f"write {MANIFEST}"
            report.unread(
                f"stacks/{folder.name}",
                "",
                f"has {found} and no {MANIFEST}, so it is no stack and nothing deploys it",
                f'{rename} there, with {{"environments": {{"production": {{}}}}}}, or remove it',
            )


def _of_stack(folder: Path) -> Iterator[str]:
    """The files of a folder that are called as a stack's own, or nearly so."""
    for file in sorted(folder.glob("*.json")):
        if difflib.get_close_matches(file.name.lower(), [MANIFEST], cutoff=_ALIKE):
            yield file.name
    yield from (name for name in (COMPOSE, *OTHER_NAMES) if (folder / name).is_file())
