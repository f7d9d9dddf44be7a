"""A command that a compose file writes as one text, in the words that Compose makes of it.

Compose starts no shell: its reader of words (go-shellwords, which compose-go uses in
types/command.go) stops at the first `;`, `&`, `|`, `<` or `>` outside of quotes.
"""

from __future__ import annotations

from typing import NamedTuple

_STOPS = ";&|<>"


class Words(NamedTuple):
    """What Compose sees in a command.

    Attributes:
        left_out: what it does not read, from the first sign of a shell on; empty: nothing.
        fault: why Compose refuses it; empty: it does not.
    """

    left_out: str
    fault: str


def read(text: str) -> Words:
    """Where Compose stops reading a command, and what is open then.

    Args:
        text: the command, variables filled in.
    """
    held = ""  # the quote that is open: ' " ` or ( of $(
    escaped = False
    for at, char in enumerate(text):
        if escaped:
            escaped = False
        elif char == "\\" and held != "'":
            escaped = True
        elif held:
            held = "" if char == (")" if held == "(" else held) else held
        elif char in "'\"`" or (char == "(" and text[at - 1 : at] == "$"):
            held = char
        elif char in "()":
            return Words("", f"has a {char} outside of quotes")
        elif char in _STOPS:
            return Words(text[at:], "")
    if escaped:
        return Words("", "ends with a backslash")
    return Words("", f"opens {'$(' if held == '(' else held} and does not close it" if held else "")
