"""What the nodes listen on, and what of it the firewall would close when it is switched on.

Sources: ss(8); the rules that pve-firewall adds by itself, `enable_host_firewall` in
src/PVE/Firewall.pm.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, NamedTuple

from phoenix.declaration.settings import ProxmoxSettings
from phoenix.proxmox.connections import has_port
from phoenix.proxmox.firewall import DEFAULTS, Scope, placed
from phoenix.proxmox.peers import ON_NODE
from phoenix.shell import Script

if TYPE_CHECKING:  # a run imports this before it asks its hosts, and HTTP's library after it
    from phoenix.proxmox.client import Client

HERE = "."
"""The node that is asked itself, whatever it is called."""
LISTEN = Script(
    "listeners",
    f"""{ON_NODE}echo "node ."
ss -Hltnup
for place in /etc/pve/nodes/*/; do
  name=$(basename "$place")
  [ -d "$place" ] && [ "$name" != "$own" ] || continue
  answer=$(on_node "$name" "ss -Hltnup" 2>/dev/null) || continue
  printf 'node %s\\n%s\\n' "$name" "$answer"
done
""",
)
"""Each node that answers, then its sockets; the nodes of a cluster trust each other's root."""
LISTEN_HERE = Script("listening", 'echo "node ."; ss -Hltnup')
"""This host's own sockets, in the same form."""

# What pve-firewall lets in by itself from the cluster's own network, and between its nodes.
_STANDARD = (
    ("tcp", 22, 22), ("tcp", 8006, 8006), ("tcp", 3128, 3128), ("tcp", 5900, 5999),
    ("tcp", 60000, 60050), ("udp", 5404, 5405),
)  # fmt: skip
# Answers to a DHCP client's own questions; they come back as packets of a connection.
_CLIENTS = frozenset({("udp", 68), ("udp", 546)})
_EPHEMERAL = 32768
"""From here on a UDP socket is a client's, which nobody can connect to by a known port."""
_SECTIONS = {"rpc.statd": "statd", "rpc.mountd": "mountd"}
"""Programs of NFSv3 that choose a port at each start, and their sections of nfs.conf(5)."""
_PROCESS = re.compile(r'"([^"]+)"')


class Listener(NamedTuple):
    """One port that something listens on; `process` is empty where it is unknown."""

    proto: str
    port: int
    process: str = ""

    @property
    def name(self) -> str:
        """The listener as the settings write it."""
        return f"{self.proto}/{self.port}"


def parse(lines: Iterable[str]) -> dict[str, frozenset[Listener]]:
    """What each node listens on beside its loopback, of `LISTEN`'s output."""
    by_node: dict[str, set[Listener]] = {}
    own: set[Listener] = set()
    for line in lines:
        words = line.split()
        if words[:1] == ["node"]:
            own = by_node.setdefault(words[1], set())
        elif len(words) >= 5 and words[0] in ("tcp", "udp"):
            address, _, port = words[4].rpartition(":")
            process = _PROCESS.search(words[6]) if len(words) > 6 else None
            if port.isdigit() and not _is_loopback(address):
                own.add(Listener(words[0], int(port), process[1] if process else ""))
    return {node: frozenset(sockets) for node, sockets in by_node.items()}


def _is_loopback(text: str) -> bool:
    address, _, interface = text.strip("[]").partition("%")
    if interface.strip("]") == "lo":
        return True
    try:
        return ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return False  # *: every address


def faults(
    client: Client,
    scopes: Sequence[Scope],
    known: Mapping[str, frozenset[Listener]],
    settings: ProxmoxSettings,
    node: str,
) -> Iterator[str]:
    """Ports that this run would close without being told to, on every node; its fix is a flow.

    Nothing, where the firewall already refuses at a node what no rule lets in.

    Args:
        client: reads alone.
        scopes: placed ones.
        known: what the nodes listen on, `HERE` or by name.
        settings: what is declared of the nodes.
        node: what `HERE` is called.

    Raises:
        ProxmoxError: the firewall can't be read.
    """
    cluster = client.get("cluster/firewall/options")
    cluster_rules = client.get("cluster/firewall/rules")
    own = {scope.path.split("/")[1]: scope for scope in scopes if scope.path.startswith("nodes/")}
    by_node = {name: scope for name, scope in own.items() if scope.vmid is None}
    switched = _refuses(cluster, "enable")
    for row in client.get("nodes"):
        name = str(row["node"])
        if row.get("status") == "offline":
            if not switched:
                yield (
                    f"node {name} is down, and the firewall would be on there when it comes back, "
                    "without our rules. fix: bring it back first, or set proxmox_firewall = False"
                )
            continue
        scope = by_node.get(name)
        if scope is None:
            continue
        if switched and _refuses(client.get(f"{scope.path}/options"), "enable", default="1"):
            continue
        sockets = known.get(HERE if name == node else name)
        if sockets is None and name in settings.node_listeners:
            sockets = frozenset(map(_declared, settings.node_listeners[name]))
        if sockets is None:
            yield (
                f"what node {name} listens on is not known: it does not answer the hypervisor by "
                "SSH. fix: let it, or write what it listens on, as proxmox_node_listeners = "
                f'{{"{name}": ("tcp/22", "tcp/8006")}}'
            )
            continue
        rows = [*client.get(f"{scope.path}/rules"), *cluster_rules]
        rows += [row for rules in groups(client, rows).values() for row in rules]
        closed = [listener for listener in sockets if not _open(listener, scope, rows, settings)]
        if closed:
            yield refusal(name, closed, is_own_node=name == node)


def _refuses(options: Mapping[str, Any], key: str, default: str = "0") -> bool:
    """Whether filtering is on, and what no rule lets in is refused."""
    policy = str(options.get("policy_in", DEFAULTS["policy_in"]))
    return str(options.get(key, default)) not in ("0", "") and policy != "ACCEPT"


def _declared(text: str) -> Listener:
    proto, _, port = text.partition("/")
    return Listener(proto, int(port))


def serves(listener: Listener) -> bool:
    """Whether others can connect to it by a port that they know: a client's own socket is none."""
    is_client = (listener.proto, listener.port) in _CLIENTS
    return not is_client and not (listener.proto == "udp" and listener.port >= _EPHEMERAL)


def groups(
    client: Client, rows: Iterable[Mapping[str, Any]]
) -> dict[str, Sequence[Mapping[str, Any]]]:
    """The rules of the security groups that rules name, by the group's name.

    Args:
        client: reads alone.
        rows: rules as the API tells them.

    Raises:
        ProxmoxError: a group can't be read.
    """
    names = {str(row.get("action")) for row in rows if row.get("type") == "group"}
    return {name: client.get(f"cluster/firewall/groups/{name}") for name in sorted(names)}


def _open(
    listener: Listener, scope: Scope, rows: Iterable[Mapping[str, Any]], settings: ProxmoxSettings
) -> bool:
    """Whether a rule is about it, whoever it lets in or refuses, or it is told to be closed."""
    if not serves(listener) or listener.name in settings.node_closed:
        return True
    if any(p == listener.proto and first <= listener.port <= last for p, first, last in _STANDARD):
        return True
    identities = [rule.identity for rule in scope.rules]
    persons = (placed({"pos": 0, **row}) for row in rows)
    identities += [about for rule in persons if rule.enabled for about in rule.about]
    return any(
        rule.direction == "in"
        and rule.proto in (None, listener.proto)
        and (has_port(rule.ports, listener.port) if rule.ports else rule.action == "ACCEPT")
        for rule in identities
    )


def refusal(
    node: str,
    closed: Iterable[Listener],
    *,
    is_own_node: bool,
    action: str = "switching the firewall on",
) -> str:
    """What a node serves, no rule lets in and `action` would cut; and the two ways to say so."""
    ordered = sorted(closed, key=lambda listener: (listener.port, listener.proto))
    ports = ", ".join(f"{listener.name} ({listener.process or 'unknown'})" for listener in ordered)
    if is_own_node:
        where = "as rules of site.hypervisor.firewall in the JSON files"
        rules = "\n".join(
            f'    {{"type": "in", "action": "ACCEPT", "proto": "{listener.proto}", "port": '
            f'"{listener.port}", "source": "NETWORK", "comment": "{listener.process}"}},'
            for listener in ordered
        )
    else:
        where = "in proxmox_node_flows"
        rules = "\n".join(
            f'    {{"proto": "{listener.proto}", "port": "{listener.port}", "source": "NETWORK", '
            f'"node": "{node}", "comment": "{listener.process or "declared"}"}},'
            for listener in ordered
        )
    names = ", ".join(f'"{listener.name}"' for listener in ordered)
    sections = [
        _SECTIONS[process]
        for process in (listener.process for listener in ordered)
        if process in _SECTIONS
    ]
    fixed = ", ".join(f"[{section}] port=..." for section in dict.fromkeys(sections))
    first = f"give NFS fixed ports in /etc/nfs.conf ({fixed}), and " if fixed else ""
    return (
        f"node {node} listens on {ports}, which no rule lets in: {action} would "
        f"cut it. fix: {first}let its clients in, {where}:\n{rules}\n"
        f"  or let it be closed: proxmox_node_closed = [{names}]"
    )
