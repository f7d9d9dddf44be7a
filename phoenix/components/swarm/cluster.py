"""A Docker Swarm as one of its hosts tells it, and what differs from the declaration. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, ip_network
from typing import Any, Literal

from phoenix.derived.swarm import LABEL, NETWORK_LABEL, OWN
from phoenix.site.model import Host, SwarmNetwork, SwarmNode

State = Literal["absent", "silent", "inactive", "pending", "active", "error", "locked"]
"""Docker's own word (LocalNodeState); `absent`: there is none, `silent`: it does not answer."""
NO_QUORUM = "does not have a leader"
"""What managers say that are too few (swarmkit, manager/state/raft)."""


class SwarmError(ValueError):
    """What Docker told is not of the form that is known."""


@dataclass(frozen=True)
class Node:
    """One node as the managers list it.

    Attributes:
        id: Docker's id of it, of its own for each time that a host joins.
        address: by which the swarm knows it; empty where none is told.
        role: `manager` or `worker`, as it is wanted.
        availability: `active`, `pause` or `drain`.
        state: `ready`, `down`, `disconnected` or `unknown`.
        reachability: of a manager `reachable`, `unreachable` or `unknown`; else empty.
        labels: its labels, by name.
    """

    id: str
    address: str
    role: str
    availability: str
    state: str
    reachability: str
    labels: Mapping[str, str]

    @property
    def name(self) -> str:
        """The host of ours that it is, by our label; empty for a person's node."""
        return self.labels.get(LABEL, "")

    @property
    def declared_labels(self) -> tuple[tuple[str, str], ...]:
        """Its labels without ours, in the order of names."""
        return tuple(sorted((k, v) for k, v in self.labels.items() if not k.startswith(OWN)))


@dataclass(frozen=True)
class Overlay:
    """One overlay network as a manager tells it.

    Attributes:
        id: Docker's id of it.
        name: its name.
        encrypted: whether its traffic between nodes is.
        attachable: whether containers that are no service's may join it.
        subnets: its addresses; none are told before its first task.
        ours: whether it has our label.
    """

    id: str
    name: str
    encrypted: bool
    attachable: bool
    subnets: tuple[str, ...]
    ours: bool


@dataclass(frozen=True)
class Swarm:
    """What one host tells of the swarm that it is in.

    Attributes:
        state: of this host in it.
        node: this host's id in it; empty where it is in none.
        manages: whether this host is a manager.
        error: what Docker tells as wrong; empty for nothing.
        pools: where its networks are from, where a manager tells it.
        nodes: all nodes, likewise.
        overlays: all overlay networks, likewise; without Docker's own.
    """

    state: State = "absent"
    node: str = ""
    manages: bool = False
    error: str = ""
    pools: tuple[str, ...] = ()
    nodes: tuple[Node, ...] = ()
    overlays: tuple[Overlay, ...] = ()

    @property
    def joined(self) -> bool:
        """Whether the host is in a swarm, however well that is; a try that failed is none."""
        return self.state in ("active", "locked") or (
            self.state in ("pending", "error") and bool(self.node)
        )

    @property
    def answers(self) -> bool:
        """Whether the host can be asked to change the swarm: a manager among enough others."""
        return self.state == "active" and self.manages and not self.error and bool(self.nodes)

    @property
    def is_ours(self) -> bool:
        """Whether a manager tells it, and has a node of ours in it."""
        return self.answers and any(node.name for node in self.nodes)

    @property
    def ranges(self) -> tuple[IPv4Network, ...]:
        """Its pools as networks."""
        networks = (ip_network(pool) for pool in self.pools)
        return tuple(network for network in networks if isinstance(network, IPv4Network))


def read(info: str, nodes: Iterable[str], networks: Iterable[str] = ()) -> Swarm:
    """A swarm from Docker's own JSON.

    Args:
        info: `.Swarm` of GET /info.
        nodes: each node of GET /nodes.
        networks: each overlay network of GET /networks.

    Raises:
        SwarmError: it is of another form.
    """
    try:
        data = json.loads(info)
        cluster = data.get("Cluster") or {}
        return Swarm(
            state=data["LocalNodeState"],
            node=data.get("NodeID") or "",
            manages=bool(data.get("ControlAvailable")),
            error=data.get("Error") or "",
            pools=tuple(cluster.get("DefaultAddrPool") or ()),
            nodes=tuple(_node(json.loads(line)) for line in nodes),
            overlays=tuple(
                _overlay(network)
                for network in map(json.loads, networks)
                if not network.get("Ingress")
            ),
        )
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise SwarmError(f"Docker tells of its swarm in another form: {error}") from None


