"""What one run is told by `--data NAME=VALUE`: `phoenix.declaration.settings.RunArguments`.

pyinfra guesses a type: it takes `007` for 7, and `no` for text, which Python takes for yes.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from pyinfra import host

from phoenix.declaration.settings import as_written, written
from phoenix.site.findings import SettingError


def text(name: str) -> str:
    """An argument as it was written; empty where it is not given."""
    value = host.data.get(name)
    return "" if value is None else as_written(name, value, written(sys.argv))


def path(name: str) -> Path | None:
    """A file or directory on this machine; None where the argument is not given."""
    given = text(name)
    return Path(given).expanduser() if given else None


def listed(name: str) -> tuple[str, ...]:
    """A list, or text with commas; empty where it is not given."""
    value: str | int | Sequence[str] = host.data.get(name) or ()
    if isinstance(value, str | int):
        return tuple(filter(None, (part.strip() for part in text(name).split(","))))
    return (*value,)


def flag(name: str) -> bool:
    """What is on or off; off where it is not given.

    Raises:
        SettingError: it is something else.
    """
    given = text(name).lower()
    if given in ("", "true", "false"):
        return given == "true"
    raise SettingError(f"{name} is {text(name)!r}: write true or false")
