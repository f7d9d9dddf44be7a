"""Digests of a declaration's files, so that a run notices files edited since the plan.

A person may edit a file while they read a plan, or between two calls of one command. Each call
reads the files again, and would then do something other than what the person agreed to.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from phoenix.declaration.settings import FOLDER

VARIABLE = "PHOENIX_DECLARED"
"""The environment variable with `to_text` of the digests when the command read the files."""
_MAX_CHARACTERS = 100_000
"""The most characters of that variable; execve(2) takes 131,072."""
_EDITOR_SUFFIXES = ("~", ".swp", ".swx", ".swo", ".tmp")
"""Suffixes of the files that editors leave beside a file."""


def _is_declaration(file: Path) -> bool:
    hidden = file.name.startswith((".#", "#")) or "__pycache__" in file.parts
    return not hidden and not file.name.endswith(_EDITOR_SUFFIXES) and file.is_file()


def _files(data: Mapping[str, Any]) -> Iterator[Path]:
    """JSON files and what stands beside and below them, stacks, settings; no secrets."""
    inventories, stacks = Path(data["site_inventories"]), Path(data["site_stacks"])
    secrets = {data.get("site_secrets"), data.get("site_sops"), os.environ.get("PHOENIX_SOPS_FILE")}
    written = {Path(name).resolve() for name in secrets if name}
    yield from (
        file
        for file in _below(inventories)
        if ".sops." not in file.name and file.resolve() not in written
    )
    if not stacks.resolve().is_relative_to(inventories.resolve()):
        yield from stacks.rglob("*")
    yield from (inventories.parent / FOLDER).glob("*.py")


def _below(folder: Path) -> Iterator[Path]:
    """What is in a folder and below it, where `compose_file_path` may lead; no hidden folders."""
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith((".", "__pycache__"))]
        yield from (Path(place, name) for name in names)


def digests(data: Mapping[str, Any]) -> dict[str, str]:
    """The digest of each file of a declaration, by its path from the site's folder.

    Args:
        data: of the inventory's hosts, which says where the files are.
    """
    root = Path(data["site_inventories"]).parent
    digest_by_file: dict[str, str] = {}
    for file in filter(_is_declaration, _files(data)):
        label = file.relative_to(root) if file.is_relative_to(root) else file
        try:
            with file.open("rb") as stream:
                digest_by_file[str(label)] = hashlib.file_digest(stream, "sha256").hexdigest()[:16]
        except OSError:  # told where it is read
            digest_by_file[str(label)] = "unreadable"
    return dict(sorted(digest_by_file.items()))


def to_text(digest_by_file: Mapping[str, str]) -> str:
    """Digests as JSON; for a declaration with very many files, one digest of all."""
    whole = json.dumps(digest_by_file)
    if len(whole) <= _MAX_CHARACTERS:
        return whole
    return json.dumps({"": hashlib.sha256(whole.encode()).hexdigest()})


def changed_files(before: str, data: Mapping[str, Any]) -> tuple[str, ...]:
    """The paths of the files that have changed since `before`; empty if none has.

    Args:
        before: `to_text` of the earlier digests.
        data: as for `digests`.
    """
    now: dict[str, str] = digests(data)
    if to_text(now) == before:
        return ()
    known: dict[str, str] = json.loads(before)
    if "" in known:
        return ("one of its files",)
    return tuple(name for name in sorted({*known, *now}) if known.get(name) != now.get(name))
