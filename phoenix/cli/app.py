"""The command `phoenix`: its verbs are in phoenix.cli.commands, one module each."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import Annotated

import typer

from phoenix.cli import exits
from phoenix.cli.commands import LazyGroup, error_json, wants_json
from phoenix.cli.exits import CommandError
from phoenix.site.findings import ConfigError, NameLookupError, SettingError

app = typer.Typer(
    name="phoenix",
    cls=LazyGroup,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 all is well, 1 broken or failed, 2 something to do (plan), drift "
    "(status), a newer release (outdated) or warnings (validate --strict), 64 wrong usage, "
    "130 interrupted. "
    "`phoenix VERB --help` has examples. Shell completion: `phoenix --install-completion`.",
)


def _version(requested: bool) -> None:
    if requested:
        typer.echo(_release())
        raise typer.Exit


def _release() -> str:
    """The release; in a checkout the revision too, which tells what came after the release."""
    from importlib import metadata

    from phoenix.locations import PROJECT
    from phoenix.runs.revision import revision

    release, checkout = f"phoenix {metadata.version('phoenix')}", revision(PROJECT)
    if checkout.commit is None:
        return release
    changed = ", with changes since" if checkout.dirty else ""
    return f"{release} (revision {checkout.commit[:12]}{changed})"


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


def main() -> None:
    """Run the command line; known errors end it with their own words and exit code 1.

    So do files and folders that cannot be read or written, which the error names.

    With --json the error is on standard output as well, as one JSON object.
    """
    try:
        if os.environ.get("_PHOENIX_COMPLETE") == "complete_bash":
            _complete_in_bash()
        app(standalone_mode=True, prog_name="phoenix")
    except CommandError as error:
        sys.exit(_failed(str(error), error.code))
    except (ConfigError, NameLookupError, SettingError) as error:
        sys.exit(_failed(str(error), exits.ERROR))
    except KeyboardInterrupt:
        sys.exit(_failed("interrupted", exits.INTERRUPTED))
    except OSError as error:
        if error.filename is None or not error.strerror:  # no file that somebody can see to
            raise
        sys.exit(_failed(f"{error.filename}: {error.strerror}", exits.ERROR))


def _complete_in_bash() -> None:
    """Complete a word with a colon; return where there is none, and Typer does it."""
    from phoenix.cli.bash_words import joined

    words = os.environ.get("COMP_WORDS", "").split("\n")  # as Typer's script for bash joins them
    typed = joined(words, int(os.environ.get("COMP_CWORD", "0")))
    if not typed.before:
        return
    os.environ.update(COMP_WORDS="\n".join(typed.words), COMP_CWORD=str(typed.position))
    answer = io.StringIO()
    try:
        with contextlib.redirect_stdout(answer):
            app(standalone_mode=True, prog_name="phoenix")
    finally:
        for line in answer.getvalue().splitlines():
            sys.stdout.write(f"{line.removeprefix(typed.before)}\n")


def _failed(message: str, code: int) -> int:
    if wants_json(sys.argv[1:]):
        sys.stdout.write(error_json(message, code))
    sys.stderr.write(f"phoenix: {message}\n")
    return code
