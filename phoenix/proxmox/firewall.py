"""The site's flows as Proxmox VE firewall rules: each in its scope, compared as a set.

Only rules whose comment starts with `OWN` are ours; those of a person stay where they are. Proxmox
VE takes the first rule that matches and puts a new one at the top (pve-docs, chapter Firewall). So
the order matters in two ways: our refusals are above our permissions, and a person's refusal that
is above our permissions stays there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Any, Literal, NamedTuple

from phoenix.declaration.settings import NodeFlow, ProxmoxSettings
from phoenix.derived import firewall
from phoenix.derived.virtual_addresses import of_host
from phoenix.proxmox import macros
from phoenix.site.model import Host, Site
from phoenix.site.ports import PROXMOX_API, SSH

OWN = "phoenix: "
OPERATOR = "operator, by SSH from where this run comes from"
NODE = "the node"
OTHER_NODES = "every other node"
CLUSTER = "the cluster"
IPFILTER = "ipfilter-net0"
"""The set of addresses that a guest's first card may send from; its name is Proxmox VE's own."""
Network = IPv4Network | IPv6Network
_PORT_PROTOCOLS: tuple[Literal["tcp", "udp"], ...] = ("tcp", "udp")


class Identity(NamedTuple):
    """What makes two rules the same, whatever their comments."""

    direction: str
    action: str
    proto: str | None
    ports: str | None
    source: str | None
    destination: str | None


class FirewallRule(NamedTuple):
    """One rule of ours, without OWN in its comment."""

    identity: Identity
    comment: str


@dataclass(frozen=True)
class Scope:
    """One firewall configuration: the cluster's, a node's, or a guest's.

    `options` are those that we own. `rules`: refusals first. `addresses`: what a guest may send
    from beside what its configuration tells the firewall. `host`: the address of whose scope it is.
    """

    name: str
    path: str
    options: Mapping[str, str]
    rules: tuple[FirewallRule, ...]
    vmid: int | None = None
    addresses: tuple[str, ...] = ()
    host: IPv4Address | None = None


class Write(NamedTuple):
    """One write to a scope."""

    method: str
    path: str
    data: Mapping[str, Any]
    summary: str


def scopes(
    site: Site, settings: ProxmoxSettings, *, operators: Iterable[Network] = ()
) -> tuple[Scope, ...]:
    """All scopes in the order to write them: guests, the nodes, and the cluster's switch last.

    Args:
        site: the site.
        settings: policies, filters, and what the nodes serve beside.
        operators: the networks that SSH must stay open for beside the site's own.

    Returns:
        A guest's path holds {node}, and that of the nodes which nobody names {other}, until their
        places are known.
    """
    derived = firewall.rules(site)
    extra = [net for net in operators if not any(_within(net, own) for own in site.subnets)]
    ordered = [
        _guest_scope(guest, site, derived[guest.name], settings, extra)
        for guest in site.proxmox_guests
    ]
    node = settings.node or site.hypervisor.name
    flows = settings.node_flows
    own = _rules(derived[site.hypervisor.name], extra, api=True)
    ordered.append(replace(_node_scope(NODE, node, own), host=site.hypervisor.address))
    # In a cluster the switch acts on every node: our way in is kept at each of them.
    anywhere = [rule for rule in derived[site.hypervisor.name] if _is_way_in(rule, site)]
    others = dict.fromkeys(flow.node for flow in flows if flow.node and flow.node != node)
    for name in others:
        rules = [*_rules(anywhere, extra, api=True), *_node_rules(flows, name)]
        ordered.append(_node_scope(f"node {name}", name, rules))
    rules = [*_rules(anywhere, extra, api=True), *_node_rules(flows, None)]
    ordered.append(_node_scope(OTHER_NODES, "{other}", rules))
    # The cluster's rules act on every node, so ours are in the nodes' own scopes. Its `enable`
    # switches all filtering on, so it comes last.
    options = {"enable": "1", "policy_in": "DROP", "policy_out": "ACCEPT"}
    ordered.append(Scope(CLUSTER, "cluster/firewall", options, ()))
    return tuple(ordered)


def _within(network: Network, other: IPv4Network) -> bool:
    return isinstance(network, IPv4Network) and network.subnet_of(other)


def _node_scope(name: str, node: str, rules: Iterable[FirewallRule]) -> Scope:
    path = f"nodes/{node}/firewall"
    return Scope(name, path, {"enable": "1"}, tuple(dict.fromkeys(rules)))


def _is_way_in(rule: firewall.Rule, site: Site) -> bool:
    """Whether a rule of the hypervisor is as well one of any other node: SSH, the API, pings."""
    return (
        rule.direction == "in"
        and rule.peer in site.subnets
        and (rule.proto == "icmp" or rule.ports in (str(SSH), str(PROXMOX_API)))
    )


def _node_rules(flows: Iterable[NodeFlow], node: str | None) -> list[FirewallRule]:
    """The declared flows of another node, those of every other node among them."""
    rules = []
    for flow in flows:
        if flow.node in (None, node):
            source = _peer(ip_network(flow.source, strict=False)) if flow.source else None
            identity = Identity("in", "ACCEPT", flow.proto, flow.port, source, None)
            rules.append(FirewallRule(identity, flow.comment))
    return rules


def _guest_scope(
    guest: Host,
    site: Site,
    derived: Iterable[firewall.Rule],
    settings: ProxmoxSettings,
    operators: Iterable[Network],
) -> Scope:
    kind = "lxc" if guest.kind == "lxc" else "qemu"
    path = f"nodes/{{node}}/{kind}/{guest.vmid}/firewall"
    if not guest.firewall_enabled:
        return Scope(guest.name, path, {"enable": "0"}, (), guest.vmid, (), guest.address)
    if settings.firewall_out != "ACCEPT":
        derived = [*derived, *firewall.outbound(site, guest)]
    options = {"enable": "1", "policy_in": "DROP", "policy_out": settings.firewall_out}
    # The addresses of leases are unknown here, and Proxmox VE does not know those of a VM.
    known = all(interface.address is not None for interface in guest.interfaces)
    ipfilter = settings.ipfilter and known and (guest.kind == "lxc" or len(guest.interfaces) == 1)
    held = of_host(site, guest)
    # The set below is for the first card: it would drop what a second card sends from a virtual
    # address.
    ipfilter = ipfilter and all(address.network == guest.interfaces[0].network for address in held)
    options |= {"macfilter": "1", "ipfilter": str(int(ipfilter))}
    addresses: list[str] = []
    if ipfilter:
        further = settings.guest(guest.vmid).addresses
        # Of a container the firewall knows the address by its configuration, of a VM it does not.
        addresses = [str(guest.address)] if guest.kind != "lxc" else []
        addresses += [written_peer(text) for text in further]
        # Whoever holds it sends from it, with the hardware address of his own card.
        addresses += [
            str(address.address) for address in held if str(address.address) not in addresses
        ]
    rules = _rules(derived, operators)
    return Scope(guest.name, path, options, rules, guest.vmid, tuple(addresses), guest.address)


def written_peer(text: str) -> str:
    """An address or network as Proxmox VE writes it: one address has no prefix length."""
    return _peer(ip_network(text, strict=False)) or text


def _rules(
    derived: Iterable[firewall.Rule], operators: Iterable[Network], api: bool = False
) -> tuple[FirewallRule, ...]:
    comments: dict[Identity, str] = {}
    for rule in derived:
        for identity in _identities(rule):
            comments.setdefault(identity, rule.comment)
    ports = (SSH, PROXMOX_API) if api else (SSH,)
    for network in operators:
        for port in ports:
            identity = Identity("in", "ACCEPT", "tcp", str(port), _peer(network), None)
            comments.setdefault(identity, OPERATOR)
    rules = [FirewallRule(identity, comment) for identity, comment in comments.items()]
    return tuple(sorted(rules, key=lambda rule: rule.identity.action == "ACCEPT"))


def _identities(rule: firewall.Rule) -> list[Identity]:
    """A port needs a protocol in Proxmox VE: a rule without one becomes two."""
    protos: tuple[str | None, ...] = (rule.proto,)
    if rule.ports and rule.proto is None:
        protos = _PORT_PROTOCOLS
    peer = _peer(rule.peer)
    source, destination = (peer, None) if rule.direction == "in" else (None, peer)
    ports = rule.ports if rule.proto not in ("icmp", "esp") else None
    return [
        Identity(rule.direction, rule.action, proto, ports, source, destination) for proto in protos
    ]


def _peer(network: Network | None) -> str | None:
    if network is None or network == IPv4Network("0.0.0.0/0"):
        return None
    single_host = network.prefixlen == network.max_prefixlen
    return str(network.network_address) if single_host else str(network)


DEFAULTS = {
    "enable": "0", "policy_in": "DROP", "policy_out": "ACCEPT", "macfilter": "1", "ipfilter": "0",
}  # fmt: skip
"""What an option is where the API does not tell it (pve-firewall)."""


def options_write(scope: Scope, current: Mapping[str, Any]) -> Write | None:
    """The options of ours that differ; None if all hold. An absent `enable` is off."""
    data = {
        key: value
        for key, value in scope.options.items()
        if not _option_holds(key, value, str(current.get(key, DEFAULTS.get(key, ""))))
    }
    if not data:
        return None
    settings = ", ".join(f"{key}={value}" for key, value in data.items())
    return Write("PUT", f"{scope.path}/options", data, f"firewall of {scope.name}: {settings}")


def _option_holds(key: str, desired: str, current: str) -> bool:
    if key == "enable":  # the cluster keeps the time at which it was switched on
        return (current not in ("", "0")) == (desired != "0")
    return desired == current


@dataclass(frozen=True)
class Placed:
    """One rule as it is on the hypervisor; `managed`: its comment says that it is ours.

    `refuses`: it drops or rejects, or is a group of rules, which may; `group` is that group's name.
    `about` is what it acts on: a macro stands for several. It is empty where the rule is narrower
    than these fields tell (a source port, a kind of icmp), and for an unknown macro.
    """

    pos: int
    identity: Identity | None
    enabled: bool
    comment: str
    managed: bool
    refuses: bool = False
    group: str = ""
    about: tuple[Identity, ...] = ()


def placed(row: Mapping[str, Any]) -> Placed:
    """A rule as the API shows it; `identity` is None where it has fields that we never write."""
    comment = str(row.get("comment", "")).strip()
    plain = not any(row.get(key) for key in ("macro", "iface", "sport", "icmp-type", "log"))
    has_direction = row.get("type") in ("in", "out")
    is_group = row.get("type") == "group"
    identity = Identity(
        str(row.get("type")),
        str(row.get("action")),
        row.get("proto"),
        str(row["dport"]) if row.get("dport") else None,
        _address(row.get("source")),
        _address(row.get("dest")),
    )
    return Placed(
        pos=int(row["pos"]),
        identity=identity if plain and has_direction else None,
        enabled=str(row.get("enable", 0)) not in ("0", ""),
        comment=comment.removeprefix(OWN.strip()).strip(),
        managed=comment.startswith(OWN.strip()),
        refuses=is_group or row.get("action") in ("DROP", "REJECT"),
        group=str(row.get("action")) if is_group else "",
        about=_about(row, identity) if has_direction else (),
    )


def _about(row: Mapping[str, Any], identity: Identity) -> tuple[Identity, ...]:
    if row.get("sport") or row.get("icmp-type"):
        return ()
    if not row.get("macro"):
        return (identity,)
    return tuple(
        identity._replace(proto=proto, ports=ports)
        for proto, ports in macros.ports(str(row["macro"]))
    )


def _address(text: str | None) -> str | None:
    try:
        return _peer(ip_network(text, strict=False)) if text else None
    except ValueError:
        return text  # a range, an alias or a set: never one of ours


@dataclass(frozen=True)
class _Sorted:
    """The rules of a scope: current, stale and missing ones."""

    scope: Scope
    digest: str | None
    current: Mapping[Identity, Placed]
    stale: tuple[Placed, ...]
    missing: tuple[Identity, ...]
    comments: Mapping[Identity, str]
    foreign: tuple[Placed, ...]

    @property
    def refusals(self) -> list[Placed]:
        """Refusals that stay."""
        return [rule for identity, rule in self.current.items() if not _accepts(identity)]

    @property
    def permissions(self) -> list[Placed]:
        """Permissions that stay."""
        return [rule for identity, rule in self.current.items() if _accepts(identity)]

    @property
    def floor(self) -> int:
        """The position below which a permission belongs; -1 if it may stand at the top.

        That of our last enabled refusal, stale ones too, or of the last refusal of a person that
        stands above our permissions: what he put below them keeps its place there.
        """
        stale = [rule for rule in self.stale if not _accepts(rule.identity)]
        own = [rule.pos for rule in (*self.refusals, *stale) if rule.enabled]
        of_a_person = [rule.pos for rule in self.above if rule.refuses]
        return max([*own, *of_a_person], default=-1)

    @property
    def above(self) -> list[Placed]:
        """The enabled rules of a person that stand above our permissions, and stay there."""
        stale = [rule for rule in self.stale if _accepts(rule.identity)]
        own = [rule.pos for rule in (*self.permissions, *stale) if rule.enabled]
        first = min(own, default=None)
        return [
            rule for rule in self.foreign if rule.enabled and (first is None or rule.pos < first)
        ]


def foreign_rules_above(scope: Scope, rows: Sequence[Mapping[str, Any]]) -> list[Placed]:
    """The enabled rules of a person that stand above our permissions, in their order."""
    return _sorted(scope, rows).above


def next_write(scope: Scope, rows: Sequence[Mapping[str, Any]]) -> Write | None:
    """The next single write that brings a scope's rules closer; None when they are as desired.

    At each moment what the old and the new rules both allow passes, and what both refuse is
    refused: refusals come first, new permissions before old ones go, old refusals go last. Each
    write is decided on fresh rules, so a change by someone else does no harm.
    """
    sorted_rules = _sorted(scope, rows)
    for step in (_refusals, _permissions, _comments, _removals):
        if write := step(sorted_rules):
            return write
    return None


def differences(scope: Scope, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Every change of a scope's rules, for a plan: what is added, what is removed, what is edited.

    Args:
        scope: its desired rules.
        rows: its rules as Proxmox VE has them; those of others are none of ours.

    Returns:
        A line a rule. Where only edits are left, the first of them: the later ones follow from it.
    """
    rules = _sorted(scope, rows)
    lines = [
        _added(scope, identity, rules.comments[identity], enabled=True).summary
        for identity in rules.missing
    ]
    lines += [_removed(rules, rule).summary for rule in rules.stale]
    if not lines and (write := next_write(scope, rows)):
        lines.append(write.summary)
    return lines