def _node(data: Mapping[str, Any]) -> Node:
    manager = data.get("ManagerStatus") or {}
    # A leader knows itself by 0.0.0.0 in its Status.
    address = str(manager.get("Addr") or "").rpartition(":")[0] or data["Status"].get("Addr") or ""
    return Node(
        id=data["ID"],
        address=address,
        role=data["Spec"]["Role"],
        availability=data["Spec"]["Availability"],
        state=data["Status"]["State"],
        reachability=manager.get("Reachability") or "",
        labels=dict(data["Spec"].get("Labels") or {}),
    )


def _overlay(data: Mapping[str, Any]) -> Overlay:
    labels, config = data.get("Labels") or {}, (data.get("IPAM") or {}).get("Config") or ()
    return Overlay(
        id=data["Id"],
        name=data["Name"],
        encrypted="encrypted" in (data.get("Options") or {}),
        attachable=bool(data.get("Attachable")),
        subnets=tuple(entry["Subnet"] for entry in config if entry.get("Subnet")),
        ours=NETWORK_LABEL in labels,
    )


def overlay_differs(declared: SwarmNetwork, actual: Overlay) -> tuple[str, ...]:
    """What differs between a declared overlay network and the one of its name, in words.

    Docker changes none of it on a network that is there.
    """
    words = []
    for name, should, is_set in (
        ("encrypted", declared.encrypted, actual.encrypted),
        ("attachable", declared.attachable, actual.attachable),
    ):
        if should != is_set:
            words.append(f"it is {'not ' if should else ''}{name}")
    if declared.subnet and actual.subnets != (str(declared.subnet),):
        words.append(
            f"its addresses are {', '.join(actual.subnets) or 'none'}, not {declared.subnet}"
        )
    return tuple(words)


def overlays_left(swarm: Swarm, declared: Iterable[SwarmNetwork]) -> tuple[Overlay, ...]:
    """Overlay networks with our label that are not declared, as a manager lists them."""
    names = {network.name for network in declared}
    return tuple(
        overlay for overlay in swarm.overlays if overlay.ours and overlay.name not in names
    )


@dataclass(frozen=True)
class Change:
    """What is to change of one node: for a person, and as arguments of `docker node update`."""

    words: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    role: str = ""

    def __bool__(self) -> bool:
        """Whether there is anything to change."""
        return bool(self.arguments or self.role)


def labels_of(name: str, declared: SwarmNode) -> dict[str, str]:
    """The desired labels of a node."""
    return {**dict(declared.labels), LABEL: name}


def change(name: str, declared: SwarmNode, node: Node | None) -> Change:
    """What differs between a declared node and what the managers have of it.

    Args:
        name: the host.
        declared: as declared.
        node: as the managers have it; None: it has just joined, by its role and availability.
    """
    present = dict(node.labels) if node else {}
    labels = labels_of(name, declared)
    words: list[str] = []
    arguments: list[str] = []
    for key in sorted(present.keys() - labels.keys()):
        words.append(f"label {key}={present[key]} goes, which is not declared")
        arguments += ["--label-rm", key]
    for key, value in labels.items():
        if present.get(key) == value:
            continue
        was = f", it was {present[key]}" if key in present else ""
        if not key.startswith(OWN):
            words.append(f"label {key}={value}{was}")
        else:
            words.append("known as ours from now on")
        arguments += ["--label-add", f"{key}={value}"]
    if node and node.availability != declared.availability:
        words.append(f"availability {declared.availability}, it was {node.availability}")
        if declared.availability == "drain":
            words.append("its tasks move to other nodes")
        arguments += ["--availability", declared.availability]
    role = ""
    if node and node.role != declared.role:
        role = declared.role
        words.append("becomes a manager" if role == "manager" else "becomes a worker")
    return Change(tuple(words), tuple(arguments), role)


def of_host(swarm: Swarm, name: str, node_id: str) -> Node | None:
    """The node that a host is, in the list of a manager.

    Args:
        swarm: as a manager tells it.
        name: the host.
        node_id: its id as the host tells it; empty where it told none. An entry of an earlier time
            that the same host had joined has another.
    """
    if node_id:
        return next((node for node in swarm.nodes if node.id == node_id), None)
    same_name = [node for node in swarm.nodes if node.name == name]
    return next(
        (node for node in same_name if node.state == "ready"), same_name[0] if same_name else None
    )


def left(swarm: Swarm, declared: Iterable[Host], node_ids: Mapping[str, str]) -> tuple[Node, ...]:
    """Nodes with our label that no host of the declaration is, as a manager lists them.

    Args:
        swarm: as a manager tells it.
        declared: the site's nodes.
        node_ids: each host's id in the swarm, as it tells it itself.
    """
    names = {host.name for host in declared}
    return tuple(
        node
        for node in swarm.nodes
        if node.name and (node.name not in names or node_ids.get(node.name, node.id) != node.id)
    )


def managers_first(hosts: Sequence[Host]) -> tuple[Host, ...]:
    """Hosts in the order in which they are asked about the swarm."""
    return tuple(sorted(hosts, key=lambda host: (host.swarm is None, not host.is_manager)))
