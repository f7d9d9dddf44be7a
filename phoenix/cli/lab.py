"""`phoenix lab`: the container lab, by its own command `python3 lab`, which needs no dependency."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from phoenix.cli import options
from phoenix.cli.exits import CommandError
from phoenix.locations import PROJECT

app = typer.Typer(
    no_args_is_help=True, help="The container lab: the same site without a Proxmox host."
)


def _run(*arguments: str) -> None:
    choices = (Path.cwd(), PROJECT)
    root = next((folder for folder in choices if (folder / "lab" / "__main__.py").is_file()), None)
    if root is None:
        raise CommandError("there is no lab here: call this in a checkout of the project")
    process = subprocess.run([sys.executable, str(root / "lab"), *arguments], cwd=root, check=False)
    if process.returncode:
        raise typer.Exit(process.returncode)


@app.command()
def up() -> None:
    """Bring the lab up; what runs as it should is kept. Its inventory is inventories/lab.py.

    Examples:
      phoenix lab up && phoenix sync -i inventories/lab.py

    Exit code: 0 every host is up, 1 not.
    """
    _run("up")


@app.command()
def down() -> None:
    """Remove the lab's containers, volumes and network; keys and caches stay.

    Examples:
      phoenix lab down

    Exit code: 0 it is gone, 1 not.
    """
    _run("down")


@app.command()
def status(as_json: options.JsonOption = False) -> None:
    """Show each host of the lab, its address and its state.

    Examples:
      phoenix lab status --json

    Exit code: 0 all of them are up and healthy, 1 not.
    """
    _run("status", *(["--json"] if as_json else []))


@app.command()
def shell(
    host: Annotated[str, typer.Argument(metavar="HOST", help="A host of the lab, or `client`.")],
) -> None:
    """Open a root shell on a host, by SSH as the deploys log in, or on the client.

    Examples:
      phoenix lab shell step-ca

    Exit code: that of the shell.
    """
    _run("shell", host)
