"""`phoenix explain`: how one name travels, and the line of JSON that declares it."""

from __future__ import annotations

from typing import Annotated

import typer

from phoenix.cli import complete, exits, options

NameArgument = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="A service, URL, guest, component, stack, or any internal DNS name.",
        autocompletion=complete.names,
        show_default=False,
    ),
]


def explain(
    name: NameArgument,
    inventory: options.InventoryOption = options.DEFAULT_INVENTORY,
    as_json: options.JsonOption = False,
) -> None:
    """Explain a name: DNS, gateway, router, backend, certificates, flows, and where it is declared.

    Examples:
      phoenix explain qdrant           a service, from the client to its container
      phoenix explain 1002             a guest: its names, certificates, flows
      phoenix explain https://app.internal.thinkheads.ai/health
      phoenix explain ca --json

    Exit code: 0 the name is explained, 1 nothing has that name (what would happen, and near names).
    """
    from phoenix.cli import offline, output
    from phoenix.cli.reports.explain import Answer, line_of, print_explanation, print_unknown
    from phoenix.explain.explanation import explain as explained
    from phoenix.explain.model import UnknownName

    options.named(name)
    project = offline.read(inventory)
    result = explained(project.sound(), name)
    if isinstance(result, UnknownName):
        answer = Answer(unknown=result)
        output.emit(as_json, answer, lambda console: print_unknown(console, result))
        raise typer.Exit(exits.ERROR)
    answer = Answer(explanation=result, line=line_of(project, result.declared))
    output.emit(as_json, answer, lambda console: print_explanation(console, result, answer.line))
