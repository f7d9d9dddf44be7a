"""The site's flows as Proxmox VE firewall rules: each in its scope, compared as a set.

Only rules whose comment starts with `OWN` are ours; those of a person stay where they are. Proxmox
VE takes the first rule that matches and puts a new one at the top (pve-docs, chapter Firewall), so
what matters of the order is that our refusals stand above our permissions.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Literal, NamedTuple

from phoenix.derived import firewall
from phoenix.site.model import Host, Site
from phoenix.site.ports import PROXMOX_API, SSH

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
    summary: str


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
    ordered = [
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
    ordered.append(Scope("the node", f"nodes/{node}/firewall", {"enable": "1"}, hypervisor))
    # The cluster's rules act on every node; ours are in the node's own scope. Its `enable` is the
    # switch of everything, so it comes when all rules are there.
    options = {"enable": "1", "policy_in": "DROP", "policy_out": "ACCEPT"}
    ordered.append(Scope("the cluster", "cluster/firewall", options, ()))
    return tuple(ordered)


def _guest_options(guest: Host, policy_out: str) -> dict[str, str]:
    if not guest.firewall_enabled:
        return {"enable": "0"}
    return {"enable": "1", "policy_in": "DROP", "policy_out": policy_out}


def _rules(
    derived: Iterable[firewall.Rule], operators: Iterable[IPv4Network], api: bool = False
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
    settings = ", ".join(f"{key}={value}" for key, value in data.items())
    return Write("PUT", f"{scope.path}/options", data, f"firewall of {scope.name}: {settings}")


def _option_holds(key: str, desired: str, current: str) -> bool:
    if key == "enable":  # the cluster keeps the time at which it was switched on
        return (current not in ("", "0")) == (desired != "0")
    return desired == current


@dataclass(frozen=True)
class Placed:
    """One rule as it is on the hypervisor; `managed`: its comment says that it is ours."""

    pos: int
    identity: Identity | None
    enabled: bool
    comment: str
    managed: bool


def placed(row: Mapping[str, Any]) -> Placed:
    """A rule as the API shows it; `identity` is None where it has fields that we never write."""
    comment = str(row.get("comment", "")).strip()
    plain = not any(row.get(key) for key in ("macro", "iface", "sport", "icmp-type", "log"))
    has_direction = row.get("type") in ("in", "out")
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
    )


def _address(text: str | None) -> str | None:
    try:
        return _peer(IPv4Network(text, strict=False)) if text else None
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
        """The position of our last enabled refusal, stale ones too; -1 if there is none."""
        stale = [rule for rule in self.stale if not _accepts(rule.identity)]
        return max((rule.pos for rule in (*self.refusals, *stale) if rule.enabled), default=-1)


def next_write(scope: Scope, rows: Sequence[Mapping[str, Any]]) -> Write | None:
    """The next single write that brings a scope's rules closer; None when they are as desired.

    In an order that never lets through what neither the old nor the new rules allow, and never
    cuts off what both allow: refusals first, new permissions before old ones go, old refusals
    last. Each write is decided on fresh rules, so a change by someone else does no harm.
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
    for rule in map(placed, rows):
        if not rule.managed:
            continue
        if rule.identity in desired and rule.identity not in current:
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
    )


def _accepts(identity: Identity | None) -> bool:
    return identity is None or identity.action == "ACCEPT"


def _refusals(rules: _Sorted) -> Write | None:
    """Those that are missing, off, or below a permission that stays: at the top and at once."""
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


def operator_networks(texts: Iterable[str], client_address: str | None) -> list[IPv4Network]:
    """Networks of the settings, and the address that SSH sees us come from.

    Raises:
        ValueError: one is no IPv4 network.
    """
    networks = []
    for text in texts:
        try:
            networks.append(IPv4Network(text, strict=False))
        except ValueError:
            raise ValueError(f"{text} is no IPv4 network") from None
    if client_address:
        with contextlib.suppress(ValueError):  # by IPv6, which these rules leave alone
            networks.append(IPv4Network(IPv4Address(client_address)))
    return networks
