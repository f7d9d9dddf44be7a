"""Compose's `.env` files: what a line gives, and the line that gives a value.

Source: the Compose documentation, "Syntax for environment files", and compose-go's package
`dotenv`, which Compose uses for `--env-file` and `env_file`.
"""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Mapping
from types import MappingProxyType

from phoenix.compose.interpolation import InterpolationError, interpolate

_BLANK = "\t\v\f\r \x85\xa0"  # without the line break
_SPACE = (
    _BLANK + "\n\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
)
"""Go's `unicode.IsSpace`; Python's `str.isspace` has four more."""
_NAME = re.compile(r"[^=:\n]*")
_EXPORT = re.compile(r"export[\t\n\f\r ]")
_ESCAPE = re.compile(r'\\(?:([abcfnrtv$"\\])|0(\d{0,3}))')
_LETTERS = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
    "\\": "\\", '"': '"', "$": "$$",
}  # fmt: skip
_SINGLE = re.compile(r"((?:[^'\\]|\\.)*+)'", re.DOTALL)
_DOUBLE = re.compile(r'((?:[^"\\]|\\.)*+)"', re.DOTALL)
_NOTHING: Mapping[str, str] = MappingProxyType({})


class EnvFileError(ValueError):
    """A `.env` file that Compose refuses; the text names the line."""


def parse(text: str, outer: Mapping[str, str] = _NOTHING) -> dict[str, str]:
    """Read a `.env` file.

    Unquoted and double-quoted values are interpolated, single-quoted ones are literal; a quoted
    value may span lines; ` #` begins a comment in an unquoted one; `export` before a name is
    passed over; a name alone on its line is taken from `outer`.

    Args:
        text: the file's content.
        outer: variables that are set already; they come before those of the file.

    Raises:
        EnvFileError: a name with other characters, a quote without its end, or a value that
            cannot be interpolated.
    """
    values: dict[str, str] = {}
    scope = ChainMap(dict(outer), values)
    at = 1 if text.startswith("\ufeff") else 0
    while (at := _statement(text, at)) < len(text):
        start = at
        if _EXPORT.match(text, at):
            at = _past_blanks(text, at + len("export"))
            if at == len(text):
                raise _refused(text, start, "export has no name behind it")
        match = _NAME.match(text, at)
        written = match[0] if match else ""
        if not all(c.isalpha() or c.isnumeric() or c in "_.-[]" or c in _BLANK for c in written):
            raise _refused(text, start, f"{written!r} is not a variable name")
        if at + len(written) == len(text):  # without a line break compose-go takes it for a value
            values[""] = text[at:].rstrip(_SPACE)
            break
        name = written.rstrip(_SPACE)
        if " " in name:
            raise _refused(text, start, f"{name!r} is not a variable name")
        at += len(written)
        if text[at] == "\n":
            if name in outer:
                values[name] = outer[name]
            continue
        at = _past_blanks(text, at + 1)
        value, literal, at = _value(text, at)
        try:
            values[name] = value if literal else interpolate(value, scope).text
        except InterpolationError as error:
            raise _refused(text, start, f"{name}: {error}") from None
    return values


def quote(value: str) -> str:
    """What to write after `NAME=` so that Compose reads exactly `value`.

    A value that needs no quotes is given back as it is.

    Args:
        value: any text without NUL, line breaks included.
    """
    try:
        if parse(f"NAME={value}\n") == {"NAME": value}:
            return value
    except EnvFileError:
        pass
    if not re.search(r"['\\\n\r]", value):
        return f"'{value}'"
    escaped = re.sub(r'[\\"$]', r"\\\g<0>", value)
    return '"' + escaped.replace("\n", "\\n").replace("\r", "\\r") + '"'


def _past_blanks(text: str, at: int) -> int:
    while at < len(text) and text[at] in _BLANK:
        at += 1
    return at


def _statement(text: str, at: int) -> int:
    """Where the next statement begins: behind blank lines and comments."""
    while at < len(text):
        if text[at] in _SPACE:
            at += 1
        elif text[at] == "#":
            end = text.find("\n", at)
            at = len(text) if end < 0 else end
        else:
            break
    return at


def _refused(text: str, at: int, message: str) -> EnvFileError:
    return EnvFileError(f"line {text.count(chr(10), 0, at) + 1}: {message}")


def _value(text: str, at: int) -> tuple[str, bool, int]:
    """The value at `at`, whether it is literal, and where it ends."""
    mark = text[at : at + 1]
    if mark not in ("'", '"'):
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        return text[at:end].partition(" #")[0].rstrip(_SPACE), False, end
    pattern = _SINGLE if mark == "'" else _DOUBLE
    match = pattern.match(text, at + 1)
    if match is None:
        raise _refused(text, at, "a quoted value has no end")
    if mark == "'":
        return _unquoted(match[1], mark), True, match.end()
    return _ESCAPE.sub(_escaped, _unquoted(match[1], mark)), False, match.end()


def _unquoted(text: str, mark: str) -> str:
    r"""Take the backslash off an escaped quote; `\\\\` is a pair and stays, as all others."""
    return re.sub(r"\\(.)", lambda m: mark if m[1] == mark else m[0], text, flags=re.DOTALL)


def _escaped(match: re.Match[str]) -> str:
    letter, octal = match[1], match[2]
    if letter:
        return _LETTERS.get(letter, match[0])
    if len(octal) == 3 and all(c in "01234567" for c in octal) and int(octal, 8) < 256:
        return chr(int(octal, 8))
    return f"\\{octal}"  # compose-go leaves the 0 away before it tries
