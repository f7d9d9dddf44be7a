"""What the offline verbs work on: an inventory's declaration, sound or not, without any host."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phoenix.cli import project
from phoenix.cli.exits import CommandError
from phoenix.declaration.inventory import FaultyError, stacks_of
from phoenix.declaration.load import load_site
from phoenix.declaration.pyinfra_inventory import Inventory
from phoenix.site.findings import ConfigError, Finding
from phoenix.site.model import Site


@dataclass(frozen=True)
class Declared:
    """A declaration as found. Exactly one of `site` and `error` is there.

    `root` is the project's directory; `inventory` what pyinfra takes from the inventory file, empty
    where the declaration is faulty and where it is a directory; `inventories` holds the two JSON
    files, `stacks` the stacks.
    """

    root: Path
    inventory: Inventory
    inventories: Path
    stacks: Path
    site: Site | None
    error: ConfigError | None

    @property
    def name(self) -> str:
        """The inventory relative to the project's directory."""
        return self.inventory.label

    @property
    def data(self) -> Mapping[str, Any]:
        """That of the inventory's first host."""
        return self.inventory.data

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Errors and warnings of the declaration itself."""
        if self.error is not None:
            return (*self.error.findings, *self.error.warnings)
        return self.site.warnings if self.site else ()

    def sound(self) -> Site:
        """The site.

        Raises:
            CommandError: the declaration is faulty; the text holds all errors.
        """
        if self.site is None:
            raise CommandError(
                f"{self.error}\n`phoenix validate` shows the same errors with line numbers"
            )
        return self.site

    def file(self, label: str) -> Path:
        """The file that a finding or a source means by its label."""
        if label.startswith("stacks/"):
            return self.stacks / label.removeprefix("stacks/")
        if "/" in label and not (self.inventories / label).is_file():
            return self.root / label
        return self.inventories / label


def read(inventory: Path) -> Declared:
    """The declaration of an inventory file, or of a directory that holds the two JSON files.

    For a directory, stacks are read from `stacks` in it or beside it, and settings from group_data
    beside it. The environment is PHOENIX_ENVIRONMENT, else the declared one.

    Raises:
        CommandError: there is no such inventory, or it cannot be executed.
    """
    if inventory.is_dir():
        return _directory(inventory.resolve())
    path = project.find(inventory)
    root = path.parent.parent
    name = str(path.relative_to(root))
    try:
        loaded = project.load(inventory)
    except CommandError as error:
        if not isinstance(error.__cause__, FaultyError):
            raise
        faulty = error.__cause__
        return Declared(
            root, Inventory(name), faulty.inventories, faulty.stacks, site=None, error=faulty.error
        )
    inventories, stacks = Path(loaded.data["site_inventories"]), Path(loaded.data["site_stacks"])
    return Declared(root, loaded.given, inventories, stacks, site=loaded.site, error=None)


def _directory(folder: Path) -> Declared:
    stacks = stacks_of(folder)
    site, error = None, None
    try:
        site = load_site(folder, stacks, environment=os.environ.get("PHOENIX_ENVIRONMENT"))
    except ConfigError as faulty:
        error = faulty
    return Declared(folder.parent, Inventory(folder.name), folder, stacks, site, error)
