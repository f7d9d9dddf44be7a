"""The site's networks from the hypervisor's file, and each guest's interfaces in them."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import NamedTuple

from phoenix.declaration.guests import Entry
from phoenix.declaration.hypervisor_file import (
    HYPERVISOR_FILE,
    HypervisorFile,
    NamedNetwork,
    RawNamedNetwork,
)
from phoenix.declaration.json_keys import RawNetwork, RawVm, RawVmDefaults
from phoenix.site.findings import Report
from phoenix.site.model import Host, Interface, Network, Site

MAIN = "lan"
"""Name of the network of the hypervisor's own address, where the file gives it none."""
_VLAN = re.compile(r"(.+)\.([1-9][0-9]{0,3})\Z")
_HIGHEST_TAG = 4094  # IEEE 802.1Q


def bridge_and_tag(text: str) -> tuple[str, int | None]:
    """A bridge as the original system writes it: `vmbr0.20` is VLAN 20 of vmbr0."""
    match = _VLAN.match(text)
    if match and int(match[2]) <= _HIGHEST_TAG:
        return match[1], int(match[2])
    return text, None


def _has_wrong_tag(bridge: str) -> bool:
    match = re.fullmatch(r"(.+)\.([0-9]+)", bridge)
    return match is not None and bridge_and_tag(bridge)[1] is None


def _wrong_tag(bridge: str) -> tuple[str, str]:
    """What is wrong with a bridge whose suffix is no VLAN tag, and the fix."""
    return (
        f"{bridge} ends with no VLAN tag: these are 1 to {_HIGHEST_TAG} (IEEE 802.1Q)",
        "write a tag, as vmbr0.20, or a bridge without one",
    )


def networks(file: HypervisorFile, hypervisor: Host, report: Report) -> tuple[Network, ...]:
    """The networks of a site, that of the hypervisor's own address first.

    Args:
        file: what the hypervisor's file declares.
        hypervisor: with its own address and gateway.
        report: takes networks that overlap, or that cannot be.
    """
    parent_network = hypervisor.alone.supernet(new_prefix=hypervisor.prefixlen)
    uplink = file.raw.network.interfaces
    first = Network(
        name=MAIN, subnet=parent_network, bridge=uplink.name if uplink else "vmbr0", vlan=None,
        gateway=hypervisor.gateway, address=hypervisor.address, dhcp=False, nat=False,
        path="network.interfaces",
    )  # fmt: skip
    others = []
    for declared in file.networks:
        network = _network(declared, report)
        if network is None:
            continue
        if network.subnet == parent_network:
            first = _main(network, first, report)
        else:
            others.append(network)
    for other in others:
        if other.name == first.name:
            _error(
                other,
                "",
                f"{MAIN} is the hypervisor's own network, {parent_network}",
                "rename it",
                report,
            )
    _check_apart((first, *others), report)
    for other in others:
        if other.nat and (other.bridge, other.vlan) == (first.bridge, first.vlan):
            message = f"the hypervisor cannot be the router of {first.bridge}, which has its own"
            _error(
                other, ".bridge", message, "write another bridge, which nothing else uses", report
            )
    return (first, *others)


def _check_apart(known: Sequence[Network], report: Report) -> None:
    """Refuse two networks of which an address, or a lease, could not tell one."""
    for network, other in itertools.combinations(known, 2):
        if network.subnet and other.subnet and network.subnet.overlaps(other.subnet):
            message = f"{other.subnet} overlaps {network.subnet} of the network {network.name}"
            _error(other, ".subnet", message, "give each network addresses of its own", report)
        if network.dhcp and other.dhcp and network.place == other.place:
            message = (
                f"the network {network.name} has DHCP on {network.place} as well, and a lease "
                "is in one"
            )
            _error(other, ".dhcp", message, "keep one of the two, or write another VLAN", report)


def _main(declared: Network, first: Network, report: Report) -> Network:
    for key in ("gateway", "address"):
        value, own = getattr(declared, key), getattr(first, key)
        if value not in (None, own):
            message = f"{value} differs from the hypervisor's, which is {own}"
            _error(declared, f".{key}", message, "leave it out here", report)
    if declared.nat:
        message = f"the network's router is {first.gateway}, and not the hypervisor"
        _error(declared, ".nat", message, "leave it out here", report)
    return declared.model_copy(update={"gateway": first.gateway, "address": first.address})