def _sorted(scope: Scope, rows: Sequence[Mapping[str, Any]]) -> _Sorted:
    desired = {rule.identity: rule.comment for rule in scope.rules}
    current: dict[Identity, Placed] = {}
    stale: list[Placed] = []
    foreign: list[Placed] = []
    for rule in map(placed, rows):
        if not rule.managed:
            foreign.append(rule)
        elif rule.identity in desired and rule.identity not in current:
            current[rule.identity] = rule
        else:
            stale.append(rule)
    return _Sorted(
        scope=scope,
        digest=next((str(row["digest"]) for row in rows if "digest" in row), None),
        current=current,
        stale=tuple(stale),
        missing=tuple(identity for identity in desired if identity not in current),
        comments=desired,
        foreign=tuple(foreign),
    )


def _accepts(identity: Identity | None) -> bool:
    return identity is None or identity.action == "ACCEPT"


def _refusals(rules: _Sorted) -> Write | None:
    """The refusals to write at the top at once: missing, disabled, or below a kept permission."""
    for identity in rules.missing:
        if not _accepts(identity):
            return _added(rules.scope, identity, rules.comments[identity], enabled=True)
    for rule in rules.refusals:
        if not rule.enabled:
            return _edit(rules, rule, {"enable": 1}, "enable")
    first = min((rule.pos for rule in rules.permissions if rule.enabled), default=None)
    for rule in rules.refusals:
        if first is not None and rule.pos > first:
            return _edit(rules, rule, {"moveto": 0}, "move to the top")
    return None


