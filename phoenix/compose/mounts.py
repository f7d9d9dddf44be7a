"""Entries of a service's `volumes`, of either form, as Compose reads them.

Source: the Compose specification, "volumes", and compose-go's format/volume.go, which decides what
the specification leaves open: `d:/data` names no volume `d` but is one path, as on Windows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from phoenix.compose.interpolation import InterpolationError, interpolate
from phoenix.compose.scalars import flag, text_of


class MountError(ValueError):
    """A short form that Compose refuses."""


class Mount(NamedTuple):
    """One mount.

    Attributes:
        kind: `bind`, `volume`, `tmpfs` and so on; empty where the long form has none.
        source: a path of the host, or a volume's name; empty for an anonymous volume.
        target: the path in the container.
        options: the words behind the target in the short form.
        read_only: whether the container cannot write to it.
    """

    kind: str
    source: str
    target: str
    options: tuple[str, ...] = ()
    read_only: bool = False


def of_text(text: str) -> Mount:
    """The mount that a short form stands for: `SOURCE:TARGET:OPTIONS` or `TARGET`.

    Args:
        text: variables may be filled in or not; a colon within `${...}` separates nothing.

    Raises:
        MountError: a part is empty, or there are more than three.
    """
    if len(text.encode()) <= 2:
        if not text:
            raise MountError("is empty")
        return Mount("volume", "", text)
    parts = _parts(text)
    if not all(parts):
        raise MountError("has an empty part between its colons")
    if len(parts) == 1:
        return Mount("volume", "", text)
    if len(parts) > 3:
        raise MountError("has too many colons")
    source, target = parts[:2]
    options = tuple(parts[2].split(",")) if parts[2:] else ()
    kind = "bind" if source[0] in "./~" or source.startswith("\\\\") or _drive(source) else "volume"
    return Mount(kind, source, target, options, _is_read_only(options))


def _parts(text: str) -> list[str]:
    """What stands between the colons, except those of expressions and drives (`c:`)."""
    parts, depth = [""], 0
    for at, char in enumerate(text):
        depth += text.startswith("${", at) - (char == "}" and depth > 0)
        is_drive = len(parts[-1]) == 1 and parts[-1].isalpha()
        if char == ":" and depth == 0 and not is_drive:
            parts.append("")
        else:
            parts[-1] += char
    return parts


def _drive(source: str) -> bool:
    return source[0].isalpha() and source[1:2] == ":"


def _is_read_only(options: tuple[str, ...]) -> bool:
    """The last one of `ro` and `rw` counts."""
    said = [option for option in options if option in ("ro", "rw")]
    return said[-1:] == ["ro"]


def read(entry: object, values: Mapping[str, str], *, blank: bool = False) -> Mount | None:
    """One entry of `volumes` with its variables filled in.

    Args:
        entry: a text or a mapping.
        values: the stack's variables.
        blank: read on where a variable has no value, as Compose does, which takes it for empty.

    Returns:
        None where Compose refuses it, or a variable has no value: both are told elsewhere.
    """

    def filled(value: object) -> str:
        text, unset = interpolate(text_of(value), values)
        if unset and not blank:
            raise MountError("has a variable without a value")
        return text

    try:
        if not isinstance(entry, Mapping):
            return of_text(filled(entry))
        kind, source, target = (filled(entry.get(key)) for key in ("type", "source", "target"))
        return Mount(kind, source, target, (), flag(filled(entry.get("read_only"))) is True)
    except (InterpolationError, MountError):
        return None
