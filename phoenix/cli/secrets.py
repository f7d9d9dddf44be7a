"""`phoenix secrets`: which there are, where they come from, and new ones everywhere at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from phoenix.cli import complete, options

if TYPE_CHECKING:
    from phoenix.cli.converge import Summary

app = typer.Typer(
    no_args_is_help=True,
    help="Secrets: list them (never their values), share them with other operators, rotate them.",
)


@app.command("list")
def list_(
    inventory: options.InventoryOption = options.DEFAULT_INVENTORY,
    as_json: options.JsonOption = False,
) -> None:
    """List every secret: its name, purpose and origin, never its value.

    Examples:
      phoenix secrets list

    Exit code: 0 shown, 1 a source of secrets cannot be read.
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
    """Keep the site's secrets in a SOPS file that a team shares through git.

    Makes what is missing: an age key of yours (~/.config/sops/age/keys.txt), .sops.yaml, and the
    encrypted file with the secrets that this machine has. Values that nobody has yet are made by
    the first sync. It needs the program sops.

    Examples:
      phoenix secrets init
    """
    from phoenix.cli import output, project
    from phoenix.cli.reports import secret_files as reports

    report = reports.start(project.load(inventory))
    output.emit(as_json, report, lambda console: reports.print_started(console, report))


@app.command()
def export(
    to: Annotated[list[str], typer.Option("--to", help="Public age key of who may read it.")],
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("phoenix-secrets.age"),
    inventory: options.InventoryOption = options.DEFAULT_INVENTORY,
    as_json: options.JsonOption = False,
) -> None:
    """Export all secrets of this machine into an encrypted file for another operator.

    It is encrypted by age to the keys given. The other operator's key is shown by `phoenix secrets
    init` or `age-keygen -y`.

    Examples:
      phoenix secrets export --to age1...
    """
    from phoenix.cli import output, project
    from phoenix.cli.reports import secret_files as reports

    report = reports.export(project.load(inventory), to, out)
    output.emit(as_json, report, lambda console: reports.print_handed(console, report))


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="A file of `phoenix secrets export`.")],
    identity: Annotated[
        Path | None, typer.Option(help="Your age key. Default: where SOPS looks for it.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Also overwrite values that differ here.")
    ] = False,
    inventory: options.InventoryOption = options.DEFAULT_INVENTORY,
    as_json: options.JsonOption = False,
) -> None:
    """Import the secrets that another operator exported for you.

    They are kept in the site's SOPS file where there is one, else in this machine's store.

    Examples:
      phoenix secrets import phoenix-secrets.age
    """
    from phoenix.cli import output, project
    from phoenix.cli.reports import secret_files as reports

    report = reports.import_(project.load(inventory), file, identity, replace=replace)
    output.emit(as_json, report, lambda console: reports.print_handed(console, report))


@app.command()
def rotate(
    name: Annotated[
        list[str],
        typer.Argument(
            help="Secrets; see `phoenix secrets list`.", autocompletion=complete.secrets
        ),
    ],
    lost: Annotated[
        bool, typer.Option("--lost", help="Also generate secrets that nobody has any more.")
    ] = False,
    inventory: options.InventoryOption = options.DEFAULT_INVENTORY,
    as_json: options.JsonOption = False,
) -> None:
    """Change secrets everywhere at once.

    The new value is generated, or taken from the secret NAME_new where that is given. Portainer's
    password, the agents' secret and the gateways' certificate must work before the old value is
    forgotten. The next run finishes an interrupted one. A secret that this machine does not have is
    refused.

    Examples:
      phoenix secrets rotate portainer_admin_password
      phoenix secrets rotate portainer_agent_secret traefik_dashboard_password

    Exit code: 0 changed, 1 not everywhere: the old ones are in force, or the next run finishes.
    """
    from phoenix.cli import project
    from phoenix.cli.converge import converge, finish
    from phoenix.cli.targets import Work
    from phoenix.secrets import catalog

    site = project.load(inventory)
    # before any host is touched
    catalog.rotatable(name, site.site, site.secrets, lost=lost, registries=site.settings.registries)
    data: dict[str, object] = {"secrets_rotate": ",".join(name)}
    data |= {"secrets_lost": "true"} if lost else {}
    work = Work(("deploys/secrets_rotate.py",), (), data)
    summary = converge(site, [work], f"secrets rotate {' '.join(name)}", quiet=as_json, notes=True)
    finish(
        summary.model_copy(update={"notes": [*summary.notes, *not_reached(summary, name)]}), as_json
    )


def not_reached(summary: Summary, names: Sequence[str]) -> list[str]:
    """Which hosts were not reached, and so have the former values of secrets, a line each."""
    return [
        f"{host.host} was not reached: what it had of {', '.join(names)} is as before. `phoenix "
        "sync` gives it the new value when it answers"
        for host in summary.hosts
        if host.outcome == "failed" and not host.steps
    ]