def _permissions(rules: _Sorted) -> Write | None:
    """One that is off comes below all refusals before it's switched on."""
    for rule in rules.permissions:
        if not rule.enabled and rule.pos < rules.floor:
            return _edit(rules, rule, {"moveto": rules.floor + 1}, "move below the refusals")
        if not rule.enabled:
            return _edit(rules, rule, {"enable": 1}, "enable")
    for identity in rules.missing:
        # It goes in at the top: where refusals stand, without effect at first.
        comment = rules.comments[identity]
        return _added(rules.scope, identity, comment, enabled=rules.floor < 0)
    return None


def _comments(rules: _Sorted) -> Write | None:
    for identity, rule in rules.current.items():
        if rule.comment != rules.comments[identity]:
            return _edit(rules, rule, {"comment": OWN + rules.comments[identity]}, "comment")
    return None


def _removals(rules: _Sorted) -> Write | None:
    """Old permissions, then old refusals."""
    for rule in sorted(rules.stale, key=lambda rule: not _accepts(rule.identity)):
        return _removed(rules, rule)
    return None


def _removed(rules: _Sorted, rule: Placed) -> Write:
    path = f"{rules.scope.path}/rules/{rule.pos}"
    data = {"digest": rules.digest} if rules.digest else {}
    summary = f"firewall of {rules.scope.name}: remove {_described(rule.identity)}"
    return Write("DELETE", path, data, summary)


