"""Help as typer shows it: prose flows to the terminal's width, examples stay as they are."""

from __future__ import annotations

import inspect

import typer


def reflowed(docstring: str) -> str:
    """A docstring whose paragraphs of prose are one line each.

    A paragraph with an indented line, as examples have, is kept line by line.
    """
    paragraphs = inspect.cleandoc(docstring).split("\n\n")
    return "\n\n".join(
        paragraph if "\n " in paragraph else " ".join(paragraph.split("\n"))
        for paragraph in paragraphs
    )


def tidy(app: typer.Typer) -> None:
    """Give every verb of `app`, and of the groups in it, its docstring as reflowed help.

    So for a group that is a verb by itself.
    """
    for command in app.registered_commands:
        if command.help is None and command.callback is not None:
            command.help = reflowed(command.callback.__doc__ or "")
    own = app.registered_callback
    if own is not None and own.callback is not None and own.invoke_without_command:
        own.help = reflowed(own.callback.__doc__ or "")
    for group in app.registered_groups:
        if group.typer_instance is not None:
            tidy(group.typer_instance)
