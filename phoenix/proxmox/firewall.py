"""The site's flows as Proxmox VE firewall rules: each in its scope, compared as a set.

Only rules whose comment starts with `OWN` are ours; those of a person stay where they are. Proxmox
VE takes the first rule that matches and puts a new one at the top (pve-docs, chapter Firewall), so
what matters of the order is that our refusals stand above our permissions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Literal, NamedTuple

from phoenix import firewall
from phoenix.model import Host, Site
from phoenix.proxmox.desired import Kind

OWN = "phoenix: "
OPERATOR = "operator, by SSH from where this run comes from"
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

    `options` are those that we own. `rules`: refusals first.
    """

    name: str
    path: str
    options: Mapping[str, str]
    rules: tuple[FirewallRule, ...]
    vmid: int | None = None


class Write(NamedTuple):
    """One write to a scope."""

    method: str
    path: str
    data: Mapping[str, Any]
    what: str


def scopes(
    site: Site,
    *,
    node: str,
    policy_out: str = "ACCEPT",
    operators: Iterable[IPv4Network] = (),
) -> tuple[Scope, ...]:
    """All scopes in the order to write them: guests, the node, and the cluster's switch last.

    `operators` are the networks that SSH must stay open for beside the site's own. A guest's path
    holds {node} until its place is known.
    """
    derived = firewall.rules(site)
    extra = [net for net in operators if not net.subnet_of(site.network)]
    made = [
        Scope(
            name=guest.name,
            path=f"nodes/{{node}}/{'lxc' if guest.kind == 'lxc' else 'qemu'}/{guest.vmid}/firewall",
            options=_guest_options(guest, policy_out),
            rules=_rules(derived[guest.name], extra) if guest.firewall_enabled else (),
            vmid=guest.vmid,
        )
        for guest in site.guests
    ]
    hypervisor = _rules(derived[site.hypervisor.name], extra, api=True)
    made.append(Scope("the node", f"nodes/{node}/firewall", {"enable": "1"}, hypervisor))
    # The cluster's rules act on every node; ours are in the node's own scope. Its `enable` is the
    # switch of everything, so it comes when all rules are there.
    options = {"enable": "1", "policy_in": "DROP", "policy_out": "ACCEPT"}
    made.append(Scope("the cluster", "cluster/firewall", options, ()))
    return tuple(made)


def _guest_options(guest: Host, policy_out: str) -> dict[str, str]:
    if not guest.firewall_enabled:
        return {"enable": "0"}
    return {"enable": "1", "policy_in": "DROP", "policy_out": policy_out}


def _rules(
    derived: Iterable[firewall.Rule], operators: Iterable[IPv4Network], api: bool = False
) -> tuple[FirewallRule, ...]:
    found: dict[Identity, str] = {}
    for rule in derived:
        for identity in _identities(rule):
            found.setdefault(identity, rule.comment)
    ports = (firewall.SSH, firewall.PROXMOX_API) if api else (firewall.SSH,)
    for network in operators:
        for port in ports:
            identity = Identity("in", "ACCEPT", "tcp", str(port), _peer(network), None)
            found.setdefault(identity, OPERATOR)
    made = [FirewallRule(identity, comment) for identity, comment in found.items()]
    return tuple(sorted(made, key=lambda rule: rule.identity.action == "ACCEPT"))


def _identities(rule: firewall.Rule) -> list[Identity]:
    """A port needs a protocol in Proxmox VE: a rule without one becomes two."""
    protos: tuple[str | None, ...] = (rule.proto,)
    if rule.ports and rule.proto is None:
        protos = _PORT_PROTOCOLS
    peer = _peer(rule.peer)
    source, destination = (peer, None) if rule.direction == "in" else (None, peer)
    ports = rule.ports if rule.proto != "icmp" else None
    return [
        Identity(rule.direction, rule.action, proto, ports, source, destination) for proto in protos
    ]


def _peer(network: IPv4Network | None) -> str | None:
    if network is None or network.prefixlen == 0:
        return None
    return str(network.network_address) if network.prefixlen == 32 else str(network)


def options_write(scope: Scope, current: Mapping[str, Any]) -> Write | None:
    """The options of ours that differ; None if all hold. An absent `enable` is off."""
    defaults = {"enable": "0", "policy_in": "DROP", "policy_out": "ACCEPT"}
    data = {
        key: value
        for key, value in scope.options.items()
        if not _option_holds(key, value, str(current.get(key, defaults.get(key, ""))))
    }
    if not data:
        return None
    shown = ", ".join(f"{key}={value}" for key, value in data.items())
    return Write("PUT", f"{scope.path}/options", data, f"firewall of {scope.name}: {shown}")


def _option_holds(key: str, wanted: str, current: str) -> bool:
    if key == "enable":  # the cluster keeps the time at which it was switched on
        return (current not in ("", "0")) == (wanted != "0")
    return wanted == current


@dataclass(frozen=True)
class Placed:
    """A rule that is there."""

    pos: int
    identity: Identity | None
    enabled: bool
    comment: str
    ours: bool


