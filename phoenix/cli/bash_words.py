"""Words with a colon, as bash completes them.

Bash takes a colon for the end of a word (bash(1), COMP_WORDBREAKS): of `guest:dr` a completion is
asked with three words, and what it answers stands in the place of the last one alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Joined(NamedTuple):
    """Words as they were typed, which of them is completed, and what of it bash has already."""

    words: tuple[str, ...]
    position: int
    before: str


def joined(words: Sequence[str], index: int) -> Joined:
    """Put together what bash has taken apart at colons.

    Args:
        words: COMP_WORDS.
        index: COMP_CWORD.
    """
    whole: list[str] = []
    position, before = index, ""
    for number, word in enumerate(words):
        follows = number > 1 and (_is_colon(word) or _is_colon(words[number - 1]))
        if number == index:
            before = whole[-1] if follows else ""
            before += word if follows and _is_colon(word) else ""
        if follows:
            whole[-1] += word
        else:
            whole.append(word)
        if number == index:
            position = len(whole) - 1
    return Joined(tuple(whole), position, before)


def _is_colon(word: str) -> bool:
    return bool(word) and not word.strip(":")
