"""The command `phoenix` and its verbs."""

from __future__ import annotations

import sys
from importlib import metadata
from typing import Annotated

import typer

from phoenix.cli import (
    backup,
    certs,
    doctor,
    exits,
    explain,
    graph,
    helptext,
    lab,
    output,
    plan,
    secrets,
    status,
    sync,
    validate,
)
from phoenix.cli.exits import CommandError
from phoenix.site.findings import ConfigError, NameLookupError, SettingError

app = typer.Typer(
    name="phoenix",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="`phoenix VERB --help` has examples. Shell completion: `phoenix --install-completion`.",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"phoenix {metadata.version('phoenix')}")
        raise typer.Exit


@app.callback()
def phoenix(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """A Proxmox host as a private, encrypted application platform: what is, and what will be."""


app.command()(validate.validate)
app.command()(plan.plan)
app.command()(sync.sync)
app.command()(status.status)
app.command()(doctor.doctor)
app.command()(explain.explain)
app.command()(graph.graph)
app.command()(backup.backup)
app.command()(backup.restore)
app.add_typer(certs.app, name="certs")
app.add_typer(secrets.app, name="secrets")
app.add_typer(lab.app, name="lab")
helptext.tidy(app)


def main() -> None:
    """Run the command line; known errors end it with their own words and exit code 1."""
    try:
        app(standalone_mode=True, prog_name="phoenix")
    except (CommandError, ConfigError, NameLookupError, SettingError) as error:
        output.notes().print(f"phoenix: {error}", markup=False)
        sys.exit(exits.ERROR)
    except KeyboardInterrupt:
        output.notes().print("interrupted")
        sys.exit(exits.INTERRUPTED)
