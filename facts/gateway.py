"""What the gateway's Nginx runs with."""

from __future__ import annotations

from pyinfra.api import StringCommand
from typing_extensions import override

from facts.command import script
from facts.host_fact import HostFact, marked
from phoenix.components.nginx.nginx_conf import STATUS
from phoenix.shell import Script

_SCRIPT = Script("gateway", 'curl -fsS --max-time 3 "$1" 2>/dev/null || true')


class ClientCertificate(HostFact[str]):
    """Fingerprint of the certificate that Nginx presents to Traefik; empty where it has none."""

    @override
    def command(self) -> StringCommand:
        return marked(script(_SCRIPT, f"http://{STATUS}/client-certificate"))

    @override
    def parse(self, lines: list[str]) -> str:
        line = "".join(lines).strip()
        return line if len(line) == 64 else ""
