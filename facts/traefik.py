"""A person's own Traefik on a host."""

from __future__ import annotations

from pyinfra.api import StringCommand
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

from facts.command import script
from facts.host_fact import HostFact, marked
from phoenix.components.traefik.own_files import OwnFilesError, OwnTraefik, parse
from phoenix.components.traefik.traefik_yml import DYNAMIC, STATIC
from phoenix.files import text
from phoenix.shell import Script

_FILES = Script("traefik-files", text("components/traefik/own_files.sh"))


class OwnTraefikFiles(HostFact[OwnTraefik]):
    """Files of a Traefik that no Phoenix brought, without values that may be secrets.

    Args:
        base: the folder of Traefik's configuration tree.
    """

    @override
    def command(self, base: str) -> StringCommand:
        return marked(script(_FILES, base, STATIC, DYNAMIC))

    @override
    def parse(self, lines: list[str]) -> OwnTraefik:
        try:
            return parse(lines)
        except OwnFilesError as error:
            raise FactProcessError(str(error)) from error
