"""What a host's Traefik reads: a person's own files, and whose certificate it lets in."""

from __future__ import annotations

from pyinfra.api import StringCommand
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

from facts.command import script
from facts.host_fact import HostFact, marked
from phoenix.components.traefik.existing_files import OwnFilesError, OwnTraefik, parse
from phoenix.components.traefik.traefik_yml import ADMISSION, DYNAMIC, STATIC, admitted
from phoenix.files import text
from phoenix.secrets.client_certificate import fingerprint
from phoenix.shell import Script

_ADMISSION = Script("admitted-certificates", '[ ! -e "$1" ] || cat "$1"')
_FILES = Script("traefik-files", text("components/traefik/existing_files.sh"))


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


class AdmittedCertificates(HostFact[tuple[str, ...]]):
    """SHA-256 in hex of each client certificate that Traefik lets in; its tree has loaded them."""

    @override
    def command(self) -> StringCommand:
        return marked(script(_ADMISSION, ADMISSION))

    @override
    def parse(self, lines: list[str]) -> tuple[str, ...]:
        """The certificates in the file.

        Raises:
            FactProcessError: the file is of another form.
        """
        try:
            return tuple(fingerprint(pem) for pem in admitted("\n".join(lines)))
        except ValueError as error:
            raise FactProcessError(f"{ADMISSION} {error}") from error
