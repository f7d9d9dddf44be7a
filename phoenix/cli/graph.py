"""`phoenix graph`: the topology as Mermaid, SVG or a page."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from phoenix.cli import options
from phoenix.cli.exits import CommandError


class Format(StrEnum):
    """What the picture is written as."""

    MERMAID = "mermaid"
    SVG = "svg"
    HTML = "html"


FormatOption = Annotated[Format, typer.Option("--format", "-f", help="What to write.")]
OutputOption = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="The file to write; standard output without it."),
]


def graph(
    format: FormatOption = Format.MERMAID,  # noqa: A002 - the option's name
    target: OutputOption = None,
    inventory: options.InventoryOption = options.DEFAULT_INVENTORY,
    as_json: options.JsonOption = False,
) -> None:
    """Draw the topology: clients, gateway, proxy, guests, services, stacks, DNS and CA.

    The picture and the page load nothing from elsewhere, and have no script.

    Examples:
      phoenix graph                         Mermaid, for a README or a wiki
      phoenix graph -f svg -o picture.svg   a picture, light and dark
      phoenix graph -f html -o page.html    the picture with tables below it
      phoenix graph --json                  boxes and links, for a script
    """
    from phoenix.cli import offline, output
    from phoenix.graph import html, mermaid, svg, topology

    picture = topology.topology(offline.read(inventory).sound())
    writers = {Format.MERMAID: mermaid.mermaid, Format.SVG: svg.svg, Format.HTML: html.html}
    text = picture.model_dump_json(indent=2) + "\n" if as_json else writers[format](picture)
    if target is None:
        sys.stdout.write(text)
        return
    try:
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"cannot write {target}: {error.strerror}") from None
    output.notes().print(f"written: {target}", markup=False)
