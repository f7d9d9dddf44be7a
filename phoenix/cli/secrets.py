"""`phoenix secrets`: which there are, where they come from, and new ones everywhere at once."""

from __future__ import annotations

from typing import Annotated

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table

from phoenix.cli import output, project
from phoenix.cli.converge import converge, finish
from phoenix.cli.targets import Work
from phoenix.secrets import catalog as secret_names
from phoenix.secrets.store import Origin

app = typer.Typer(
    no_args_is_help=True, help="Secrets: their names and origins, never their values; new ones."
)
_ORIGINS = {"store": "generated, kept", "absent": "not there yet"}


class Listed(BaseModel):
    """One secret: never its value. `changing`: a rotation was begun and not ended."""

    name: str
    what: str
    origin: Origin
    changing: bool


class Listing(BaseModel):
    """All secrets of a site, by name."""

    site: str
    store: str
    secrets: list[Listed]
    made: list[str] = []


def _listing(site: project.Project, made: tuple[str, ...] = ()) -> Listing:
    found = secret_names.listing(site.site, site.secrets)
    return Listing(
        site=site.name,
        store=str(site.secrets.path),
        secrets=[
            Listed(name=one.use.name, what=one.use.what, origin=one.origin, changing=one.changing)
            for one in found
        ],
        made=list(made),
    )


@app.command("list")
def list_(
    inventory: output.InventoryOption = output.DEFAULT_INVENTORY,
    as_json: output.JsonOption = False,
) -> None:
    """Show the name of every secret, what it is for, and where it comes from; no value.

    Examples:
      phoenix secrets list
    """
    listing = _listing(project.load(inventory))
    output.emit(as_json, listing, lambda console: _tell(console, listing))


@app.command()
def init(
    inventory: output.InventoryOption = output.DEFAULT_INVENTORY,
    as_json: output.JsonOption = False,
) -> None:
    """Make every secret that Phoenix generates and nobody has given; they are kept mode 0600.

    Examples:
      phoenix secrets init
    """
    site = project.load(inventory)
    made = secret_names.initialise(site.site, site.secrets)
    listing = _listing(site, made)

    def say(console: Console) -> None:
        _tell(console, listing)
        console.print(f"made: {', '.join(made) or 'none, all were there'}")

    output.emit(as_json, listing, say)


@app.command()
def rotate(
    name: Annotated[list[str], typer.Argument(help="Secrets; see `phoenix secrets list`.")],
    inventory: output.InventoryOption = output.DEFAULT_INVENTORY,
    as_json: output.JsonOption = False,
) -> None:
    """Change secrets everywhere at once; the new ones are proven before the old are forgotten.

    The new value is generated, or taken from the secret NAME_new where that is given. A run that
    died is finished by the next.

    Examples:
      phoenix secrets rotate portainer_admin_password
      phoenix secrets rotate portainer_agent_secret traefik_dashboard_password

    Exit code: 0 changed and proven, 1 not: the old ones are in force, or the next run finishes.
    """
    site = project.load(inventory)
    secret_names.rotatable(name, site.site, site.secrets)  # before any host is touched
    work = Work(("deploys/secrets_rotate.py",), (), {"secrets_rotate": ",".join(name)})
    summary = converge(site, [work], f"secrets rotate {' '.join(name)}", quiet=as_json, notes=True)
    finish(summary, as_json)


def _tell(console: Console, listing: Listing) -> None:
    table = Table("secret", "from", "what for", box=None, padding=(0, 2, 0, 0))
    for one in listing.secrets:
        origin = _ORIGINS.get(one.origin, one.origin)
        table.add_row(one.name, f"{origin}{', being changed' * one.changing}", one.what)
    console.print(table)
    console.print(f"kept in {listing.store}", markup=False)
