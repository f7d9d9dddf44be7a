"""What only the hypervisor itself can tell: its API's certificate, who we are, guests' keys."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pyinfra.api import FactBase

from phoenix.proxmox import hostkeys

_FINGERPRINT = re.compile(r"=((?:[0-9A-F]{2}:){31}[0-9A-F]{2})\Z", re.IGNORECASE)


class ApiFingerprint(FactBase[str | None]):
    """SHA-256 of the certificate that pveproxy serves on port 8006, hex with colons; None if none.

    pveproxy prefers a certificate of the operator's, pveproxy-ssl.pem, to the cluster's own
    (pve-docs, chapter Certificate Management).
    """

    @staticmethod
    def default() -> str | None:
        """No certificate."""
        return None

    def command(self) -> str:
        """Read on the hypervisor by SSH, whose host key is known: no blind trust."""
        return (
            "f=/etc/pve/local/pveproxy-ssl.pem; test -s $f || f=/etc/pve/local/pve-ssl.pem; "
            "openssl x509 -noout -fingerprint -sha256 -in $f 2>/dev/null || true"
        )

    def process(self, output: list[str]) -> str | None:
        """openssl writes "sha256 Fingerprint=AA:BB:..."."""
        found = _FINGERPRINT.search("".join(output).strip())
        return found[1].upper() if found else None


class SshClientAddress(FactBase[str | None]):
    """The address from which this very SSH connection comes, as the host sees it."""

    @staticmethod
    def default() -> str | None:
        """Not by SSH."""
        return None

    def command(self) -> str:
        """The sshd sets it: client address, client port, server address, server port."""
        return 'echo "$SSH_CONNECTION"'

    def process(self, output: list[str]) -> str | None:
        """The first word."""
        words = " ".join(output).split()
        return words[0] if words else None


class GuestHostKeys(FactBase[dict[int, frozenset[str]]]):
    """The guests' SSH host keys, "TYPE BASE64" by guest id, as the hypervisor can vouch for them.

    Args:
        guests: those to ask.
    """

    @staticmethod
    def default() -> dict[int, frozenset[str]]:
        """Nothing learned."""
        return {}

    def command(self, guests: Sequence[hostkeys.Guest]) -> str:
        """One command for all guests."""
        return hostkeys.command(guests)

    def process(self, output: list[str]) -> dict[int, frozenset[str]]:
        """Those that could be learned."""
        return hostkeys.parse(output)
