"""The settings as pyinfra finds them: `group_data/GROUP.py`, read without pyinfra.

pyinfra takes every top-level name of such a file that is not imported; a host has those of its
groups, then those of `all` (https://docs.pyinfra.com/en/3.x/inventory-data.html).
"""

from __future__ import annotations

import ast
import re
import runpy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phoenix.place import deploys_of
from phoenix.site.findings import Report

FOLDER = "group_data"
ALL = "all"
_READ = re.compile(r"\bhost\.data\.(?:get\(\s*[\"'](\w+)[\"']|(?!get\b|dict\b)(\w+))")


@dataclass(frozen=True)
class SettingsFile:
    """One file of settings. `label` is what findings call it; `values` are its settings."""

    label: str
    group: str
    values: Mapping[str, Any]


def read(root: Path, report: Report) -> tuple[SettingsFile, ...]:
    """All settings files of a project, sorted by name; one that fails is reported and left out.

    They are Python and are executed, as pyinfra does at the start of each run.
    """
    found = []
    # A site's folder without deploys has the defaults of the installed project below its own.
    folders = dict.fromkeys((deploys_of(root), root))
    for file in (file for folder in folders for file in sorted((folder / FOLDER).glob("*.py"))):
        label = f"{FOLDER}/{file.name}"
        try:
            imported = _imported(file.read_text(encoding="utf-8"))
            values = runpy.run_path(str(file))
        except Exception as error:  # noqa: BLE001 - whatever somebody's Python raises
            line = getattr(error, "lineno", None)
            report.error(
                label,
                f"line {line}" if line else "",
                f"cannot be read: {type(error).__name__}: {error}",
                "correct the file: pyinfra executes it at the start of each run",
            )
            continue
        own = {k: v for k, v in values.items() if not k.startswith("__") and k not in imported}
        found.append(SettingsFile(label, file.stem, own))
    return tuple(found)


def effective(
    files: Sequence[SettingsFile], groups: Sequence[str], data: Mapping[str, Any]
) -> dict[str, Any]:
    """What a host of `groups` sees: `data` of its inventory before its groups' before `all`."""
    made: dict[str, Any] = {}
    for group in (ALL, *groups):
        for file in files:
            if file.group == group:
                made |= file.values
    return made | dict(data)


def asked_for(root: Path) -> frozenset[str]:
    """Names of the settings that the project's code reads from a host's data."""
    found: set[str] = set()
    for folder in ("deploys", "operations", "facts"):
        for file in (deploys_of(root) / folder).glob("*.py"):
            found |= {a or b for a, b in _READ.findall(file.read_text(encoding="utf-8"))}
    return frozenset(found)


def _imported(text: str) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(one.asname or one.name).partition(".")[0] for one in node.names}
    return names
