"""Commands for pyinfra. No other module of facts/, operations/ and deploys/ builds one."""

from __future__ import annotations

from pyinfra.api import StringCommand

from phoenix import shell


def command(*arguments: object, stdin: str | None = None) -> StringCommand:
    """One program and its arguments, each quoted.

    Args:
        stdin: what it reads; for secrets, and for what is too long for an argument.
    """
    return _command(shell.join(*arguments), stdin)


def script(text: shell.Script, *arguments: object, stdin: str | None = None) -> StringCommand:
    """A script with its words, each quoted.

    Args:
        stdin: as for `command`.
    """
    return _command(text.line(*arguments), stdin)


def _command(line: str, stdin: str | None) -> StringCommand:
    return StringCommand(line) if stdin is None else StringCommand(line, _stdin=stdin)
