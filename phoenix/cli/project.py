"""The project and the site that an inventory stands for, read without touching any host."""

from __future__ import annotations

import contextlib
import io
import os
import runpy
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phoenix.cli.exits import CommandError
from phoenix.declaration import inventory as inventories
from phoenix.declaration import pyinfra_inventory
from phoenix.declaration.pyinfra_inventory import Inventory
from phoenix.locations import CHECKOUT, EXAMPLE, PROJECT, deploys_of
from phoenix.site.model import Site

if TYPE_CHECKING:  # completion needs none of these
    from pydantic import SecretStr

    from phoenix.declaration.group_data import SettingsFile
    from phoenix.declaration.settings import Settings
    from phoenix.runs.process import Request
    from phoenix.secrets.store import SecretStore
    from phoenix.site.findings import Report


@dataclass(frozen=True)
class Project:
    """A site's folder, one of its inventories, and what pyinfra takes from that: `given`.

    `environment` holds the environment variables by which the inventory finds its site.
    """

    root: Path
    inventory: Path
    given: Inventory
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def data(self) -> Mapping[str, Any]:
        """Of the inventory's first host."""
        return self.given.data

    @cached_property
    def site(self) -> Site:
        """The site as the deploys see it: the one that the inventory loaded."""
        return inventories.site_of(self.data)

    @cached_property
    def secrets(self) -> SecretStore:
        """The site's secrets."""
        from phoenix.secrets.store import of_inventory

        return of_inventory(self.data)

    @cached_property
    def file_digests(self) -> str:
        """The site's files as they are when this is asked for first, for the runs of the command.

        See `phoenix.declaration.file_digests`.
        """
        from phoenix.declaration import file_digests

        return file_digests.to_text(file_digests.digests(self.data))

    @property
    def name(self) -> str:
        """The site's name for files: no two sites share it."""
        return f"{self.site.domain}-{self.site.hypervisor.address}"

    @property
    def state(self) -> Path:
        """Where this machine keeps logs and lock of the site's runs."""
        from phoenix.runs.logs import state_directory

        return state_directory(self.name)

    @cached_property
    def _settings_report(self) -> Report:
        from phoenix.site.findings import Report

        return Report()

    @cached_property
    def _settings_files(self) -> tuple[SettingsFile, ...]:
        """The files in group_data, executed once; what is wrong with one is in the report."""
        from phoenix.declaration import group_data

        return group_data.read(self.root, self._settings_report)

    @cached_property
    def settings(self) -> Settings:
        """The hypervisor's settings, as a run sees them.

        Raises:
            CommandError: a settings file or a setting that cannot be used; with file and fix.
        """
        from phoenix.declaration import group_data
        from phoenix.site.findings import ConfigError

        host = group_data.of_host(self._settings_files, self.given, self.site.hypervisor)
        try:
            self._settings_report.raise_errors()
            return group_data.checked(host)
        except ConfigError as error:
            raise CommandError(f"{error}\n`phoenix validate` lists all errors") from None

    def print_warnings(self) -> None:
        """Say on standard error what is ignored of the declaration and of the settings."""
        from phoenix.cli import output
        from phoenix.declaration import group_data
        from phoenix.declaration.settings import UNREAD, fields, unknown
        from phoenix.site import suggestions
        from phoenix.site.findings import Report
        from phoenix.validation import setting_readers

        report = Report()
        own = group_data.SettingsFile(self.given.label, "", self.given.given)
        # The others are pyinfra's, whose list is slow to import.
        ours = [name for name in fields() if name.startswith("ssh_")]
        for place in (*self._settings_files, own):
            names = [
                n for n in place.values if not n.startswith("ssh_") or suggestions.misspelt(n, ours)
            ]
            for name, fix in unknown(names):
                report.warn(place.label, name, UNREAD, fix)
        for finding in setting_readers.findings(self.site, self._settings_files, self.given):
            report.add(finding)
        group_data.misplaced(Path(self.data["site_inventories"]), self.root, report)
        for warning in (*self.site.warnings, *report.warnings):
            output.notes().print(f"warning: {warning}", markup=False)

    def request(self, *deploys: str, **options: Any) -> Request:
        """A call of pyinfra on this inventory; `options` as in `phoenix.runs.process.Request`."""
        from phoenix.runs.process import Request

        environment = {**self.environment, **options.pop("environment", {})}
        code = deploys_of(self.root)
        if code == self.root:
            inventory = self.inventory.relative_to(self.root)
            return Request(code, inventory, deploys, environment=environment, **options)
        return Request(code, self.inventory, deploys, environment=environment, site=self.root,
                       **options)  # fmt: skip

    def known_secrets(self) -> list[SecretStr]:
        """Every secret that is known here without asking anybody: to be kept out of logs."""
        from phoenix.secrets.errors import SecretError

        try:
            return self.secrets.values()
        except SecretError as error:
            raise CommandError(str(error)) from None


