"""What is said of an answer that has another form than its command's, whoever reads it."""

from __future__ import annotations

from phoenix.site.findings import visible


def unexpected(answer: object, *, of: str = "the host") -> str:
    """The words for it: what came, cut to a length that a person reads.

    Args:
        answer: the line, or the part of it.
        of: who gave it: a program or a file.
    """
    return f"unexpected answer of {of}: {visible(repr(answer))}"
