"""Options that most verbs have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer._click.core import Parameter, ParameterSource  # typer brings its own copy of click

from phoenix.locations import site_inventory

DEFAULT_INVENTORY = Path("inventories/phoenix.py")
SITE = "phoenix.site"
"""Where the context keeps the folder of `--site`."""


def _of_site(context: typer.Context, value: Path) -> Path:
    """The inventory that `--site` stands for, where it is given; else the one that `-i` names."""
    folder: Path | None = context.meta.get(SITE)
    if folder is None:
        return value
    sources = {name: context.get_parameter_source(name) for name in ("_site", "inventory")}
    if sources["inventory"] is ParameterSource.COMMANDLINE:
        if sources["_site"] is ParameterSource.COMMANDLINE:
            raise typer.BadParameter("--site and --inventory name the site twice: give one of them")
        return value
    return site_inventory(folder)


def _keep_site(context: typer.Context, value: Path | None) -> None:
    if value is not None:
        context.meta[SITE] = value


def _with_site(
    _site: Annotated[
        Path | None,
        typer.Option(
            "--site",
            metavar="DIR",
            envvar="PHOENIX_SITE",
            expose_value=False,
            is_eager=True,  # before --inventory, whose value it decides
            callback=_keep_site,
            help="The site's folder, as `phoenix init` makes it, in place of --inventory.",
        ),
    ] = None,
) -> None:
    """What carries the option, so that typer makes it."""


def site_option() -> Parameter:
    """The option `--site`, for every verb that works on a site."""
    app = typer.Typer(add_completion=False)
    app.command()(_with_site)
    return typer.main.get_command(app).params[0]


InventoryOption = Annotated[
    Path,
    typer.Option(
        "--inventory",
        "-i",
        envvar="PHOENIX_INVENTORY",
        callback=_of_site,
        help="The site's pyinfra inventory, or a directory with its two JSON files.",
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="One JSON object on standard output instead of words.")
]


def named(name: str) -> None:
    """Refuse a name that is empty, as a script's unset variable is.

    Raises:
        typer.BadParameter: it is.
    """
    if not name.strip():
        raise typer.BadParameter("it is empty", param_hint="NAME")
