"""The start page that a host has, and what it is made of: the certificates that hosts serve."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from pyinfra.api import FactBase, StringCommand
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

from facts.certificates import ServedCertificates, ServedState
from phoenix.derived import home

_PAGE = "start page"
_SCRIPT = (
    f'echo "{_PAGE}"; cd "$1" 2>/dev/null || exit 0; '
    "sha256sum index.html 2>/dev/null; cat home.json 2>/dev/null; :"
)


@dataclass(frozen=True)
class HomeState:
    """What is there: SHA-256 of index.html in hex, empty without it; home.json as it is.

    `served` is what `ServedCertificates` found, endpoint by endpoint.
    """

    served: list[ServedState]
    sha256: str = ""
    data: str = ""


class HomePage(FactBase[HomeState]):
    """The page and its data, and `ServedCertificates` of what it tells: one round trip for all."""

    @staticmethod
    @override
    def default() -> HomeState:
        return HomeState([])

    def requires_command(
        self,
        endpoints: Sequence[tuple[str, int, str]],  # noqa: ARG002
        ca_file: str,  # noqa: ARG002
    ) -> str:
        """`openssl`."""
        return "openssl"

    @override
    def command(self, endpoints: Sequence[tuple[str, int, str]], ca_file: str) -> StringCommand:
        self._served = ServedCertificates()
        served = self._served.command(endpoints, ca_file)
        page = StringCommand("sh", "-c", shlex.quote(_SCRIPT), "home-page", home.PAGE)
        return StringCommand(served, "&&", page)

    @override
    def process(self, output: list[str]) -> HomeState:
        """Raises FactProcessError on output that is not of this form."""
        if _PAGE not in output:
            raise FactProcessError("the host did not tell of its start page")
        cut = output.index(_PAGE)
        served, rest = self._served.process(output[:cut]), output[cut + 1 :]
        digest, _, name = rest[0].partition("  ") if rest else ("", "", "")
        if name == "index.html" and len(digest) == 64:
            return HomeState(served, digest, "\n".join(rest[1:]))
        return HomeState(served, "", "\n".join(rest))
