"""`phoenix secrets`: which there are, where they come from, and new ones everywhere at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from phoenix.cli import options

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(
    no_args_is_help=True, help="Secrets: their names and origins, never their values; new ones."
)


@app.command("list")
def list_(
    inventory: options.InventoryOption = options.DEFAULT_INVENTORY,
    as_json: options.JsonOption = False,
) -> None:
    """Show the name of every secret, what it is for, and where it comes from; no value.

    Examples:
      phoenix secrets list
    """
    from phoenix.cli import output, project
    from phoenix.cli.reports import secrets as reports

    listing = reports.listing(project.load(inventory))
    output.emit(as_json, listing, lambda console: reports.print_listing(console, listing))


@app.command()
def init(
    inventory: options.InventoryOption = options.DEFAULT_INVENTORY,
    as_json: options.JsonOption = False,
) -> None:
    """Make every secret that Phoenix generates and nobody has given; they are kept mode 0600.

    Examples:
      phoenix secrets init
    """
    from phoenix.cli import output, project
    from phoenix.cli.reports import secrets as reports
    from phoenix.secrets import catalog

    site = project.load(inventory)
    generated = catalog.initialise(site.site, site.secrets)
    listing = reports.listing(site, generated)

    def print_names(console: Console) -> None:
        reports.print_listing(console, listing)
        console.print(f"generated: {', '.join(generated) or 'none, all were there'}")

    output.emit(as_json, listing, print_names)


@app.command()
def rotate(
    name: Annotated[list[str], typer.Argument(help="Secrets; see `phoenix secrets list`.")],
    inventory: options.InventoryOption = options.DEFAULT_INVENTORY,
    as_json: options.JsonOption = False,
) -> None:
    """Change secrets everywhere at once; the new ones are proven before the old are forgotten.

    The new value is generated, or taken from the secret NAME_new where that is given. A run that
    died is finished by the next.

    Examples:
      phoenix secrets rotate portainer_admin_password
      phoenix secrets rotate portainer_agent_secret traefik_dashboard_password

    Exit code: 0 changed and proven, 1 not: the old ones are in force, or the next run finishes.
    """
    from phoenix.cli import project
    from phoenix.cli.converge import converge, finish
    from phoenix.cli.targets import Work
    from phoenix.secrets import catalog

    site = project.load(inventory)
    catalog.rotatable(name, site.site, site.secrets)  # before any host is touched
    work = Work(("deploys/secrets_rotate.py",), (), {"secrets_rotate": ",".join(name)})
    summary = converge(site, [work], f"secrets rotate {' '.join(name)}", quiet=as_json, notes=True)
    finish(summary, as_json)