def placed(row: Mapping[str, Any]) -> Placed:
    """A rule as the API shows it; `identity` is None where it has what ours never have."""
    comment = str(row.get("comment", "")).strip()
    plain = not any(row.get(key) for key in ("macro", "iface", "sport", "icmp-type", "log"))
    known = row.get("type") in ("in", "out")
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
        identity=identity if plain and known else None,
        enabled=str(row.get("enable", 0)) not in ("0", ""),
        comment=comment.removeprefix(OWN.strip()).strip(),
        ours=comment.startswith(OWN.strip()),
    )


def _address(text: str | None) -> str | None:
    try:
        return _peer(IPv4Network(text, strict=False)) if text else None
    except ValueError:
        return text  # a range, an alias or a set: never one of ours


def next_write(scope: Scope, rows: Sequence[Mapping[str, Any]]) -> Write | None:
    """The next single write that brings a scope's rules closer; None when they're as wanted.

    In an order that never lets through what neither the old nor the new rules allow, and never
    cuts off what both allow: refusals first, new permissions before old ones go, old refusals
    last. Deciding anew after each write makes it safe against a change by someone else.
    """
    digest = next((str(row["digest"]) for row in rows if "digest" in row), None)
    there = [placed(row) for row in rows]
    ours = [rule for rule in there if rule.ours]
    wanted = {rule.identity: rule.comment for rule in scope.rules}
    kept: dict[Identity, Placed] = {}
    stale: list[Placed] = []
    for rule in ours:
        if rule.identity in wanted and rule.identity not in kept:
            kept[rule.identity] = rule
        else:
            stale.append(rule)

    def edit(rule: Placed, data: Mapping[str, Any], verb: str) -> Write:
        guarded = {**data, "digest": digest} if digest else dict(data)
        return Write(
            "PUT", f"{scope.path}/rules/{rule.pos}", guarded,
            f"firewall of {scope.name}: {verb} {_shown(rule.identity)}",
        )  # fmt: skip

    missing = [identity for identity in wanted if identity not in kept]
    refusals = [i for i in missing if i.action != "ACCEPT"]
    if refusals:  # at the top and at once: what it refuses is to be refused from now on
        return _added(scope, refusals[-1], wanted[refusals[-1]], enabled=True)
    for identity, rule in kept.items():
        if identity.action != "ACCEPT" and not rule.enabled:
            return edit(rule, {"enable": 1}, "enable")
    # Refusals that are to stay, or that still guard what an old permission would let through.
    guards = [r for r in ours if r.identity and r.identity.action != "ACCEPT" and r.enabled]
    floor = max((rule.pos for rule in guards), default=-1)
    for identity, rule in kept.items():
        if identity.action == "ACCEPT" and rule.pos < floor:
            if rule.enabled:  # only by another's hand
                return edit(rule, {"enable": 0}, "disable, to move it,")
            return edit(rule, {"moveto": floor + 1}, "move below the refusals")
    for identity, rule in kept.items():
        if not rule.enabled:
            return edit(rule, {"enable": 1}, "enable")
    if missing:
        # A permission goes in at the top; where refusals of ours stand, first without effect.
        return _added(scope, missing[-1], wanted[missing[-1]], enabled=not guards)
    for identity, rule in kept.items():
        if rule.comment != wanted[identity]:
            return edit(rule, {"comment": OWN + wanted[identity]}, "comment")
    for accepting in (True, False):
        for rule in reversed(stale):
            if (rule.identity is None or rule.identity.action == "ACCEPT") == accepting:
                path = f"{scope.path}/rules/{rule.pos}"
                data = {"digest": digest} if digest else {}
                shown = f"firewall of {scope.name}: remove {_shown(rule.identity)}"
                return Write("DELETE", path, data, shown)
    return None


def _added(scope: Scope, identity: Identity, comment: str, *, enabled: bool) -> Write:
    data: dict[str, Any] = {
        "type": identity.direction,
        "action": identity.action,
        "enable": int(enabled),
        "comment": OWN + comment,
    }
    for key, value in (
        ("proto", identity.proto),
        ("dport", identity.ports),
        ("source", identity.source),
        ("dest", identity.destination),
    ):
        if value is not None:
            data[key] = value
    shown = f"firewall of {scope.name}: add {_shown(identity)}"
    return Write("POST", f"{scope.path}/rules", data, shown)


def _shown(identity: Identity | None) -> str:
    if identity is None:
        return "a rule that someone changed"
    peer = identity.source or identity.destination or "anyone"
    what = "/".join(part for part in (identity.proto, identity.ports) if part) or "anything"
    way = "from" if identity.direction == "in" else "to"
    return f"{identity.direction} {identity.action} {what} {way} {peer}"


def operator_networks(texts: Iterable[str], client_address: str | None) -> list[IPv4Network]:
    """Networks of the settings, and the address that SSH sees us come from.

    Raises:
        ValueError: one is no IPv4 network.
    """
    found = [IPv4Network(text, strict=False) for text in texts]
    if client_address:
        try:
            found.append(IPv4Network(IPv4Address(client_address)))
        except ValueError:
            pass  # by IPv6, which these rules leave alone
    return found


__all__ = ["Kind", "Scope", "Write", "next_write", "operator_networks", "options_write", "scopes"]
