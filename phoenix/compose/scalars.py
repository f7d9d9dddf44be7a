"""Single values of a compose file as Compose writes and reads them."""

from __future__ import annotations

import math
from decimal import Decimal

_TRUE = frozenset(("on", "true", "y", "yes"))
_FALSE = frozenset(("false", "n", "no", "off"))


def text_of(value: object) -> str:
    """A single value as the text that a container gets: `true`, `1.5`, `1e+06`; null is empty.

    Compose writes numbers as Go does (package fmt, `%v`).

    Args:
        value: as `phoenix.compose.document.parse` gives it.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return _float(value) if isinstance(value, float) else str(value)


def _float(value: float) -> str:
    """The fewest digits that tell a number, with an exponent below 1e-4 and from 1e6 on."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else f"{value:+}".title()
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    power = len(digits) - 1 + int(exponent)
    if value and not -4 <= power < 6:
        first, *rest = map(str, digits)
        return f"{'-' * sign}{first}{'.' * bool(rest)}{''.join(rest)}e{power:+03d}"
    return f"{Decimal(repr(value)).normalize():f}"


def flag(value: object) -> bool | None:
    """True or false as Compose reads it, of text as well (`yes`, `off`); None for what is neither.

    compose-go, loader/interpolate.go: toBoolean.
    """
    word = text_of(value).lower()
    return True if word in _TRUE else False if word in _FALSE else None