def _edit(rules: _Sorted, rule: Placed, data: Mapping[str, Any], verb: str) -> Write:
    guarded = {**data, "digest": rules.digest} if rules.digest else dict(data)
    summary = f"firewall of {rules.scope.name}: {verb} {_described(rule.identity)}"
    return Write("PUT", f"{rules.scope.path}/rules/{rule.pos}", guarded, summary)


def _added(scope: Scope, identity: Identity, comment: str, *, enabled: bool) -> Write:
    data: dict[str, Any] = {
        "type": identity.direction,
        "action": identity.action,
        "enable": int(enabled),
        "comment": OWN + comment,
    }
    fields = {
        "proto": identity.proto,
        "dport": identity.ports,
        "source": identity.source,
        "dest": identity.destination,
    }
    data |= {key: value for key, value in fields.items() if value is not None}
    summary = f"firewall of {scope.name}: add {_described(identity)}"
    return Write("POST", f"{scope.path}/rules", data, summary)


def _described(identity: Identity | None) -> str:
    if identity is None:
        return "a rule that someone changed"
    peer = identity.source or identity.destination or "anyone"
    traffic = "/".join(part for part in (identity.proto, identity.ports) if part) or "anything"
    way = "from" if identity.direction == "in" else "to"
    return f"{identity.direction} {identity.action} {traffic} {way} {peer}"


