"""Variables in compose files and `.env` files, filled in as Compose does.

Source: the Compose specification, "Interpolation", and compose-go's package `template`, which
decides what the specification leaves open: where an expression ends, and that a word (default,
replacement or message) is filled in when it is used.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

MAX_DEPTH = 50
"""Expressions within each other's words; no file that a person writes comes near it."""

_NAME = r"[A-Za-z_\u017f\u212a][A-Za-z0-9_\u017f\u212a]*"
"""The last two letters fold to `s` and `k`, and compose-go asks without case."""
_TOKEN = re.compile(
    r"\$(?:(?P<escaped>\$)"
    rf"|(?P<bare>{_NAME})"
    rf"|\{{(?:(?P<plain>{_NAME})\}}|(?P<name>{_NAME})(?P<operator>:?[-?+]))"
    r"|(?P<invalid>\{))"
)
_BRACE = re.compile(r"\{.?|\}", re.DOTALL)
_NAMED = re.compile(rf"\$(?:\$|\{{?({_NAME}))")
"""`$$`, or an expression as far as its name."""


class InterpolationError(ValueError):
    """Text that Compose refuses to fill in."""


class InvalidTemplateError(InterpolationError):
    """A `${` that begins no expression. A literal `$` is written `$$`."""


class RequiredVariableError(InterpolationError):
    """A variable without the value that `${NAME:?message}` or `${NAME?message}` demands.

    Attributes:
        name: the variable.
        reason: the expression's message; may be empty.
    """

    def __init__(self, name: str, reason: str) -> None:
        """Keep both, for who reports it."""
        self.name, self.reason = name, reason
        super().__init__(f"required variable {name} is missing a value: {reason}".rstrip(": "))


class Interpolated(NamedTuple):
    """Text with all variables filled in.

    Attributes:
        text: the result; a variable without value is blank in it, as Compose has it.
        unset: the names that are blank because nothing sets them, each once.
    """

    text: str
    unset: tuple[str, ...]


def names(text: str) -> tuple[str, ...]:
    """The variables that a text names, those of words that are not used as well.

    Args:
        text: one scalar, as written.
    """
    return tuple(name for name in _NAMED.findall(text) if name)


def interpolate(text: str, values: Mapping[str, str]) -> Interpolated:
    """Fill in `$NAME`, `${NAME}`, `${NAME:-word}` and their kin; `$$` gives `$`.

    Args:
        text: one scalar of a compose file, or one value of a `.env` file.
        values: the variables that are set; an empty value is set, but `:-`, `:?` and `:+` treat
            it as if it were not.

    Raises:
        InvalidTemplateError: `${` without a name, an operator or an end.
        RequiredVariableError: `?` or `:?` without a value.
    """
    unset: dict[str, None] = {}
    return Interpolated(_fill(text, values, unset, 0), tuple(unset))


def _fill(text: str, values: Mapping[str, str], unset: dict[str, None], depth: int) -> str:
    if depth > MAX_DEPTH:
        raise InvalidTemplateError(f"more than {MAX_DEPTH} expressions within each other")
    parts: list[str] = []
    at = 0
    line_end = last_brace = -1
    while match := _TOKEN.search(text, at):
        parts.append(text[at : match.start()])
        at = match.end()
        if match["escaped"]:
            parts.append("$")
        elif name := match["bare"] or match["plain"]:
            if name not in values:
                unset[name] = None
            parts.append(values.get(name, ""))
        else:
            if at > line_end:  # an expression ends on its line
                line_end = text.find("\n", at)
                line_end = len(text) if line_end < 0 else line_end
                last_brace = text.rfind("}", at, line_end)
            if match["invalid"] or last_brace < at:
                raise InvalidTemplateError(f"invalid expression {text[match.start() :][:40]!r}")
            end = _closing_brace(text, at, last_brace)
            word, operator = text[at:end], match["operator"]
            at = end + 1
            chosen = _choose(match["name"], operator, word, values, unset, depth)
            parts.append(chosen)
    parts.append(text[at:])
    return "".join(parts)


def _choose(
    name: str,
    operator: str,
    word: str,
    values: Mapping[str, str],
    unset: dict[str, None],
    depth: int,
) -> str:
    """What an expression with an operator stands for."""
    value = values.get(name, "")
    present = name in values and (bool(value) or not operator.startswith(":"))
    kind = operator[-1]
    if kind == "+":
        return _fill(word, values, unset, depth + 1) if present else ""
    if present:
        return value
    filled = _fill(word, values, unset, depth + 1)
    if kind == "?":
        raise RequiredVariableError(name, filled)
    return filled


def _closing_brace(text: str, start: int, last: int) -> int:
    """Where the expression whose word begins at `start` ends: its own brace, else the last one.

    Braces are counted as compose-go counts them: what follows an opening one is passed over.
    """
    depth = 1
    for match in _BRACE.finditer(text, start, last + 1):
        depth += 1 if match[0].startswith("{") else -1
        if depth == 0:
            return match.start()
    return last
