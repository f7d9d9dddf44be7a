"""Portainer's state, read on its own host with curl; shows drift."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pyinfra.api import StringCommand
from pyinfra.api.exceptions import FactProcessError

from facts.command import script
from facts.host_fact import HostFact, marked
from phoenix.shell import Script

_MARK = "--phoenix--"
# Every JSON string behind a "value" key: a stack's variables come in clear, and a fact's output
# shows at -vvv.
_HIDE = r's/"value": *"([^"\\]|\\.)*"/"value":"***"/g'
_SCRIPT = Script(
    "portainer",
    """hide=$1 mark=$2 root=$3 header=$4; shift 4
for url; do
 curl --silent --fail --max-time 20 --cacert "$root" -H "$header" "$url" 2>/dev/null || break
 echo; echo "$mark"
done | sed -E "$hide"
""",
)
_PATHS = ("/system/status", "/endpoints?excludeSnapshots=true", "/stacks")


@dataclass(frozen=True)
class PortainerEndpoint:
    """One environment; ``up`` is as old as the last snapshot."""

    id: int
    name: str
    url: str
    up: bool


@dataclass(frozen=True)
class PortainerStack:
    """One stack; ``status`` is one of active, inactive, deploying, error; names of variables."""

    name: str
    endpoint: str
    status: str
    env: tuple[str, ...]
    git_managed: bool


@dataclass(frozen=True)
class PortainerSummary:
    """The server at a glance."""

    version: str
    endpoints: tuple[PortainerEndpoint, ...]
    stacks: tuple[PortainerStack, ...]


class PortainerState(HostFact[PortainerSummary | None]):
    """Version, endpoints and stacks; None while the server or the key isn't there.

    Args:
        url: ``https://NAME:9443``.
        ca_file: the root, on the host.
        header_file: a file with the ``X-API-Key: ...`` line, so that no argv holds the key.
    """

    def command(self, url: str, ca_file: str, header_file: str) -> StringCommand:
        """One round trip for all three lists, values of variables hidden on the host."""
        urls = [f"{url}/api{path}" for path in _PATHS]
        return marked(script(_SCRIPT, _HIDE, _MARK, ca_file, f"@{header_file}", *urls))

    def parse(self, lines: list[str]) -> PortainerSummary | None:
        """Parses curl's output; incomplete answers count as absent."""
        parts = "\n".join(lines).split(_MARK)
        if len(parts) <= len(_PATHS):
            return None
        try:
            return summarise(*(json.loads(part) for part in parts[: len(_PATHS)]))
        except (ValueError, KeyError, TypeError) as error:
            raise FactProcessError(f"Portainer's answer is not understood: {error!r}") from None


_STATUS = {1: "active", 2: "inactive", 3: "deploying", 4: "error"}


def summarise(
    status: dict[str, Any], endpoints: list[dict[str, Any]], stacks: list[dict[str, Any]]
) -> PortainerSummary:
    """The three answers of the API as one summary.

    Raises:
        KeyError, TypeError: not what Portainer answers.
    """
    names = {row["Id"]: row["Name"] for row in endpoints}
    return PortainerSummary(
        status["Version"],
        tuple(
            PortainerEndpoint(row["Id"], row["Name"], row["URL"], row["Status"] == 1)
            for row in endpoints
        ),
        tuple(
            PortainerStack(
                row["Name"],
                names.get(row["EndpointId"], f"missing endpoint {row['EndpointId']}"),
                _STATUS.get(row["Status"], str(row["Status"])),
                tuple(pair["name"] for pair in row["Env"] or ()),
                row.get("GitConfig") is not None,
            )
            for row in stacks
        ),
    )