def address_write(
    scope: Scope, sets: Sequence[str], entries: Sequence[Mapping[str, Any]]
) -> Write | None:
    """The next write to the addresses that a guest may send from; None when they are as desired.

    Args:
        scope: a guest's.
        sets: the names of its address sets.
        entries: the rows of `IPFILTER`; those of a person stay.
    """
    if scope.addresses and IPFILTER not in sets:
        data = {"name": IPFILTER, "comment": f"{OWN}what it may send from"}
        summary = f"firewall of {scope.name}: make the address set {IPFILTER}"
        return Write("POST", f"{scope.path}/ipset", data, summary)
    present = {written_peer(str(row.get("cidr"))) for row in entries}
    path = f"{scope.path}/ipset/{IPFILTER}"
    for address in scope.addresses:
        if address not in present:
            data = {"cidr": address, "comment": f"{OWN}declared"}
            return Write(
                "POST", path, data, f"firewall of {scope.name}: let it send from {address}"
            )
    for row in entries:
        cidr = str(row.get("cidr"))
        own = str(row.get("comment", "")).startswith(OWN.strip())
        if own and written_peer(cidr) not in scope.addresses:
            summary = f"firewall of {scope.name}: no longer let it send from {cidr}"
            return Write("DELETE", f"{path}/{cidr}", {}, summary)
    return None


def operator_networks(texts: Iterable[str], client_address: str | None) -> list[Network]:
    """Networks of the settings, and the address that SSH sees us come from, of IPv4 or IPv6.

    Args:
        texts: addresses or networks.
        client_address: of our SSH connection; None where it is unknown.

    Raises:
        ValueError: one is not a network, or we come from an address that no rule can name.
    """
    networks: list[Network] = []
    for text in texts:
        try:
            networks.append(ip_network(text, strict=False))
        except ValueError:
            raise ValueError(f"{text} is not a network") from None
    if client_address:
        own = ip_address(client_address)
        if isinstance(own, IPv6Address) and own.ipv4_mapped:
            own = own.ipv4_mapped
        if isinstance(own, IPv6Address) and own.is_link_local:
            known = any(isinstance(net, IPv6Network) and _contains(net, own) for net in networks)
            if not known:
                raise ValueError(
                    f"our SSH comes from {client_address}, a link-local address, which is another "
                    "one on each link: the firewall would cut this way in"
                )
        else:
            networks.append(ip_network(str(own)))
    return networks


def _contains(network: IPv6Network, address: IPv6Address) -> bool:
    return IPv6Address(int(address)) in network  # without its zone
