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


# Workers from before a reload may take a connection just after it.
_ANSWER = Script(
    "gateway-answer",
    """for try in 1 2 3 4; do
code=$(curl -sS -o /dev/null -w '%{http_code}' --max-time 5 --cacert "$3" \\
    --connect-to "::$2:" "$1" 2>&1) && case $code in [2-4]??) exit 0 ;; esac
[ "$try" = 4 ] || sleep 1
done
echo "gives $(printf '%s\n' "$code" | head -n 1)"
""",
)


class OwnAnswer(HostFact[str]):
    """What is wrong with the gateway's answer to a request by one of its own addresses; or empty.

    Args:
        url: what is asked for. A status from 200 to 499 comes from Traefik, or from behind it.
        address: the gateway's.
        root: the file with the roots that its certificate must chain to.
    """

    @override
    def command(self, url: str, address: str, root: str) -> StringCommand:
        return marked(script(_ANSWER, url, address, root))

    @override
    def parse(self, lines: list[str]) -> str:
        return " ".join(lines).strip()
