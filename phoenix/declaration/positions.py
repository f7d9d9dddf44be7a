"""On which line of a file something is declared: JSON paths to line numbers.

Paths are those of `phoenix.declaration.json_errors.join`, as findings have them. A file that does
not parse has no positions; who reads it for its content has already said why.
"""

from __future__ import annotations

import ast
import json
import re
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path

import yaml

from phoenix.compose import document
from phoenix.declaration.json_errors import join, read_text
from phoenix.site.findings import Report

_SPACE = re.compile(r"[ \t\n\r]*")  # RFC 8259, section 2
_DECODER = json.JSONDecoder()


def json_offsets(text: str) -> dict[str, int]:
    """Path to offset of every value's key, or of the value where it has none; "" is the whole.

    Of a key given twice the last one counts, as for `json.loads`.

    Raises:
        ValueError: the text is not JSON.
    """
    offsets: dict[str, int] = {}
    end = _value(text, _space(text, 0), "", offsets)
    if _space(text, end) != len(text):
        raise json.JSONDecodeError("Extra data", text, end)
    return offsets


def json_text(text: str, path: str) -> str:
    """What stands at `path`, key and value, on one line.

    Raises:
        ValueError: the text is not JSON.
        KeyError: nothing is at `path`.
    """
    start = json_offsets(text)[path]
    value, end = _DECODER.raw_decode(text, start)
    colon = _space(text, end)
    if isinstance(value, str) and text[colon : colon + 1] == ":":
        _, end = _DECODER.raw_decode(text, _space(text, colon + 1))
    return " ".join(line.strip() for line in text[start:end].splitlines())


def _value(text: str, at: int, path: str, offsets: dict[str, int]) -> int:
    """Note the value at `at` and all within it; gives the offset behind it."""
    offsets.setdefault(path, at)
    opening = text[at : at + 1]
    if opening not in ("{", "["):
        return _DECODER.raw_decode(text, at)[1]
    closing = "}" if opening == "{" else "]"
    at = _space(text, at + 1)
    if text[at : at + 1] == closing:
        return at + 1
    number = 0
    while True:
        start = at
        if opening == "{":
            _expect(text, at, '"')
            key, at = _DECODER.raw_decode(text, at)
            at = _space(text, at)
            _expect(text, at, ":")
            inner: str | int = key
            at = _space(text, at + 1)
        else:
            inner = number
        inner_path = join(path, inner)
        offsets[inner_path] = start
        at = _space(text, _value(text, at, inner_path, offsets))
        if text[at : at + 1] == closing:
            return at + 1
        _expect(text, at, ",")
        at, number = _space(text, at + 1), number + 1


def _space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _expect(text: str, at: int, character: str) -> None:
    if text[at : at + 1] != character:
        raise json.JSONDecodeError(f"Expecting {character!r}", text, at)


def _json_lines(text: str) -> dict[str, int]:
    breaks = [match.start() for match in re.finditer("\n", text)]
    return {path: bisect_left(breaks, at) + 1 for path, at in json_offsets(text).items()}


def _yaml_lines(text: str) -> dict[str, int]:
    return dict(_nodes(document.nodes(text), "", set()))


def _nodes(node: yaml.Node | None, path: str, visited: set[int]) -> Iterator[tuple[str, int]]:
    """Path and line of all within `node`; what an alias stands for is visited once."""
    if node is None or id(node) in visited:
        return
    visited.add(id(node))
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = join(path, str(key.value))
            yield inner, key.start_mark.line + 1
            yield from _nodes(value, inner, visited)
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            inner = join(path, number)
            yield inner, value.start_mark.line + 1
            yield from _nodes(value, inner, visited)


def _python_lines(text: str) -> dict[str, int]:
    """Names that a module assigns at its top, as settings files do."""
    numbers: dict[str, int] = {}
    for statement in ast.parse(text).body:
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        if isinstance(statement, ast.AnnAssign):
            targets = [statement.target]
        numbers |= {
            target.id: statement.lineno for target in targets if isinstance(target, ast.Name)
        }
    return numbers


_READERS = {
    ".json": _json_lines,
    ".yml": _yaml_lines,
    ".yaml": _yaml_lines,
    ".py": _python_lines,
}


def lines(file: Path) -> dict[str, int]:
    """Path to line number, from 1, of what a JSON, YAML or Python file holds; empty if unread."""
    reader = _READERS.get(file.suffix)
    try:
        text = read_text(file, "", "", Report()) if reader else None
        return reader(text) if reader and text is not None else {}
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):
        return {}


def line_of(numbers: dict[str, int], path: str) -> int | None:
    """The line of `path`, or of the innermost thing around it that is there; None: of none."""
    while path:
        if path in numbers:
            return numbers[path]
        cut = max(path.rfind("."), path.rfind("["))
        path = path[:cut] if cut > 0 else ""
    return None
