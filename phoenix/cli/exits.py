"""Exit codes, the same for every verb, and errors that end a verb with one of them."""

from __future__ import annotations

OK = 0
"""All is well; for `plan`: nothing to do."""
ERROR = 1
"""Something failed or is broken, or the command cannot be carried out."""
ATTENTION = 2
"""For `plan`: there are changes. For `validate --strict`: warnings. Also: wrong usage (click)."""
INTERRUPTED = 130
"""Ended by Ctrl-C (128 + SIGINT)."""


class CommandError(Exception):
    """A verb cannot go on; the text says what is wrong and how to mend it."""
