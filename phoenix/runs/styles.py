"""Colours of a terminal in text."""

from __future__ import annotations

import re

_STYLE = re.compile(r"\x1b\[[0-9;]*m")  # ECMA-48, SGR


def without_styles(text: str) -> str:
    """The text without colours and weights, as a log or a match of words needs it."""
    return _STYLE.sub("", text)
