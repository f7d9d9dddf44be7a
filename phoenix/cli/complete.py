"""Shell completion of names: from the site where there is one, and silent where there is none."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from phoenix.cli import cached_names
from phoenix.cli.options import DEFAULT_INVENTORY, SITE
from phoenix.locations import site_inventory

if TYPE_CHECKING:
    from phoenix.derived.find import Kind
    from phoenix.site.model import Site


def names(context: typer.Context, incomplete: str) -> list[str]:
    """Every name of the site that begins so."""
    return _offered(context, incomplete)


def _offered(context: typer.Context, incomplete: str, kind: Kind | None = None) -> list[str]:
    """Names of this kind (None: of all), as kept where nothing of the site has changed since."""
    inventory = _inventory(context)

    def load() -> cached_names.Names:
        from phoenix.cli import offline
        from phoenix.derived.find import by_kind

        return by_kind(offline.read(inventory).sound())

    def offered() -> list[str]:
        return cached_names.matching(cached_names.names(inventory, load), incomplete, kind or "")

    return _silently(offered)


def _of_site(context: typer.Context, choose: Callable[[Site], list[str]]) -> list[str]:
    """What `choose` names of the site, silently: a shell reads the output."""
    from phoenix.cli import offline

    inventory = _inventory(context)
    return _silently(lambda: choose(offline.read(inventory).sound()))


def _silently(offered: Callable[[], list[str]]) -> list[str]:
    """What is offered; empty after any error."""
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        try:
            return offered()
        except (Exception, SystemExit):  # noqa: BLE001 - whatever an inventory's Python raises
            return []


def _inventory(context: typer.Context) -> Path:
    if folder := context.meta.get(SITE):
        return site_inventory(folder)
    return Path(context.params.get("inventory") or DEFAULT_INVENTORY)


def left(context: typer.Context, incomplete: str) -> list[str]:
    """What the last look found that is declared nowhere, and the kinds of such things."""
    from phoenix.cli import project
    from phoenix.cli.undeclared import remembered
    from phoenix.health.undeclared import KINDS

    inventory = _inventory(context)
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        try:
            items = remembered(project.load(inventory))
        except (Exception, SystemExit):  # noqa: BLE001 - whatever an inventory's Python raises
            items = []
    candidates = [*items, *(f"{kind}:" for kind in KINDS)]
    return [word for word in candidates if word.lower().startswith(incomplete.lower())]


def targets(context: typer.Context, incomplete: str) -> list[str]:
    """The same names, and `all`, for verbs that may be given the whole platform."""
    every = [word for word in ("all",) if word.startswith(incomplete.lower())]
    return [*every, *names(context, incomplete)]


def guests(context: typer.Context, incomplete: str) -> list[str]:
    """Names and ids of guests, for verbs that work with those alone."""
    return _offered(context, incomplete, "guest")


def stacks(context: typer.Context, incomplete: str) -> list[str]:
    """Names of stacks."""
    return _offered(context, incomplete, "stack")


def secrets(context: typer.Context, incomplete: str) -> list[str]:
    """Names of the site's secrets that begin so."""
    from phoenix.secrets import catalog

    def chosen(site: Site) -> list[str]:
        return [use.name for use in catalog.uses(site) if use.name.startswith(incomplete)]

    return _of_site(context, chosen)
