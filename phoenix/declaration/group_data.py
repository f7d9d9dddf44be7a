"""Where settings stand: `group_data/*.py` and inventory data, read as pyinfra reads them.

pyinfra takes every top-level name of such a file that is not imported. Of a setting that stands in
several places the nearest to the host counts: inventory data, the file named after the inventory,
the files of its groups (a later group of the inventory before an earlier one), `all.py`. A group's
file goes before the data that the inventory gives the group
(https://docs.pyinfra.com/en/3.x/inventory-data.html; pyinfra_cli.inventory).
"""

from __future__ import annotations

import ast
import runpy
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from phoenix.declaration import settings as model
from phoenix.declaration.json_errors import read_text
from phoenix.declaration.pyinfra_inventory import ALL, Inventory
from phoenix.declaration.settings import FOLDER, Settings, name_of
from phoenix.site.findings import ConfigError, Finding, Report
from phoenix.site.model import Host


@dataclass(frozen=True)
class SettingsFile:
    """One file of settings. `label` is what findings call it; `values` are its settings."""

    label: str
    group: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class HostSettings:
    """All sources of one host's settings, the most general first."""

    places: tuple[SettingsFile, ...]

    @property
    def data(self) -> dict[str, Any]:
        """What the host sees, by pyinfra's precedence."""
        return {name: value for place in self.places for name, value in place.values.items()}

    def place(self, finding: Finding) -> Finding:
        """The finding, with the file in which its setting stands; `all.py` where none has it."""
        setting = name_of(finding.path)
        owners = [place.label for place in self.places if setting in place.values]
        return replace(finding, file=owners[-1] if owners else f"{FOLDER}/{ALL}.py")


def read(root: Path, report: Report) -> tuple[SettingsFile, ...]:
    """All settings files of a project, sorted by name; one that fails is reported and left out.

    They are Python and are executed, as pyinfra does at the start of each run.
    """
    result = []
    for file in sorted((root / FOLDER).glob("*.py")):
        label = f"{FOLDER}/{file.name}"
        text = read_text(file, label, "put a file there, or remove the link", report)
        if text is None:
            continue
        try:
            imported = _imported(text.removeprefix("\ufeff"))  # Python takes the mark, too
            values = runpy.run_path(str(file))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever somebody's Python raises
            line = getattr(error, "lineno", None) or _line_in(file, error)
            words = error.msg if isinstance(error, SyntaxError) else error  # without the line again
            report.error(
                label,
                f"line {line}" if line else "",
                f"cannot be read: {type(error).__name__}: {words}",
                "correct the file: pyinfra executes it at the start of each run",
            )
            continue
        exported = values.get("__all__", [name for name in values if name not in imported])
        own = {k: v for k, v in values.items() if k in exported and not k.startswith("__")}
        result.append(SettingsFile(label, file.stem, own))
    return tuple(result)


def _line_in(file: Path, error: BaseException) -> int | None:
    """The line at which a file raised; None for an error elsewhere, and where the file exits."""
    if isinstance(error, SystemExit):
        return None
    steps = traceback.extract_tb(error.__traceback__)
    return next((step.lineno for step in steps if step.filename == str(file)), None)


_OTHER_FORMS = (".ini", ".json", ".toml", ".yaml", ".yml")
"""Endings of settings files of other programs, as Ansible's group_vars has them."""


def misplaced(inventories: Path, root: Path, report: Report) -> None:
    """Warn of settings that are not read where or as they stand.

    Those in the folder of the JSON files itself: they stand beside it, in `root`. And those in
    files that are no Python.
    """
    for file in sorted((root / FOLDER).glob("*")):
        if file.suffix.lower() in _OTHER_FORMS:
            report.unread(
                f"{FOLDER}/{file.name}",
                "",
                "nothing reads this file: settings stand in Python files (*.py)",
                f"write its settings in {FOLDER}/{file.stem}.py, each as name = value",
            )
    if list((inventories / FOLDER).glob("*.py")):
        report.unread(
            f"{inventories.name}/{FOLDER}",
            "",
            "`phoenix` reads no settings here",
            f"move them to {root / FOLDER}",
        )


def of_host(files: Sequence[SettingsFile], inventory: Inventory, host: Host) -> HostSettings:
    """Where a host takes its settings from."""
    return _of_groups(files, inventory, inventory.groups_of(host), inventory.data_of(host))


def _of_groups(
    files: Sequence[SettingsFile],
    inventory: Inventory,
    groups: Sequence[str],
    data: Mapping[str, Any],
) -> HostSettings:
    """Likewise, for a host with these groups and this data of its own in the inventory."""
    by_group = {
        name: SettingsFile(inventory.label, name, v) for name, v in inventory.values.items()
    }
    places = [
        place
        for name in (ALL, *groups)
        for place in (by_group.get(name), *(file for file in files if file.group == name))
        if place is not None
    ]
    return HostSettings((*places, SettingsFile(inventory.label, "", data)))


def of_hosts(
    files: Sequence[SettingsFile], inventory: Inventory, members: Sequence[Host]
) -> Iterator[HostSettings]:
    """Where hosts take their settings from, once for those that take the same ones.

    Args:
        files: those of group_data.
        inventory: what pyinfra takes from the inventory.
        members: the hosts; where there is none, the inventory's data is read as a host's in no
            group but that of all hosts.
    """
    with_values = {*inventory.values, *(file.group for file in files)}
    earlier: set[tuple[tuple[str, ...], str]] = set()
    each = [(inventory.groups_of(host), inventory.data_of(host)) for host in members]
    for names, own in each or [((Path(inventory.label).stem,), inventory.data)]:
        groups = tuple(group for group in names if group in with_values)
        settings = {name: own[name] for name in sorted(own) if model.is_setting(name)}
        key = (groups, repr(settings))
        if key not in earlier:
            earlier.add(key)
            yield _of_groups(files, inventory, groups, own)


def load(root: Path, inventory: str) -> Settings:
    """The settings of a project's hosts that are in no group with settings of its own, checked.

    Args:
        root: the project's directory.
        inventory: its inventory relative to it, as "inventories/lab.py".

    Raises:
        ConfigError: a file that cannot be read, or a wrong setting, with file and fix.
    """
    report = Report()
    (host,) = of_hosts(read(root, report), Inventory(inventory), ())
    report.raise_errors()
    return checked(host)


def checked(host: HostSettings) -> Settings:
    """The settings of one host.

    Raises:
        ConfigError: a setting has a wrong value; with the file in which it stands, and the fix.
    """
    settings, findings = model.read(host.data)
    if findings:
        raise ConfigError(map(host.place, findings))
    return settings


def _imported(text: str) -> set[str]:
    return {name for node in ast.parse(text).body for name in _names(node)}


def _names(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield from ((alias.asname or alias.name).partition(".")[0] for alias in node.names)