def _network(declared: NamedNetwork, report: Report) -> Network | None:
    raw = declared.raw
    bridge, tag = bridge_and_tag(raw.bridge)
    before = len(report.errors)
    address = raw.address
    if raw.nat and address is None and raw.subnet is not None:
        address = raw.gateway or next(iter(raw.subnet.hosts()))
    network = Network(
        name=declared.name, subnet=raw.subnet, bridge=bridge, vlan=raw.vlan or tag,
        gateway=raw.gateway or (address if raw.nat else None), address=address,
        dhcp=raw.dhcp, nat=raw.nat, path=declared.path, managed=raw.managed,
        own_dns=raw.own_dns,
    )  # fmt: skip
    _check_place(network, raw, tag, address, report)
    if raw.subnet is None:
        if not raw.dhcp:
            message = "a network without DHCP needs its addresses"
            _error(network, ".subnet", message, 'write "subnet", as "172.16.100.0/24"', report)
        for key in ("gateway", "address", "nat"):
            if getattr(raw, key):
                message = f"{key} needs the network's addresses"
                _error(network, f".{key}", message, 'write "subnet" too', report)
    for key, value in (("gateway", network.gateway), ("address", network.address)):
        if value is not None and network.subnet is not None and not is_host(value, network.subnet):
            message = f"{value} is not a host address of {network.subnet}"
            _error(network, f".{key}", message, f"write a free address of {network.subnet}", report)
    return network if len(report.errors) == before else None


def _check_place(
    network: Network,
    raw: RawNamedNetwork,
    tag: int | None,
    address: IPv4Address | None,
    report: Report,
) -> None:
    """Tell of a bridge or a router that contradicts the network's other keys."""
    if _has_wrong_tag(raw.bridge):
        _error(network, ".bridge", *_wrong_tag(raw.bridge), report)
    if raw.nat and network.gateway != address:
        report.warn(
            HYPERVISOR_FILE,
            f"{network.path}.gateway",
            f"with nat the hypervisor is the router, at {address}, and guests use "
            f"{network.gateway}",
            "leave gateway out, or nat",
        )
    if raw.vlan and tag and raw.vlan != tag:
        message = f"{raw.vlan} differs from the tag of {raw.bridge}"
        _error(network, ".vlan", message, "write one of the two", report)


def is_host(address: IPv4Address, network: IPv4Network) -> bool:
    """Whether a host of the network can have this address."""
    ends = (network.network_address, network.broadcast_address)
    return address in network and (address not in ends or network.prefixlen > 30)


def _error(network: Network, key: str, message: str, fix: str, report: Report) -> None:
    report.error(HYPERVISOR_FILE, f"{network.path}{key}", message, fix)


class Card(NamedTuple):
    """One network card as declared: its key in the guest's entry, and its shape."""

    key: str
    raw: RawNetwork
    mac: str | None
    mac_key: str


def cards(entry: Entry) -> tuple[Card, ...]:
    """A guest's network cards, in the order in which it has them."""
    raw = entry.raw
    first = raw.network_config
    mac_key = "mac_address" if raw.mac_address else "network_config.hwaddr"
    declared = [Card("network_config", first, raw.mac_address or first.hwaddr, mac_key)]
    if raw.secondary_network_config is not None:
        second = raw.secondary_network_config
        key = "secondary_network_config"
        declared.append(Card(key, second, second.hwaddr, f"{key}.hwaddr"))
    return tuple(declared)


def interfaces(
    entry: Entry, known: Sequence[Network], defaults: RawVmDefaults, report: Report, *, runs: bool
) -> tuple[Interface, ...]:
    """A guest's interfaces, each in its network.

    Args:
        entry: the guest.
        known: the site's networks.
        defaults: what a VM has where its entry is silent.
        report: takes an interface that contradicts its network.
        runs: whether the guest is no template, and so has its network's gateway by default.
    """
    declared = cards(entry)
    raw = entry.raw
    own_mac = raw.network_config.hwaddr
    if raw.mac_address and own_mac and raw.mac_address != own_mac:
        report.error(
            *entry.at("network_config.hwaddr"),
            f"{own_mac} differs from mac_address, which is {raw.mac_address}",
            "write one of the two",
        )
    macs = [card.mac for card in declared if card.mac]
    if len(set(macs)) < len(macs):
        report.error(
            *entry.at(declared[-1].mac_key),
            f"duplicate MAC address {macs[-1]}: the other interface has it",
            "change one of the two",
        )
    resolved = tuple(
        _interface(entry, card, position, known, defaults, report, runs=runs)
        for position, card in enumerate(declared)
    )
    if len(resolved) > 1:
        _check_pair(entry, resolved, report)
    routed = [card for card in declared if card.raw.gw]
    for card in routed[1:]:
        report.error(
            *entry.at(f"{card.key}.gw"),
            f"a second default gateway; {routed[0].key} has one",
            "leave gw out of one of the two",
        )
    if len(resolved) > 1 and len(routed) == 1:
        leased = [card for card in declared if card.raw.ip is None and card is not routed[0]]
        for card in leased:
            report.warn(
                *entry.at(f"{routed[0].key}.gw"),
                f"the lease of {card.key} brings a default gateway as well, and the guest's own "
                "network configuration chooses one",
                "leave gw out: the site's own networks are reached without it",
            )
    if len(resolved) == 1:
        return resolved
    # One default gateway: the written one, else that of the lease, else of the first interface.
    chosen = next((position for position, card in enumerate(declared) if card.raw.gw), None)
    if chosen is None and all(interface.address is not None for interface in resolved):
        chosen = 0
    return tuple(
        interface if position == chosen else interface.model_copy(update={"gateway": None})
        for position, interface in enumerate(resolved)
    )


