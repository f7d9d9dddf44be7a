"""A value added to a JSON file's text, or cut: all else stays as it was written, to the last blank.

Key order, indentation, line ends and values that stand on one line are a person's own.
"""

from __future__ import annotations

import json
import re
from typing import Any

from phoenix.declaration.json_errors import join
from phoenix.declaration.positions import json_offsets

_DECODER = json.JSONDecoder()
_UNIT = 4


def insert(text: str, path: str, value: Any, key: str | None = None) -> str:
    """The text with `value` as the last member of the object or list at `path`.

    Args:
        text: a JSON file's.
        path: as findings have it: `vms[0].docker_stacks`; "" is the whole.
        value: what is added.
        key: under which, in an object; None in a list.

    Raises:
        ValueError: the text is not JSON, what stands at `path` takes no such member, or the object
            has the key already.
        KeyError: nothing is at `path`.
    """
    start = _value_at(text, path)
    current, end = _DECODER.raw_decode(text, start)
    if not isinstance(current, dict if key is not None else list):
        raise ValueError(f"{path or 'the whole'} is no {'object' if key is not None else 'list'}")
    if key is not None and key in current:
        raise ValueError(f"{join(path, key)} is there already")
    last = len(text[: end - 1].rstrip())  # behind the last member, or the opening bracket
    break_ = "\r\n" if "\r\n" in text else "\n"
    inside = text[start + 1 : end - 1]
    several_lines = "\n" in inside or not current
    if several_lines:
        outer = _indent(text, start)
        first = re.match(r"\s*?\n([ \t]*)\S", inside)
        indent = first[1] if first else outer + _unit(text)
        member = _written(value, key, indent, _unit(text), break_)
        added = f"{break_}{indent}{member}"
        tail = text[last : end - 1] if "\n" in text[last : end - 1] else f"{break_}{outer}"
    else:
        member = _written(value, key, "", None, break_)
        added, tail = f" {member}", text[last : end - 1]
    return f"{text[:last]}{',' if current else ''}{added}{tail}{text[end - 1 :]}"


def add(text: str, path: str, key: str, item: Any, name: str | None = None) -> str:
    """The text with `item` in the list `key` of the object at `path`, which is made if absent.

    Args:
        text: a JSON file's.
        path: of the object.
        key: of the list, or of the object where `name` is given.
        item: what is added.
        name: the item's key in an object; None for a list.

    Raises:
        ValueError, KeyError: see `insert`.
    """
    current, _ = _DECODER.raw_decode(text, _value_at(text, path))
    if isinstance(current, dict) and key not in current:
        return insert(text, path, [item] if name is None else {name: item}, key)
    return insert(text, join(path, key), item, name)


def cut(text: str, path: str) -> str:
    """The text without the member at `path`, and without the comma that belonged to it.

    Args:
        text: a JSON file's.
        path: as findings have it: `vms[0].docker_stacks[1]`.

    Raises:
        KeyError: nothing is at `path`, or that is the whole.
    """
    if not path:
        raise KeyError(path)
    start = json_offsets(text)[path]
    _, end = _DECODER.raw_decode(text, _value_at(text, path))
    behind = len(text) - len(text[end:].lstrip())
    if text[behind] == ",":  # the next member takes its place
        return text[:start] + text[behind + 1 :].lstrip()
    before = text[:start].rstrip()
    if before.endswith(","):
        return before[:-1] + text[end:]
    return before + text[behind:]


def value(text: str, path: str) -> Any:
    """What stands at `path`; KeyError where nothing does."""
    return _DECODER.raw_decode(text, _value_at(text, path))[0]


def _value_at(text: str, path: str) -> int:
    """Offset of the value at `path`, past its key."""
    at = json_offsets(text)[path]
    if text[at] == '"':
        _, end = _DECODER.raw_decode(text, at)
        colon = re.compile(r"\s*:\s*").match(text, end)
        if colon:
            return colon.end()
    return at


def _indent(text: str, at: int) -> str:
    """The blanks before the line that holds an offset."""
    line = text[text.rfind("\n", 0, at) + 1 : at]
    return line[: len(line) - len(line.lstrip(" \t"))]


def _unit(text: str) -> str:
    """One level of the file's indentation: that of its first indented line."""
    first = re.search(r"^([ \t]+)\S", text, re.MULTILINE)
    return first[1] if first else " " * _UNIT


def _written(value: Any, key: str | None, indent: str, unit: str | None, break_: str) -> str:
    dumped = json.dumps(value, indent=unit, ensure_ascii=False)
    lines = f"{break_}{indent}".join(dumped.split("\n")) if unit is not None else dumped
    return lines if key is None else f"{json.dumps(key, ensure_ascii=False)}: {lines}"
