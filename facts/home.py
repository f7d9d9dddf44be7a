"""The start page that a host has."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from pyinfra.api import FactBase, StringCommand
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

from phoenix import home

_SCRIPT = (
    'cd "$1" 2>/dev/null || exit 0; sha256sum index.html 2>/dev/null; cat home.json 2>/dev/null; :'
)


@dataclass(frozen=True)
class HomeState:
    """What is there: SHA-256 of index.html in hex, empty without it; home.json as it is."""

    sha256: str = ""
    data: str = ""


class HomePage(FactBase[HomeState]):
    """The page and its data, in one round trip."""

    @staticmethod
    @override
    def default() -> HomeState:
        return HomeState()

    @override
    def command(self) -> StringCommand:
        return StringCommand("sh", "-c", shlex.quote(_SCRIPT), "home-page", home.PAGE)

    @override
    def process(self, output: list[str]) -> HomeState:
        """Raises FactProcessError on output that is not of this form."""
        if not output:
            return self.default()
        first, *rest = output
        digest, _, name = first.partition("  ")
        if name == "index.html" and len(digest) == 64:
            return HomeState(digest, "\n".join(rest))
        if first.startswith("{"):
            return HomeState("", "\n".join(output))
        raise FactProcessError(f"unexpected line from the host: {first!r}")