def _check_pair(entry: Entry, pair: Sequence[Interface], report: Report) -> None:
    """Refuse two interfaces that cannot be on one guest, or whose routes would be ambiguous."""
    first, other = pair[0], pair[1]
    key = "secondary_network_config"
    if first.name == other.name:
        report.error(
            *entry.at(f"{key}.name"),
            f"both interfaces are called {first.name}",
            "write another name, or leave it out",
        )
    if first.network and first.network == other.network and first.address and other.address:
        report.error(
            *entry.at(f"{key}.ip"),
            f"{first.address} and {other.address} are both in the network {first.network}: "
            "connections would leave by either",
            "write an address of another network, or remove one of the two interfaces",
        )


def tell_unused(
    known: Sequence[Network], guests: Iterable[Sequence[Interface]], report: Report
) -> None:
    """Tell of networks that nothing follows from.

    Args:
        known: the site's networks.
        guests: the interfaces of each guest.
        report: takes the findings.
    """
    used = {card.network for cards_ in guests for card in cards_}
    for network in known[1:]:
        if network.subnet is None and network.name not in used:
            report.warn(
                HYPERVISOR_FILE,
                network.path,
                f"no guest has an interface on {network.place}, so nothing uses the network "
                f"{network.name}",
                "give a guest an interface there, or remove it",
            )


def _interface(
    entry: Entry, card: Card, position: int, known: Sequence[Network], defaults: RawVmDefaults,
    report: Report, *, runs: bool,
) -> Interface:  # fmt: skip
    raw = card.raw
    vm = entry.raw if isinstance(entry.raw, RawVm) else None
    text = raw.bridge or (vm and vm.network_bridge)
    bridge, tag = bridge_and_tag(text) if text else (None, None)
    if raw.ip is None:
        place = (bridge or defaults.network_bridge, tag)
        network = next(
            (
                candidate
                for candidate in known
                if candidate.dhcp and (candidate.bridge, candidate.vlan) == place
            ),
            None,
        )
    else:
        network = next(
            (candidate for candidate in known if candidate.subnet == raw.ip.network), None
        )
    further = network if network is not known[0] else None
    if further and raw.ip is not None and raw.bridge is None:
        text, bridge, tag = None, None, None  # network_bridge is of the hypervisor's own network
    if further and bridge and (bridge, tag) != (further.bridge, further.vlan):
        report.error(
            *entry.at(f"{card.key}.bridge"),
            f"{raw.ip} is in the network {further.name}, which is on {further.place}, not {text}",
            "leave bridge out, or correct one of the two",
        )
    if network is known[0] and tag is not None and tag != network.vlan:
        report.warn(
            *entry.at(f"{card.key}.bridge"),
            f"{raw.ip} is in the network {network.name}, which is on {network.place}, not {text}",
            "leave bridge out, or correct one of the two",
        )
    gateway = raw.gw.network_address if raw.gw else None
    if gateway is None and runs and network is not None and raw.ip is not None:
        gateway = network.gateway
    if bridge is None:
        bridge = further.bridge if further else defaults.network_bridge
        tag = further.vlan if further else None
    return Interface(
        name=raw.name if position == 0 or "name" in raw.model_fields_set else f"eth{position}",
        network=network.name if network else "",
        bridge=bridge,
        vlan=tag,
        address=raw.ip.ip if raw.ip else None,
        prefixlen=raw.ip.network.prefixlen if raw.ip else None,
        gateway=gateway,
        mac=card.mac,
    )


def _no_lease(place: tuple[str, int | None]) -> tuple[str, str]:
    bridge, tag = place
    where = f"{bridge}, VLAN {tag}" if tag else bridge
    keys = json.dumps({"bridge": bridge, **({"vlan": tag} if tag else {}), "dhcp": True})
    return (
        f"no network with DHCP is declared on {where}",
        f'declare it in {HYPERVISOR_FILE}: "networks": {{"NAME": {keys}}}',
    )


