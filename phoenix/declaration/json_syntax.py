"""Why a text is not JSON, in words, with the place and the fix (RFC 8259)."""

from __future__ import annotations

import json
import re
import sys
from typing import NamedTuple


class SyntaxFault(NamedTuple):
    """What is wrong with a text, where, and what to do. `place` is `line L, column C`."""

    place: str
    message: str
    fix: str


_STRING = r'"(?:[^"\\\n]|\\.)*"'
_WORDS = {"True": "true", "False": "false", "None": "null"}
"""Python's words for what JSON writes otherwise."""


def place_of(text: str, position: int) -> str:
    """The place of a character of a text, as findings name it."""
    line = text.count("\n", 0, position) + 1
    return f"line {line}, column {position - text.rfind(chr(10), 0, position)}"


def of_number(text: str) -> SyntaxFault:
    """The fault of a text with a number that `json.loads` refuses: NaN, or too many digits."""
    most = sys.get_int_max_str_digits() + 1
    pattern = re.compile(rf"{_STRING}|(?P<number>-?Infinity|NaN|-?\d{{{most},}})")
    for match in pattern.finditer(text):
        number = match["number"]
        if number is None:
            continue
        place = place_of(text, match.start())
        if number[-1].isdigit():
            return SyntaxFault(
                place, f"has a number of {len(number)} digits", "write a smaller one"
            )
        return SyntaxFault(place, f"{number} is not a JSON number", "write a number in digits")
    return SyntaxFault("", "has a number that cannot be read", "correct the number")


def of_error(text: str, error: json.JSONDecodeError) -> SyntaxFault:
    """The fault at which `json.loads` stopped, at the place where a person corrects it."""
    if text.startswith("\ufeff"):
        return SyntaxFault(
            place_of(text, 0),
            "begins with a byte order mark, which JSON does not have (RFC 8259, section 8.1)",
            'save it as UTF-8 without one ("without BOM")',
        )
    if not text.strip():
        return SyntaxFault("", "is empty", "write one object: { ... }")
    position, message, fix = _fault(text, error)
    return SyntaxFault(place_of(text, position), f"is not valid JSON: {message}", fix)


def _fault(text: str, error: json.JSONDecodeError) -> tuple[int, str, str]:
    """Position, reason and fix."""
    at, rest = error.pos, text[error.pos :]
    end = len(text[:at].rstrip())  # of what stands before it
    if not rest.strip():
        return end, "it ends too early", "close what is open: a quote, a bracket or a brace"
    if text[:end].endswith(",") and rest[0] in "}]":
        return end - 1, f"a comma before {rest[0]}", "remove the comma"
    for start, reason, fix in _BY_START:
        if rest.startswith(start):
            return at, reason, fix
    for start, reason, fix in _BY_REASON:
        if error.msg.startswith(start):
            return (end if "is missing" in reason else at), reason, fix
    return at, error.msg, "correct the syntax there or just before it"


_NO_COMMENTS = ("JSON has no comments", "remove the comment")
_BY_START = (
    ("//", *_NO_COMMENTS),
    ("/*", *_NO_COMMENTS),
    ("#", *_NO_COMMENTS),
    ("'", "text and keys stand in double quotes", "write \" in place of '"),
    *((python, f"{python} is Python's word", f"write {word}") for python, word in _WORDS.items()),
)
"""Reason and fix, by what stands where `json.loads` stopped."""
_BY_REASON = (
    ("Illegal trailing comma", "a comma before the end of a list or object", "remove the comma"),
    ("Expecting ',' delimiter", "a comma is missing",
     "write a comma here, or close the list or object"),
    ("Expecting ':' delimiter", "a colon is missing after the key", "write : and the value"),
    ("Expecting property name", "a key stands in double quotes", 'write the key as "key"'),
    ("Unterminated string", "a text has no closing quote", 'write " at its end'),
    ("Invalid control character", "a text has a line break, a tab or another control character",
     r"write \n for a line break and \t for a tab, or close the quotes before it"),
    ("Invalid \\", r"a backslash begins an escape that JSON does not have",
     r"write \\ for a backslash"),
    ("Extra data", "something follows the end of the object", "remove it, or the } before it"),
)  # fmt: skip
"""Reason and fix, by the words of `json.JSONDecodeError`."""
