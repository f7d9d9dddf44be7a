"""The network interfaces of a host: those that its files declare, and those that are there."""

from __future__ import annotations

from pyinfra.api import StringCommand
from typing_extensions import override

from facts.command import script
from facts.host_fact import HostFact, marked, unexpected
from phoenix.components.networks.bridges import FILE, MADE, MAIN_FILE, HostInterfaces
from phoenix.shell import Script

# interfaces(5): a stanza begins with `iface NAME`.
_SCRIPT = Script(
    "interfaces",
    r"""for f in "$1" "$1".d/*; do
 [ ! -f "$f" ] || awk -v f="$f" '$1 == "iface" { print "declared\t" f "\t" $2 }' "$f"
done
[ ! -e "$2" ] || sed 's/^/made\t/' "$2"
for i in /sys/class/net/*; do
 i=${i##*/}; a=$(ip -4 -o addr show dev "$i" | awk '{ printf "%s ", $4 }')
 v=; [ "$(cat "/sys/class/net/$i/bridge/vlan_filtering" 2>/dev/null)" != 1 ] || v=aware
 printf 'live\t%s\t%s\t%s\n' "$i" "$a" "$v"
done
""",
)


class Interfaces(HostFact[HostInterfaces]):
    """What a host declares in interfaces(5), and the interfaces that it has."""

    @override
    def command(self) -> StringCommand:
        return marked(script(_SCRIPT, MAIN_FILE, MADE))

    @override
    def parse(self, lines: list[str]) -> HostInterfaces:
        declared: dict[str, str] = {}
        own: set[str] = set()
        live: dict[str, tuple[str, ...]] = {}
        aware: set[str] = set()
        for line in lines:
            match line.split("\t"):
                case ["declared", file, name] if file == FILE:
                    own.add(name)
                case ["declared", file, name]:
                    declared.setdefault(name, file)
                case ["made", name]:
                    own.add(name)
                case ["live", name, addresses, separates]:
                    live[name] = tuple(addresses.split())
                    aware |= {name} if separates else set()
                case _:
                    raise unexpected(line)
        return HostInterfaces(declared, frozenset(own), live, frozenset(aware))