def addresses(
    entries: Sequence[Entry], hypervisor: Host, known: Sequence[Network], report: Report
) -> None:
    """Refuse an address in no network of the site, or one that is taken by its own nature."""
    # Of a network that is refused nobody can tell who is in it.
    whole = not any(
        finding.file == HYPERVISOR_FILE and finding.path.startswith("network")
        for finding in report.errors
    )
    for entry in entries:
        declared = cards(entry)
        for card in declared:
            if card.raw.bridge and _has_wrong_tag(card.raw.bridge):
                report.error(*entry.at(f"{card.key}.bridge"), *_wrong_tag(card.raw.bridge))
        static = any(card.raw.ip is not None for card in declared)
        for card in declared:
            if card.raw.ip is not None:
                _check_address(entry, card, hypervisor, known, report, whole=whole)
            elif static and whole:  # else the guest is a template, or refused for having no address
                _check_lease(entry, card, known, report)


def _check_lease(entry: Entry, card: Card, known: Sequence[Network], report: Report) -> None:
    raw = entry.raw
    text = card.raw.bridge or (isinstance(raw, RawVm) and raw.network_bridge) or "vmbr0"
    place = bridge_and_tag(text)
    if not any(network.dhcp and (network.bridge, network.vlan) == place for network in known):
        report.error(*entry.at(f"{card.key}.ip"), *_no_lease(place))


def _check_address(
    entry: Entry, card: Card, hypervisor: Host, known: Sequence[Network], report: Report, *,
    whole: bool,
) -> None:  # fmt: skip
    config = card.raw
    where = entry.at(f"{card.key}.ip")
    if config.ip is None:
        return
    address, subnet = config.ip.ip, config.ip.network
    network = next((candidate for candidate in known if candidate.subnet == subnet), None)
    main = known[0].subnet
    fix = f"use a free address of {subnet if network else main}"
    gateways = {config.gw.network_address} if config.gw else set()
    gateways |= {network.gateway} if network and network.gateway else set()
    used_addresses = {network.address for network in known if network.address} | {
        hypervisor.address
    }
    if network is None and not whole:
        return
    if network is None:
        message = f"{config.ip} is outside the site's network {main}"
        if len(known) > 1:
            names = ", ".join(
                f"{candidate.name} {candidate.subnet}" for candidate in known if candidate.subnet
            )
            message = f"{config.ip} is outside the site's networks: {names}"
        report.error(*where, message, fix)
    elif address in (subnet.network_address, subnet.broadcast_address):
        report.error(*where, f"{address} is the network's own or broadcast address", fix)
    elif address in gateways:
        report.error(*where, f"{address} is the network's gateway", fix)
    elif address in used_addresses:
        report.error(*where, f"{address} is the hypervisor's address", fix)
    if config.gw and config.gw.network_address not in subnet:
        report.error(
            *entry.at(f"{card.key}.gw"),
            f"gateway {config.gw.network_address} is outside {subnet}",
            f"write a gateway of {subnet}, such as {(network or known[0]).gateway}",
        )


def outer_names(site: Site, report: Report) -> None:
    """Warn of a gateway by DHCP, whose address there no record can have."""
    known = {network.name: network for network in site.networks}
    keys = ("network_config", "secondary_network_config")
    cards = [
        (gateway, key, card)
        for gateway in site.gateways
        for key, card in zip(keys, gateway.interfaces, strict=False)
    ]
    for gateway, key, interface in cards:
        network = known.get(interface.network)
        if interface.address is not None or network is None or network.own_dns:
            continue
        place = f"networks.{network.name}"
        if network.path != place:  # in the original system's form, which has no key for it
            place += f", in the place of {network.path}"
        report.warn(
            gateway.source.file,
            f"{gateway.source.path}.{key}.ip",
            f"DNS answers clients in the network {network.name} with {gateway.address}: the "
            "gateway's address there comes by DHCP, and its DHCP server alone knows it",
            "reserve one there and write it here, with the network's subnet; or let the network's "
            f'own name server answer, and write "own_dns": true at {place}',
        )


def resolver(
    cards_: Sequence[Interface], known: Sequence[Network], hypervisor: Host
) -> IPv4Address:
    """The hypervisor's address that a guest asks for names: that in its own network, if any."""
    managed = next((card for card in cards_ if card.address is not None), cards_[0])
    router = next((network.address for network in known if network.name == managed.network), None)
    return router or hypervisor.address


def hypervisor_interfaces(known: Sequence[Network], first: Interface) -> Iterator[Interface]:
    """The hypervisor's interfaces: its own, and one in each network where it has an address."""
    main = known[0]
    yield first.model_copy(
        update={"name": main.place, "network": main.name, "bridge": main.bridge, "vlan": main.vlan}
    )
    for network in known[1:]:
        if network.address is not None and network.subnet is not None:
            yield Interface(
                name=network.place, network=network.name, bridge=network.bridge, vlan=network.vlan,
                address=network.address, prefixlen=network.subnet.prefixlen, gateway=None, mac=None,
            )  # fmt: skip
