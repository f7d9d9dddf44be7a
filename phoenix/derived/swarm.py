"""The site's Docker Swarm: who meets whom, and where."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Literal, NamedTuple

from phoenix.site.addressing import address_pair
from phoenix.site.model import Host, Site
from phoenix.site.ports import SWARM, SWARM_GOSSIP, SWARM_OVERLAY

OWN = "phoenix."
"""What the names of Phoenix' own labels begin with."""
LABEL = f"{OWN}node"
"""The label that each node of ours has: its host's name. By it a node of ours is told from a
person's, whatever its machine calls itself."""

NETWORK_LABEL = f"{OWN}network"
"""The label that each overlay network of ours has: its name."""


class Opened(NamedTuple):
    """A port that nodes of a swarm open to each other; None where the protocol has none."""

    proto: Literal["tcp", "udp", "esp"]
    port: int | None
    of_managers: bool
    why: str


PORTS = (
    Opened("tcp", SWARM, True, "managers of the swarm"),
    Opened("tcp", SWARM_GOSSIP, False, "nodes of the swarm, of each other"),
    Opened("udp", SWARM_GOSSIP, False, "nodes of the swarm, of each other"),
    Opened("udp", SWARM_OVERLAY, False, "overlay networks of the swarm (VXLAN)"),
    Opened("esp", None, False, "encrypted overlay networks of the swarm (IPsec)"),
)
"""https://docs.docker.com/engine/swarm/swarm-tutorial/#open-protocols-and-ports-between-the-hosts"""


class Between(NamedTuple):
    """What one node opens on another."""

    source: Host
    target: Host
    opened: Opened


def flows_between_nodes(site: Site) -> Iterator[Between]:
    """What the nodes open on each other: nobody else needs any of it."""
    for target in site.swarm_nodes:
        for source in site.swarm_nodes:
            for opened in PORTS:
                if source != target and (target.is_manager or not opened.of_managers):
                    yield Between(source, target, opened)


def addresses_met(site: Site, host: Host) -> tuple[IPv4Address, ...]:
    """The addresses at which other nodes meet one: a swarm needs them to be one.

    Its managed address where it is the only node.
    """
    others = [other for other in site.swarm_nodes if other != host]
    met = [address_pair(other, host).target for other in others]
    met += [address_pair(host, other).source for other in others]
    return tuple(dict.fromkeys(met)) or (host.address,)


def advertised(site: Site, host: Host) -> IPv4Address:
    """The address by which a node is known in the swarm, and that its overlays end at."""
    return addresses_met(site, host)[0]
