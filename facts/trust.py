"""Certificates that were added to a host's trust store by hand or by Phoenix."""

from __future__ import annotations

from pyinfra.api import StringCommand
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

from facts.command import script
from facts.host_fact import HostFact, marked, unexpected
from phoenix.components.x509 import CertificateError, CertificateInfo, parse_chain
from phoenix.shell import Script

_SCRIPT = Script(
    "trust",
    """export SSL_CERT_FILE=/dev/null  # else x509 reads all roots of the system first
for f in "$1"/*.crt; do [ -f "$f" ] || continue
 echo "file $f"; openssl x509 -in "$f" 2>/dev/null; done
:""",
)
_READ = Script("roots", '[ ! -e "$1" ] || cat "$1"')


class LocalTrust(HostFact[dict[str, CertificateInfo]]):
    """Path to certificate of everything in `directory` that is a certificate.

    Raises:
        FactProcessError: the host prints something else.
    """

    @override
    def command(self, directory: str) -> StringCommand:
        return marked(script(_SCRIPT, directory))

    @override
    def parse(self, lines: list[str]) -> dict[str, CertificateInfo]:
        blocks: dict[str, list[str]] = {}
        current: list[str] | None = None
        for line in lines:
            if line.startswith("file "):
                current = blocks.setdefault(line.removeprefix("file "), [])
            elif current is None:
                raise unexpected(line)
            else:
                current.append(line)
        try:
            return {path: parse_chain("\n".join(pem))[0] for path, pem in blocks.items() if pem}
        except CertificateError as error:
            raise FactProcessError(str(error)) from error


class TrustedRoots(HostFact[str]):
    """The roots in `path`, PEM, oldest first; empty where there is no such file."""

    @override
    def command(self, path: str) -> StringCommand:
        return marked(script(_READ, path))

    @override
    def parse(self, lines: list[str]) -> str:
        return "".join(f"{line}\n" for line in lines)
