"""What Phoenix has put on a host, whether it is declared there or not; and the site's register."""

from __future__ import annotations

import json

from pyinfra.api import StringCommand
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

from facts.command import script
from facts.host_fact import HostFact, marked, unexpected
from phoenix.components.acme.phoenix_acme_conf import CERTIFICATES
from phoenix.components.config_tree.tree import BASE
from phoenix.compose.project_folders import HOST_PROJECTS
from phoenix.derived.certificates import STACKS
from phoenix.derived.register import FILE, Entry, RegisterError, parse
from phoenix.health.undeclared import Placed, TaggedGuest
from phoenix.proxmox import values
from phoenix.proxmox.desired import TAG
from phoenix.proxmox.firewall import OWN
from phoenix.shell import Script

_PLACED = Script(
    "placed",
    """for t in "$1"/*/current; do
 [ ! -L "$t" ] || { t=${t%/current}; printf 'tree\\t%s\\n' "${t##*/}"; }
done
for t in "$2"/*.d; do
 [ ! -d "$t" ] || { t=${t%.d}; printf 'certificate\\t%s\\n' "${t##*/}"; }
done
for t in "$4"/*/tls/versions; do
 [ -d "$t" ] || continue
 t=${t%/tls/versions}; printf 'certificate\\tstack-%s\\n' "$(echo "${t##*/}" | tr _ -)"
done
for t in "$3"*/; do
 [ ! -d "$t" ] || { t=${t%/}; printf 'stack\\t%s\\n' "${t##*/}"; }
done
""",
)
_REGISTER = Script("register", '[ ! -e "$1" ] || cat "$1"')
# root needs no token there.
_GUESTS = Script(
    "guests",
    "command -v pvesh >/dev/null || { echo null; exit 0; }\n"
    "pvesh get /cluster/resources --type vm --output-format json",
)


# pve-firewall(8): a rule's comment stands behind `#` in its line.
_RULES = Script(
    "rules",
    """for f in /etc/pve/firewall/*.fw /etc/pve/nodes/*/host.fw; do
 [ ! -e "$f" ] || printf '%s\\t%s\\n' "$f" "$(grep -c "# $1" "$f")"
done
""",
)


class MarkedRules(HostFact[dict[str, int]]):
    """How many rules with our mark each file of Proxmox VE's firewall has; none is left out."""

    @override
    def command(self) -> StringCommand:
        return marked(script(_RULES, OWN.strip()))

    @override
    def parse(self, lines: list[str]) -> dict[str, int]:
        try:
            fields = (line.split("\t") for line in lines)
            return {path: int(count) for path, count in fields if int(count)}
        except ValueError:
            raise unexpected(lines) from None


class PlacedByPhoenix(HostFact[Placed]):
    """The configuration trees, certificates, and stacks without Portainer of a host."""

    @override
    def command(self) -> StringCommand:
        return marked(script(_PLACED, BASE, CERTIFICATES, HOST_PROJECTS, STACKS))

    @override
    def parse(self, lines: list[str]) -> Placed:
        names: dict[str, list[str]] = {"tree": [], "certificate": [], "stack": []}
        for line in lines:
            kind, tab, name = line.partition("\t")
            if kind not in names or not tab:
                raise unexpected(line)
            names[kind].append(name)
        return Placed(tuple(names["tree"]), tuple(names["certificate"]), tuple(names["stack"]))


class Register(HostFact[tuple[Entry, ...]]):
    """What Phoenix was ever told to deploy on the site; the hypervisor keeps it."""

    @override
    def command(self) -> StringCommand:
        return marked(script(_REGISTER, FILE))

    @override
    def parse(self, lines: list[str]) -> tuple[Entry, ...]:
        try:
            return parse(lines)
        except RegisterError as error:
            raise FactProcessError(str(error)) from None


class TaggedGuests(HostFact[tuple[TaggedGuest, ...] | None]):
    """The guests of the cluster that have Phoenix' tag; None where no pvesh can list them."""

    @override
    def command(self) -> StringCommand:
        return marked(script(_GUESTS))

    @override
    def parse(self, lines: list[str]) -> tuple[TaggedGuest, ...] | None:
        try:
            rows = json.loads("\n".join(lines))
            if rows is None:
                return None
            return tuple(
                TaggedGuest(
                    int(row["vmid"]),
                    str(row["type"]),
                    str(row["node"]),
                    str(row.get("name", "")),
                    row.get("status") == "running",
                )
                for row in rows
                if TAG in values.tags(row.get("tags") or "")
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise FactProcessError(f"pvesh's answer is not understood: {error!r}") from None
