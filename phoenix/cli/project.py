"""The project and the site that an inventory stands for, read without touching any host."""

from __future__ import annotations

import contextlib
import io
import os
import runpy
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from phoenix.cli.exits import CommandError
from phoenix.declaration.load import load_site
from phoenix.runs.logs import state_directory
from phoenix.runs.process import Request
from phoenix.secrets.store import SecretError, SecretStore
from phoenix.site.model import Site

_INSTALLED = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class Project:
    """A project directory, one of its inventories, and the data of the inventory's hosts."""

    root: Path
    inventory: Path
    data: Mapping[str, Any]

    @cached_property
    def site(self) -> Site:
        """The site as the deploys see it."""
        subnet = self.data.get("site_subnet")
        return load_site(
            Path(self.data["site_inventories"]),
            Path(self.data["site_stacks"]),
            environment=self.data["site_environment"],
            subnet=IPv4Network(subnet) if subnet else None,
        )

    @property
    def secrets(self) -> SecretStore:
        """The site's secrets."""
        return SecretStore(Path(self.data["site_secrets"]))

    @property
    def name(self) -> str:
        """The site's name for files: no two sites share it."""
        return f"{self.site.domain}-{self.site.hypervisor.address}"

    @property
    def state(self) -> Path:
        """Where this machine keeps logs and lock of the site's runs."""
        return state_directory(self.name)

    def setting(self, name: str, default: Any = None) -> Any:
        """A setting as pyinfra would find it: the inventory's, its group file's, then all's."""
        if name in self.data:
            return self.data[name]
        for file in (self.inventory.name, "all.py"):
            path = self.root / "group_data" / file
            if path.exists():
                found = runpy.run_path(str(path))
                if name in found:
                    return found[name]
        return default

    def request(self, *deploys: str, **options: Any) -> Request:
        """A call of pyinfra on this inventory; `options` as in `phoenix.runs.process.Request`."""
        relative = self.inventory.relative_to(self.root)
        return Request(self.root, relative, deploys, **options)

    def known_secrets(self) -> list[SecretStr]:
        """Every secret that is known here without asking anybody: to be kept out of logs."""
        try:
            return self.secrets.values()
        except SecretError as error:
            raise CommandError(str(error)) from None


def find(inventory: Path) -> Path:
    """The inventory file: as given, else in the project that this command was installed from.

    Raises:
        CommandError: there is no such file.
    """
    for candidate in (inventory, _INSTALLED / inventory):
        if candidate.is_file():
            return candidate.resolve()
    raise CommandError(
        f"there is no inventory {inventory}: call this in the project's directory, or name the "
        "file with --inventory"
    )


def load(inventory: Path) -> Project:
    """The project of an inventory whose declaration is sound.

    Raises:
        CommandError: the file or the declaration cannot be used; the text holds all findings.
    """
    path = find(inventory)
    root = path.parent.parent
    with _importable(root), contextlib.redirect_stderr(io.StringIO()):  # `validate` tells warnings
        try:
            found = runpy.run_path(str(path))
        except SystemExit as error:
            raise CommandError(str(error)) from error
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            raise CommandError(f"the inventory {path} cannot be executed: {what}") from error
    for value in found.values():
        if isinstance(value, list) and value and isinstance(value[0], tuple):
            return Project(root, path, value[0][1])
    raise CommandError(f"{path} has no hosts: it must define groups as lists of (name, data)")


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
