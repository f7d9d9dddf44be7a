"""The command `phoenix` and its verbs."""

from __future__ import annotations

import sys

import typer

from phoenix.cli import doctor, exits, lab, output, plan, status, sync
from phoenix.cli.exits import CommandError
from phoenix.findings import ConfigError, SettingError

app = typer.Typer(
    name="phoenix",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A Proxmox host as a private, encrypted application platform: what is, and what will be.",
)
app.command()(plan.plan)
app.command()(sync.sync)
app.command()(status.status)
app.command()(doctor.doctor)
app.add_typer(lab.app, name="lab")


def main() -> None:
    """Run the command line; known errors end it with their own words and exit code 1."""
    try:
        app(standalone_mode=True)
    except (CommandError, ConfigError, SettingError) as error:
        output.notes().print(f"phoenix: {error}", markup=False)
        sys.exit(exits.ERROR)
    except KeyboardInterrupt:
        output.notes().print("interrupted")
        sys.exit(exits.INTERRUPTED)
