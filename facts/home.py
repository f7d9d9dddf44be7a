"""The start page of a host, and its data."""

from __future__ import annotations

from dataclasses import dataclass

from pyinfra.api import StringCommand
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

from facts.command import script
from facts.host_fact import HostFact, marked
from phoenix.derived import home
from phoenix.shell import Script

_PAGE = "start page"
_SCRIPT = Script(
    "home-page",
    f'echo "{_PAGE}"; cd "$1" 2>/dev/null || exit 0; '
    "sha256sum index.html 2>/dev/null; cat home.json 2>/dev/null; :",
)


@dataclass(frozen=True)
class HomeState:
    """The page: SHA-256 of index.html in hex, empty without it; home.json as it is."""

    sha256: str = ""
    data: str = ""


class HomePage(HostFact[HomeState]):
    """The page and its data: one round trip."""

    @override
    def command(self) -> StringCommand:
        return marked(script(_SCRIPT, home.PAGE))

    @override
    def parse(self, lines: list[str]) -> HomeState:
        """The state from the output.

        Raises:
            FactProcessError: the output is not of this form.
        """
        if lines[:1] != [_PAGE]:
            raise FactProcessError("the host's answer does not begin with the start page")
        output = lines[1:]
        digest, _, name = output[0].partition("  ") if output else ("", "", "")
        if name == "index.html" and len(digest) == 64:
            return HomeState(digest, "\n".join(output[1:]))
        return HomeState("", "\n".join(output))