def find(inventory: Path) -> Path:
    """The inventory file: as given, else in the checkout that this command was installed from.

    Raises:
        CommandError: there is no such file.
    """
    # A wheel's example site is nobody's: an empty folder does not stand for it.
    for candidate in (inventory, *([PROJECT / inventory] if CHECKOUT else [])):
        if candidate.is_file():
            return candidate.resolve()
    example = "" if CHECKOUT else f"; {EXAMPLE} is an example to copy"
    raise CommandError(
        f"there is no inventory {inventory}: call this in the site's directory, or name the file "
        f"with --inventory{example}"
    )


def load(inventory: Path) -> Project:
    """The project of an inventory whose declaration is sound.

    A directory with the two JSON files will do: it is deployed by the project beside it, else by
    the installed one. Its settings are in the group_data beside it.

    Raises:
        CommandError: the file or the declaration cannot be used; the text holds all findings.
    """
    environment = {}
    if inventory.is_dir():
        environment = {inventories.DIRECTORY: str(inventory.resolve())}
        beside = inventory.resolve().parent
        path, root = find(deploys_of(beside) / "inventories" / "directory.py"), beside
    else:
        path = find(inventory)
        root = path.parent.parent
        if not inventory.is_file() and not Path.cwd().is_relative_to(root):
            _note_site(inventory, root)
    with (
        _importable(path.parent.parent),
        _variables(environment),
        contextlib.redirect_stderr(io.StringIO()),  # `validate` shows warnings
    ):
        try:
            names = runpy.run_path(str(path))
        except SystemExit as error:
            raise CommandError(str(error)) from error
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            fix = (
                "correct the file: pyinfra executes it at the start of each run"
                if path.suffix == ".py"
                else "name the site's folder with --site, or a Python inventory with --inventory"
            )
            raise CommandError(
                f"the inventory {path} cannot be executed: {reason}\n  fix: {fix}"
            ) from error
    label = str(path.relative_to(root) if path.is_relative_to(root) else path)
    try:
        given = pyinfra_inventory.read(label, names)
    except pyinfra_inventory.MalformedGroupError as error:
        raise CommandError(
            f"{path} cannot be used: {error}\n"
            "  fix: write a group as a list of hosts, or as (hosts, {data}), and a host as its "
            "name, or as (name, {data}); begin the name of what is no group with _"
        ) from None
    if given.hosts:
        return Project(root, path, given, environment)
    raise CommandError(
        f"{path} has no hosts: it must define groups as lists of (name, data)\n"
        "  fix: copy the file from a folder that `phoenix init` makes"
    )


def _note_site(inventory: Path, root: Path) -> None:
    """Say which site is meant, where it differs from that of the working directory."""
    from phoenix.cli import output

    output.notes().print(
        f"note: there is no {inventory} here, so this is the site in {root}; for another one call "
        "this in its folder, or give --site",
        markup=False,
    )


@contextlib.contextmanager
def _importable(root: Path) -> Iterator[None]:
    """What an inventory imports comes from its own project, as with pyinfra."""
    before = Path.cwd()
    sys.path.insert(0, str(root))
    os.chdir(root)
    try:
        yield
    finally:
        os.chdir(before)
        sys.path.remove(str(root))


@contextlib.contextmanager
def _variables(values: Mapping[str, str]) -> Iterator[None]:
    """These environment variables, and afterwards those that were there before."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
