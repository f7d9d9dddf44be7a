"""Files that look like a part of the site but are not read, because of their names."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from phoenix.declaration.compose import OTHER_NAMES
from phoenix.declaration.stack_places import COMPOSE, MANIFEST, Place, StackPlaces
from phoenix.site import suggestions
from phoenix.site.findings import Report


def check(inventories: Path, known: tuple[str, ...], places: StackPlaces, report: Report) -> None:
    """Tell of JSON files and folders of stacks that nothing reads.

    Args:
        inventories: the folder of the site's JSON files.
        known: the names that such a file may have.
        places: the site's stacks.
        report: takes a warning for each.
    """
    for file in sorted(inventories.glob("*.json")):
        if file.name in known or file.name.endswith(".schema.json"):
            continue
        if names := suggestions.misspelt(file.name, known):
            message, fix = "nothing reads this file", suggestions.fix_of(names)
            report.unread(file.name, "", message, fix)
    used = {file.parent for name in places.names() for file in places.place(name).searched}
    folders = places.directory.glob("*") if places.directory.is_dir() else ()
    for folder in sorted(folders):
        if folder not in used and folder.is_dir() and (stray := next(_of_stack(folder), None)):
            rename = f"call {stray} {MANIFEST}" if stray.endswith(".json") else f"write {MANIFEST}"
            report.unread(
                f"stacks/{folder.name}",
                "",
                f"has {stray} and no {MANIFEST}, so it is not a stack and nothing deploys it",
                f'{rename} there, with {{"environments": {{"production": {{}}}}}}, or remove it',
            )


def check_beside_compose(place: Place, shipped: Collection[str], report: Report) -> None:
    """Tell of files beside a stack's compose file that Compose itself would read there.

    https://docs.docker.com/compose/how-tos/multiple-compose-files/merge/ and
    https://docs.docker.com/compose/how-tos/environment-variables/variable-interpolation/

    Args:
        place: where the stack stands.
        shipped: the files that the stack takes along (`files` of its environments).
        report: takes a warning for each.
    """
    file = place.compose
    if file is None:
        return
    stems = {file.stem, *(("docker-compose", "compose") if file.name == COMPOSE else ())}
    overrides = [f"{stem}.override.{end}" for stem in sorted(stems) for end in ("yml", "yaml")]
    others = OTHER_NAMES if file.name == COMPOSE else ()
    for name in (*others, *overrides, ENVIRONMENT_FILE):
        if name in shipped or not (file.parent / name).is_file():
            continue
        if name == ENVIRONMENT_FILE and place.path and file.parent in place.roots[:2]:
            continue  # in the folder of the whole site it may be somebody else's
        message = f"nothing reads this file beside {file.name}"
        fix = f"copy its content into {file.name}, or keep it elsewhere"
        if name == ENVIRONMENT_FILE:
            message = "nothing reads this file: a stack has the variables of its declaration"
            fix = f"write them under variables in {place.file}, or keep it elsewhere"
        report.warn(f"{place.compose_label.rpartition('/')[0]}/{name}".lstrip("/"), "", message,
                    fix)  # fmt: skip


ENVIRONMENT_FILE = ".env"


def _of_stack(folder: Path) -> Iterator[str]:
    """The files of a folder that are called as a stack's own, or nearly so."""
    for file in sorted(folder.glob("*.json")):
        if file.name == MANIFEST or suggestions.misspelt(file.name, [MANIFEST]):
            yield file.name
    yield from (name for name in (COMPOSE, *OTHER_NAMES) if (folder / name).is_file())
