"""Bridges of the networks that the hypervisor routes, and the NAT for them, as files.

A bridge that a person declared is left alone and compared; the others stand in one file of
interfaces(5), as ifupdown2 of Proxmox VE reads it. The table of nftables is `ip phoenix_nat`, and
no other is touched.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Interface
from typing import NamedTuple

from phoenix.site import unit_names
from phoenix.site.addressing import routed_networks
from phoenix.site.model import Site

MAIN_FILE = "/etc/network/interfaces"
FILE = "/etc/network/interfaces.d/phoenix"
FORWARDING = "/etc/sysctl.d/60-phoenix-networks.conf"
LIST = "/etc/phoenix/networks.list"
RULES = "/etc/phoenix/networks.nft"
MADE = "/var/lib/phoenix/networks.made"
"""The interfaces that the program brought up, a name a line."""
PROGRAM = "/usr/local/sbin/phoenix-networks"
UNIT = unit_names.NETWORKS
TABLE = "ip phoenix_nat"


class Device(NamedTuple):
    """An interface of the hypervisor: a bridge, or a VLAN on one (`parent` is its name).

    `address` is None where only VLANs of a bridge have one. `aware`: the bridge separates VLANs.
    """

    name: str
    address: IPv4Interface | None
    parent: str
    aware: bool


@dataclass(frozen=True)
class HostInterfaces:
    """The interfaces of a host as they are.

    Attributes:
        declared: the file that declares each, by the interface's name; `FILE` is left out.
        own: names that `FILE` declares, or that the program brought up.
        live: the IPv4 addresses with prefix length of each interface that is there.
        aware: bridges that separate VLANs.
    """

    declared: Mapping[str, str] = field(default_factory=dict)
    own: frozenset[str] = frozenset()
    live: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    aware: frozenset[str] = frozenset()


def devices(site: Site) -> tuple[Device, ...]:
    """The interfaces that the networks need, bridges first; not the bridge of the main network."""
    networks = routed_networks(site)
    bridges: dict[str, Device] = {}
    vlans = []
    for network in networks:
        assert network.subnet is not None  # noqa: S101  # for mypy: `routed` has no other
        address = IPv4Interface((f"{network.address}", network.subnet.prefixlen))
        bridge = bridges.get(network.bridge, Device(network.bridge, None, "", aware=False))
        if network.vlan is None:
            bridges[network.bridge] = bridge._replace(address=address)
        else:
            vlans.append(Device(network.place, address, network.bridge, aware=False))
            bridges[network.bridge] = bridge
    tagged = _tagged(site)
    bridges = {name: device._replace(aware=name in tagged) for name, device in bridges.items()}
    bridges.pop(site.networks[0].bridge, None)
    return (*bridges.values(), *vlans)


def _tagged(site: Site) -> frozenset[str]:
    """Bridges with a VLAN, whoever is its router: a guest's card with a tag needs one that
    separates them, or one with a port (`activate_bridge_vlan` of pve-common, src/PVE/Network.pm).
    """
    machines = (*site.guests, *site.templates)
    cards = frozenset(
        card.bridge for machine in machines for card in machine.interfaces if card.vlan is not None
    )
    return cards | {network.bridge for network in site.networks if network.vlan is not None}


def managed(site: Site, actual: HostInterfaces) -> tuple[Device, ...]:
    """The interfaces that Phoenix makes: those that nobody else declared or made."""
    return tuple(
        device
        for device in devices(site)
        if device.name not in actual.declared
        and (device.name in actual.own or device.name not in actual.live)
    )


def differences(site: Site, actual: HostInterfaces) -> Iterator[str]:
    """What a person's interfaces have otherwise than the site declares, each with the fix."""
    own_names = {device.name for device in managed(site, actual)}
    for device in devices(site):
        if device.parent == site.networks[0].bridge and device.parent not in actual.aware:
            yield _unaware(device.parent)
        if device.name in own_names:
            continue
        place = actual.declared.get(device.name)
        text = f"{device.name} ({f'declared in {place}' if place else 'made by hand'})"
        addresses = actual.live.get(device.name)
        if addresses is None:
            yield f"{text} is not there: run `ifup {device.name}` on the hypervisor"
            continue
        if device.address is not None and str(device.address) not in addresses:
            actual_addresses = ", ".join(addresses) or "no IPv4 address"
            yield (
                f"{text} has {actual_addresses}, and the site says {device.address}: correct one "
                "of the two"
            )
        if device.aware and device.name not in actual.aware:
            yield _unaware(device.name)


def _unaware(bridge: str) -> str:
    return f"{bridge} does not separate VLANs: give it `bridge-vlan-aware yes`, then `ifreload -a`"


def interfaces(own_devices: tuple[Device, ...]) -> str:
    """The interfaces as a file of interfaces(5), with the options of ifupdown2."""
    text = "# Made by Phoenix: deploys/networks.py. What another file declares is left alone.\n"
    for device in own_devices:
        how = "manual" if device.address is None else "static"
        lines = [f"auto {device.name}", f"iface {device.name} inet {how}"]
        lines += [] if device.address is None else [f"\taddress {device.address}"]
        if device.parent:
            lines += [f"\tvlan-raw-device {device.parent}"]
        else:
            lines += ["\tbridge-ports none", "\tbridge-stp off", "\tbridge-fd 0"]
        if device.aware:
            lines += ["\tbridge-vlan-aware yes", "\tbridge-vids 2-4094"]
        text += "\n" + "".join(f"{line}\n" for line in lines)
    return text


def listed(own_devices: tuple[Device, ...]) -> str:
    """The interfaces for the program, one a line: name, address or `-`, `aware` or `-`."""
    return "".join(
        f"{device.name} {device.address or '-'} {'aware' if device.aware else '-'}\n"
        for device in own_devices
    )


def ruleset(site: Site) -> str:
    """NAT as a file for `nft -f`: guests have the hypervisor's address outside the site alone."""
    inside = ", ".join(map(str, site.subnets))
    rules = "".join(
        f"\t\tip saddr {network.subnet} ip daddr != {{ {inside} }} "
        f'oifname != "{network.place}" masquerade comment "{network.name}"\n'
        for network in routed_networks(site)
        if network.nat
    )
    return (
        "# Made by Phoenix: deploys/networks.py. Loaded by phoenix-networks.\n"
        f"table {TABLE}\n"  # so that there is one to delete
        f"delete table {TABLE}\n"
        f"table {TABLE} {{\n"
        "\tchain postrouting {\n"
        "\t\ttype nat hook postrouting priority srcnat; policy accept;\n"
        f"{rules}\t}}\n}}\n"
    )
