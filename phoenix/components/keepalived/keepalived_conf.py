"""keepalived's configuration on a gateway: which virtual addresses it may hold, and when.

Keywords follow keepalived.conf(5).
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address
from typing import NamedTuple

from phoenix.components.nginx.nginx_conf import ALIVE
from phoenix.components.programs import LIBRARY
from phoenix.derived.virtual_addresses import of_host, other_holders, own_address
from phoenix.files import render
from phoenix.site import unit_names
from phoenix.site.model import Host, Site
from phoenix.site.ports import LOOPBACK

CONFIG = "/etc/keepalived/keepalived.conf"
UNIT = unit_names.KEEPALIVED
KILLED = f"/etc/systemd/system/{UNIT}.d/killed.conf"
OF_NGINX = f"/etc/systemd/system/{unit_names.NGINX}.d/virtual-address.conf"
"""The drop-in by which the end of Nginx is told at once."""
ENDED = "/run/phoenix-nginx-ended"
NGINX_ANSWERS = f"{LIBRARY}/nginx-answers"
"""The program that asks Nginx on this guest."""
WAY = f"{LIBRARY}/way-to-traefik"
"""The program that compares this gateway's way to Traefik with the other one's."""
PACKAGES = ("keepalived", "curl", "iproute2", "iputils-arping")
_LAST_ROUTER = 255
"""RFC 5798, section 5.2.3: a virtual router's id is one byte, and not 0."""


class Instance(NamedTuple):
    """One virtual address on one gateway.

    `device` is the interface with `own`; `router` the id by which the two know that they speak of
    the same address.
    """

    network: str
    address: IPv4Address
    device: str
    own: IPv4Address
    peers: tuple[IPv4Address, ...]
    router: int


def instances(site: Site, host: Host, devices: Mapping[IPv4Address, str]) -> tuple[Instance, ...]:
    """The virtual addresses of a gateway, in the order of the site's networks.

    Args:
        site: the site.
        host: one of its gateways.
        devices: the interface that has an address, as far as the host has told; others are called
            as the site has them.
    """
    declared = {interface.address: interface.name for interface in host.interfaces}
    return tuple(
        Instance(
            network=virtual.network,
            address=virtual.address,
            device=devices.get(own_address(virtual, host)) or declared[own_address(virtual, host)],
            own=own_address(virtual, host),
            peers=tuple(peer.address for peer in other_holders(virtual, host)),
            router=int(virtual.address) % _LAST_ROUTER + 1,
        )
        for virtual in of_host(site, host)
    )


def config(host: Host, known: tuple[Instance, ...]) -> str:
    """The whole keepalived.conf of a gateway."""
    check_command = f"{NGINX_ANSWERS} {ALIVE} {LOOPBACK}"
    others = dict.fromkeys(peer for instance in known for peer in instance.peers)
    return render(
        "components/keepalived/keepalived.conf.j2",
        host=host.name,
        asked=check_command,
        way=" ".join((WAY, ALIVE, *map(str, (LOOPBACK, *others)))),
        ended=ENDED,
        instances=known,
    )


def of_nginx() -> str:
    """The drop-in for Nginx' unit that tells keepalived at once when it ends."""
    return render("components/keepalived/nginx.conf.j2", ended=ENDED)


def killed(known: tuple[Instance, ...]) -> str:
    """The drop-in by which systemd takes the addresses of one that was killed."""
    return render("components/keepalived/killed.conf.j2", instances=known, ended=ENDED)
