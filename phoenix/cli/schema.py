"""`phoenix schema`: what may be written in the site's files, for editors and people."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Kind(StrEnum):
    """Which file a schema is of."""

    LXC = "lxc"
    VM = "vm"
    HYPERVISOR = "hypervisor"
    STACK = "stack"
    STACKS = "stacks"
    SETTINGS = "settings"


def schema(
    kind: Annotated[
        Kind | None,
        typer.Argument(
            help="The file: a JSON file of the site, a stack's phoenix.json, or the settings."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write files into this directory instead.")
    ] = None,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="The key reference instead, as Markdown.")
    ] = False,
) -> None:
    """Show the JSON Schema of the site's files, by which editors complete and check them.

    The shipped ones are in inventories/schema, and the JSON files name them by `$schema`.

    Examples:
      phoenix schema lxc                      of phoenix_lxc_configs.json
      phoenix schema --out inventories/schema all, as files
      phoenix schema --markdown > docs/reference.md
    """
    from phoenix.reference import json_schema, markdown

    if as_markdown:
        sys.stdout.write(markdown.page())
        return
    kinds = [kind.value] if kind else list(json_schema.SCHEMAS)
    if out is not None:
        for file in json_schema.write(out, kinds):
            typer.echo(f"wrote {file}")
        return
    if len(kinds) == 1:
        sys.stdout.write(json_schema.text(json_schema.SCHEMAS[kinds[0]]()))
    else:
        sys.stdout.write(json_schema.text({kind: json_schema.SCHEMAS[kind]() for kind in kinds}))
