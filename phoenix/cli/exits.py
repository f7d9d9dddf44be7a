"""Exit codes, the same for every verb, and errors that end a verb with one of them."""

from __future__ import annotations

OK = 0
"""All is well; for `plan`: nothing to do."""
ERROR = 1
"""Something failed or is broken, or the command cannot be carried out."""
CHANGES = 2
"""`plan`: there is something to do. `status`: drift alone. `outdated`: a newer release is known.
`validate --strict`: warnings alone."""
USAGE = 64
"""The command line itself is wrong (EX_USAGE of sysexits.h)."""
INTERRUPTED = 130
"""Ended by Ctrl-C (128 + SIGINT)."""


class CommandError(Exception):
    """A verb cannot go on; the text says what is wrong and how to fix it."""

    code = ERROR


class StoppedError(CommandError):
    """Ctrl-C ended a verb; the text says what was done until then."""

    code = INTERRUPTED
