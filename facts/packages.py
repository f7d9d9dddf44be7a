"""Debian packages that a host has."""

from __future__ import annotations

from pyinfra.api import StringCommand
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

from facts.command import script
from facts.host_fact import HostFact, marked, unexpected
from phoenix.shell import Script

# Installed, held or not: what was removed and left its configuration is not there.
_SCRIPT = Script("packages", "dpkg-query -W -f '${db:Status-Status} ${Package}\\n'")


class Packages(HostFact[frozenset[str]]):
    """Names of the packages that are installed."""

    @override
    def command(self) -> StringCommand:
        return marked(script(_SCRIPT))

    @override
    def parse(self, lines: list[str]) -> frozenset[str]:
        """The packages from dpkg-query's output.

        Raises:
            FactProcessError: the output is empty, or not of dpkg-query's form.
        """
        names = set()
        for line in lines:
            status, _, name = line.partition(" ")
            if not name or " " in name:
                raise unexpected(line, of="dpkg-query")
            if status == "installed":
                names.add(name)
        if not names:
            raise FactProcessError("dpkg-query knows of no package")
        return frozenset(names)
