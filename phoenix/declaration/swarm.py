"""Nodes of the site's Docker Swarm, from the guests' entries."""

from __future__ import annotations

from collections.abc import Mapping, Set

from phoenix.declaration.guests import Entry
from phoenix.declaration.json_errors import join
from phoenix.declaration.json_keys import RawSwarmNetwork
from phoenix.derived import swarm
from phoenix.site.findings import Report
from phoenix.site.model import Network, Site, SwarmNetwork, SwarmNode

_KEYS = ("node_labels", "node_availability")
_SMALLEST = 28
"""Longest prefix of an overlay network: 13 addresses for tasks and nodes."""


def node(entry: Entry, roles: Set[str], report: Report) -> SwarmNode | None:
    """A guest as a node of the swarm; None where it is not declared as one, or cannot be one.

    Args:
        entry: the guest as declared.
        roles: its roles.
        report: takes what cannot work, and a node's keys on a guest that is not a node.
    """
    raw = entry.raw
    if raw.swarm_role is None:
        for key in _KEYS:
            if getattr(raw, key):
                report.warn(
                    *entry.at(key),
                    "not used: the guest is not a node of the swarm",
                    'write "swarm_role": "worker", or remove it',
                )
        return None
    if entry.kind == "lxc":
        report.error(
            *entry.at("swarm_role"),
            "a container is not a node of a swarm: overlay networks and IPsec need rights in the "
            "kernel that it does not have",
            "make it a VM, or remove swarm_role",
        )
        return None
    if "docker" not in roles:
        report.error(
            *entry.at("swarm_role"),
            "a node of a swarm runs Docker, which this guest does not",
            'write "role": "docker", or add "docker" to its features',
        )
        return None
    labels: dict[str, str] = {}
    for position, text in enumerate(raw.node_labels):
        name, _, value = text.partition("=")
        where = entry.at(f"node_labels[{position}]")
        if name.startswith(swarm.OWN):
            report.error(*where, f"{name} is a label of Phoenix' own", "write another name")
        elif labels.setdefault(name, value) != value:
            report.error(*where, f"{name} has another value above", "write the label once")
    return SwarmNode(
        role=raw.swarm_role,
        labels=tuple(sorted(labels.items())),
        availability=raw.node_availability or "active",
    )


def networks(
    declared: Mapping[str, RawSwarmNetwork], known: tuple[Network, ...], file: str, report: Report
) -> tuple[SwarmNetwork, ...]:
    """The swarm's overlay networks.

    Args:
        declared: `site.swarm_networks`, by name.
        known: the site's networks, which none of them may overlap.
        file: where they are declared.
        report: takes addresses that overlap or are too few.
    """
    in_use = [
        (network.subnet, f"the network {network.name}") for network in known if network.subnet
    ]
    for name, raw in sorted(declared.items()):
        if raw.subnet is None:
            continue
        where = join(join("site.swarm_networks", name), "subnet")
        if raw.subnet.prefixlen > _SMALLEST:
            report.error(
                file, where,
                f"{raw.subnet} has no room: a task, and each node, takes an address",
                f"write a network of prefix length {_SMALLEST} or less, as /24",
            )  # fmt: skip
        for other, use in in_use:
            if raw.subnet.overlaps(other):
                report.error(
                    file, where, f"{raw.subnet} overlaps {other}: {use}",
                    "write addresses that nothing else uses, or leave subnet out",
                )  # fmt: skip
        in_use.append((raw.subnet, f"the network {name} of the swarm"))
    return tuple(
        SwarmNetwork(name=name, **raw.model_dump(include={"encrypted", "attachable", "subnet"}))
        for name, raw in sorted(declared.items())
    )


def check(site: Site, file: str, report: Report) -> None:
    """Refuse a swarm that cannot be, and tell of one that survives less than it seems to.

    Args:
        site: whose swarm it is.
        file: where `site.swarm_networks` is declared.
        report: takes the findings.
    """
    nodes = site.swarm_nodes
    if site.swarm_networks and not nodes:
        report.error(
            file, "site.swarm_networks", "the site has no swarm that could have networks",
            'write "swarm_role": "manager" for a VM with Docker, or remove them',
        )  # fmt: skip
    managers = [candidate for candidate in nodes if candidate.is_manager]
    if nodes and not managers:
        first = nodes[0]
        report.error(
            first.source.file, f"{first.source.path}.swarm_role",
            "the swarm has workers and no manager",
            f'write "swarm_role": "manager" for {first.name} or another node',
        )  # fmt: skip
    if managers and len(managers) % 2 == 0:
        last = managers[-1]
        report.warn(
            last.source.file, f"{last.source.path}.swarm_role",
            f"{len(managers)} managers survive the loss of {_survived(len(managers))}, as "
            f"{len(managers) - 1} would: more than half must agree (Raft)",
            "declare an odd number of managers: 1, 3 or 5",
        )  # fmt: skip
    for host in nodes:
        addresses = swarm.addresses_met(site, host)
        if len(addresses) > 1:
            report.error(
                host.source.file, f"{host.source.path}.swarm_role",
                f"other nodes meet {host.name} at {' and '.join(map(str, addresses))}: a node of a "
                "swarm has one address",
                "give the nodes of the swarm one network in common, and only one",
            )  # fmt: skip


def _survived(managers: int) -> str:
    lost = (managers - 1) // 2
    return "none" if lost == 0 else str(lost)
