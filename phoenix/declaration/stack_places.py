"""Where each stack is declared: a folder in `stacks/`, or `phoenix_stacks_config.json`.

The second is the original system's form: one file for all stacks, each with the path of its
compose file. Where a stack has both, its folder's `phoenix.json` holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from phoenix.declaration import value_types
from phoenix.declaration.json_errors import join, listed, read_object, validate
from phoenix.declaration.json_keys import RawListedStack, RawStacksFile
from phoenix.site.findings import Report

NAME = re.compile(rf"{value_types.NAME}\Z")
"""A stack's name, and that of its environment: each is part of a project's name."""
STACKS_FILE = "phoenix_stacks_config.json"
MANIFEST, COMPOSE = "phoenix.json", "docker-compose.yml"


@dataclass(frozen=True)
class Place:
    """Where one stack stands.

    Attributes:
        file: what findings call the file that declares it, and `path` the place in it.
        path: see `file`; empty for a manifest of its own.
        compose_label: what findings call its compose file.
        compose: its compose file; None where there is none.
        searched: where it was looked for.
        roots: the directories that its files' sources are relative to, in the order of search.
        fallback: whether the compose file is not where `compose_file_path` says.
    """

    file: str
    path: str
    compose_label: str
    compose: Path | None
    searched: tuple[Path, ...]
    roots: tuple[Path, ...]
    fallback: bool = False

    def environment(self, name: str) -> str:
        """The path of one of its environments in `file`."""
        return join(self.path, "environments", name)

    def source(self, name: str) -> Path | None:
        """The file that a `source` of the stack means; None where there is none in the roots."""
        for root in self.roots:
            try:
                file = (root / name).resolve()
                if file.is_relative_to(root.resolve()) and file.is_file():
                    return file
            except (OSError, ValueError):  # a name too long for a file, or with NUL
                continue
        return None


@dataclass
class StackPlaces:
    """All stacks of a site, by name.

    Attributes:
        directory: the folder of the stacks' own folders.
        site: the folder of the site's JSON files.
        stacks: `docker_stacks` of phoenix_stacks_config.json, as written.
    """

    directory: Path
    site: Path
    stacks: Mapping[str, Any] = field(default_factory=dict)

    def own(self) -> Iterator[str]:
        """The stacks that have a manifest of their own."""
        return (file.parent.name for file in self.directory.glob(f"*/{MANIFEST}"))

    def names(self) -> tuple[str, ...]:
        """The names of all stacks, sorted."""
        return tuple(sorted({*self.own(), *self.stacks}))

    def file(self, name: str) -> str:
        """What findings call the file that declares a stack."""
        own = (self.directory / name / MANIFEST).exists() or name not in self.stacks
        return f"stacks/{name}/{MANIFEST}" if own else STACKS_FILE

    def place(self, name: str) -> Place:
        """Where a stack stands."""
        folder = self.directory / name
        file, own = self.file(name), f"stacks/{name}/{COMPOSE}"
        if file != STACKS_FILE:
            compose = folder / COMPOSE
            return Place(file, "", own, compose, (compose,), (folder,))
        declared = tuple(self._declared(name))
        candidates = [*declared, (own, folder / COMPOSE)]
        existing = next((candidate for candidate in candidates if candidate[1].is_file()), None)
        return Place(
            file=STACKS_FILE,
            path=join("docker_stacks", name),
            compose_label=existing[0] if existing else candidates[0][0],
            compose=existing[1] if existing else None,
            searched=tuple(dict.fromkeys(path for _, path in candidates)),
            roots=(self.site, self.directory, folder),
            fallback=existing is not None and existing[1] not in [path for _, path in declared],
        )

    def _declared(self, name: str) -> Iterator[tuple[str, Path]]:
        """Where `compose_file_path` may mean: in the site's folder, or in that of the stacks."""
        stack = self.stacks[name]
        path = stack.get("compose_file_path") if isinstance(stack, dict) else None
        if isinstance(path, str) and is_inside(path):
            yield path, self.site / path
            inside = path.removeprefix("stacks/")
            yield f"stacks/{inside}", self.directory / inside

    def check(self, report: Report) -> None:
        """Tell of each stack that is declared in both ways, and of what differs then."""
        for name in sorted(set(self.own()) & self.stacks.keys()):
            where = join("docker_stacks", name)
            manifest = read_object(
                self.directory / name / MANIFEST, f"stacks/{name}/{MANIFEST}", report
            )
            stack = self.stacks[name]
            if manifest is None or not isinstance(stack, dict):
                continue
            keys = ("description", "environments")
            differ = [key for key in keys if key in stack and stack[key] != manifest.get(key)]
            report.warn(
                STACKS_FILE,
                where,
                f"stack {name} has a manifest of its own, stacks/{name}/{MANIFEST}, and that one "
                + (f"holds: the two differ in {listed(differ)}" if differ else "is read"),
                "keep one of the two",
            )


def is_inside(path: str) -> bool:
    """Whether a path is relative, and stays inside the folder that it is relative to."""
    pure = PurePosixPath(path)
    return bool(pure.parts) and not pure.is_absolute() and ".." not in pure.parts


def read(site: Path, directory: Path, report: Report) -> StackPlaces:
    """Find all stacks of a site.

    Args:
        site: the folder of the site's JSON files.
        directory: the folder of the stacks' own folders.
        report: takes what is wrong with phoenix_stacks_config.json, where there is one.
    """
    file = site / STACKS_FILE
    data = read_object(file, STACKS_FILE, report) if file.exists() else None
    top = validate(RawStacksFile, data, STACKS_FILE, "", report) if data is not None else None
    stacks = dict(top.docker_stacks) if top else {}
    for name in [name for name in stacks if not NAME.match(name)]:
        where = join("docker_stacks", name)
        report.error(STACKS_FILE, where, f"{name[:80]!r} is not a stack name", value_types.NAME_FIX)
        del stacks[name]
    places = StackPlaces(directory, site, stacks)
    places.check(report)
    return places


def check_compose_path(raw: RawListedStack, place: Place, name: str, report: Report) -> None:
    """Refuse a path that leads out of the site; tell of one where the compose file is not."""
    where, path = join(place.path, "compose_file_path"), raw.compose_file_path
    own = f"stacks/{name}/{COMPOSE}"
    if not is_inside(path):
        report.error(
            place.file,
            where,
            f"{path[:80]!r} leads out of the site's folder",
            "write a path relative to the folder of the site's JSON files, or to the stacks'",
        )
    elif place.fallback:
        report.warn(
            place.file,
            where,
            f"there is no {path[:80]!r} in the site's folder, and {own} is read",
            f'write "{own}"',
        )
