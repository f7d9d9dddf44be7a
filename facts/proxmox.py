"""Facts of the hypervisor: its API's certificate, our address, its guests' host keys."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pyinfra.api import StringCommand

from facts.command import script
from facts.host_fact import HostFact, marked
from phoenix.proxmox import hostkeys, listeners
from phoenix.shell import Script

_FINGERPRINT = re.compile(r"=((?:[0-9A-F]{2}:){31}[0-9A-F]{2})\Z", re.IGNORECASE)

_API_CERTIFICATE = Script(
    "api-certificate",
    "f=/etc/pve/local/pveproxy-ssl.pem; test -s $f || f=/etc/pve/local/pve-ssl.pem; "
    "SSL_CERT_FILE=/dev/null openssl x509 -noout -fingerprint -sha256 -in $f 2>/dev/null || true",
)
_NODE_CERTIFICATES = Script(
    "node-certificates",
    "for folder in /etc/pve/nodes/*/; do "
    "f=${folder}pveproxy-ssl.pem; test -s $f || f=${folder}pve-ssl.pem; "
    "SSL_CERT_FILE=/dev/null openssl x509 -noout -fingerprint -sha256 -in $f 2>/dev/null; "
    "done; true",
)
_ROOT = Script(
    "root-shell",
    'if [ "$(id -u)" = 0 ] && command -v pct >/dev/null; then echo yes; else echo no; fi',
)
_ABSENT = Script(
    "absent-folders", 'for one in "$@"; do [ -d "$one" ] || printf "%s\\n" "$one"; done'
)
_CLIENT = Script("client", 'echo "$SSH_CONNECTION"')


class ApiFingerprint(HostFact[str | None]):
    """SHA-256 of the certificate that pveproxy serves on port 8006, hex with colons; None if none.

    pveproxy prefers a certificate of the operator's, pveproxy-ssl.pem, to the cluster's own
    (pve-docs, chapter Certificate Management).
    """

    def command(self) -> StringCommand:
        """Read on the hypervisor by SSH, whose host key is known: no blind trust."""
        return marked(script(_API_CERTIFICATE))

    def parse(self, lines: list[str]) -> str | None:
        """openssl writes "sha256 Fingerprint=AA:BB:..."."""
        match = _FINGERPRINT.search("".join(lines).strip())
        return match[1].upper() if match else None


class NodeFingerprints(HostFact[tuple[str, ...]]):
    """SHA-256 of the certificate that each node of the cluster serves on port 8006, hex.

    Every node has those of all others in /etc/pve, the cluster's own file system (pmxcfs).
    """

    def command(self) -> StringCommand:
        """Read on the hypervisor by SSH, whose host key is known: no blind trust."""
        return marked(script(_NODE_CERTIFICATES))

    def parse(self, lines: list[str]) -> tuple[str, ...]:
        """A line of openssl for each node."""
        matches = (_FINGERPRINT.search(line.strip()) for line in lines)
        return tuple(match[1].upper() for match in matches if match)


class SshClientAddress(HostFact[str | None]):
    """The address from which this very SSH connection comes, as the host sees it."""

    def command(self) -> StringCommand:
        """The sshd sets it: client address, client port, server address, server port."""
        return marked(script(_CLIENT))

    def parse(self, lines: list[str]) -> str | None:
        """The first word."""
        words = " ".join(lines).split()
        return words[0] if words else None


class RootShell(HostFact[bool]):
    """Whether our user is root here, and `pct` is here."""

    def command(self) -> StringCommand:
        """root's own id is 0."""
        return marked(script(_ROOT))

    def parse(self, lines: list[str]) -> bool:
        """One word."""
        return "".join(lines).strip() == "yes"


class AbsentFolders(HostFact[tuple[str, ...]]):
    """The folders that are missing.

    Args:
        folders: their paths.
    """

    def command(self, folders: Sequence[str]) -> StringCommand:
        """One test each."""
        return marked(script(_ABSENT, *folders))

    def parse(self, lines: list[str]) -> tuple[str, ...]:
        """A path a line."""
        return tuple(lines)


class Listeners(HostFact[dict[str, frozenset[listeners.Listener]]]):
    """What this node and the others of its cluster listen on, those that answer."""

    def command(self) -> StringCommand:
        """The other nodes are asked from here, as Proxmox VE itself does."""
        return marked(script(listeners.LISTEN))

    def parse(self, lines: list[str]) -> dict[str, frozenset[listeners.Listener]]:
        """The listeners by the names of the nodes; `listeners.HERE` is this node."""
        return listeners.parse(lines)


class Listening(HostFact[frozenset[listeners.Listener]]):
    """What this host listens on beside its loopback."""

    def command(self) -> StringCommand:
        """ss(8) alone."""
        return marked(script(listeners.LISTEN_HERE))

    def parse(self, lines: list[str]) -> frozenset[listeners.Listener]:
        """Its sockets."""
        return listeners.parse(lines).get(listeners.HERE, frozenset())


class GuestHostKeys(HostFact[dict[int, frozenset[str]]]):
    """The guests' SSH host keys, "TYPE BASE64" by guest id, as the hypervisor can vouch for them.

    Args:
        guests: those to ask.
    """

    def command(self, guests: Sequence[hostkeys.Guest]) -> StringCommand:
        """One command for all guests."""
        return marked(script(hostkeys.LEARN, *hostkeys.words(guests)))

    def parse(self, lines: list[str]) -> dict[int, frozenset[str]]:
        """The host keys that could be read."""
        return hostkeys.parse(lines)
