"""What the files of a declaration were when a command read them, for the runs that it starts.

A person may edit them while a plan is looked at, or between two calls of one command; each call
reads them anew. What was agreed to would then not be what is done.
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
"""Environment variable with `text` of the files as the command read them."""
_MOST = 100_000
"""Characters of it; execve(2) takes 131,072 in one variable."""
_EDITORS = ("~", ".swp", ".swx", ".swo", ".tmp")
"""Ends of names that editors leave beside a file."""


def _is_declared(file: Path) -> bool:
    hidden = file.name.startswith((".#", "#")) or "__pycache__" in file.parts
    return not hidden and not file.name.endswith(_EDITORS) and file.is_file()


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
    for file in filter(_is_declared, _files(data)):
        label = file.relative_to(root) if file.is_relative_to(root) else file
        try:
            with file.open("rb") as stream:
                digest_by_file[str(label)] = hashlib.file_digest(stream, "sha256").hexdigest()[:16]
        except OSError:  # told where it is read
            digest_by_file[str(label)] = "unreadable"
    return dict(sorted(digest_by_file.items()))


def text(digest_by_file: Mapping[str, str]) -> str:
    """Digests as one text; of a declaration with very many files one digest of all."""
    whole = json.dumps(digest_by_file)
    if len(whole) <= _MOST:
        return whole
    return json.dumps({"": hashlib.sha256(whole.encode()).hexdigest()})


def edited(before: str, data: Mapping[str, Any]) -> tuple[str, ...]:
    """The files that are not as they were, by their paths; empty where all are.

    Args:
        before: `text` of the files as they were.
        data: as for `digests`.
    """
    now: dict[str, str] = digests(data)
    if text(now) == before:
        return ()
    known: dict[str, str] = json.loads(before)
    if "" in known:
        return ("one of its files",)
    return tuple(name for name in sorted({*known, *now}) if known.get(name) != now.get(name))
