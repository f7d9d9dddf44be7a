"""The certificates by which services that Phoenix does not manage are known: served, and kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyinfra.api import StringCommand
from typing_extensions import override

from facts.command import script
from facts.host_fact import HostFact, marked
from phoenix.components.x509 import CertificateError, fingerprint, load_chain
from phoenix.net.pem import ONLY_CERTIFICATES, certificate_blocks
from phoenix.shell import Script

_LEAVES = Script(
    "pinned-leaves",
    f"""folder=$1; shift
cat -- "$folder"/*.pem 2>/dev/null | {ONLY_CERTIFICATES}
while [ $# -ge 2 ]; do
    timeout 8 openssl s_client -connect "$1:$2" -servername "$1" </dev/null 2>/dev/null |
        {ONLY_CERTIFICATES}
    shift 2
done
:""",
)


class PinnedLeaves(HostFact[Mapping[str, str]]):
    """Certificates as PEM by their SHA-256: kept in a folder, then served by each host and port.

    One that does not answer gives none. Nothing here is proven: the fingerprint is the proof.
    """

    @override
    def command(self, folder: str, ends: Sequence[tuple[str, str]]) -> StringCommand:
        arguments = [word for end in ends for word in end]
        return marked(script(_LEAVES, folder, *arguments), seconds=30 + 8 * len(ends))

    @override
    def parse(self, lines: list[str]) -> Mapping[str, str]:
        pem_by_fingerprint: dict[str, str] = {}
        for block in certificate_blocks("\n".join(lines)):
            try:
                (certificate,) = load_chain(block)
            except (CertificateError, ValueError):
                continue
            pem_by_fingerprint[fingerprint(certificate)] = f"{block}\n"
        return pem_by_fingerprint
