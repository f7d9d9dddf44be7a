"""Which containers the lab needs, from the same site model that the deploys use."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address

from lab.settings import BRIDGE_HOST_PART, CLIENT_HOST_PART, LabError, Settings
from phoenix import site


@dataclass(frozen=True)
class Guest:
    """A host of the site as a container.

    `nested`: it runs Docker itself. `serves_dns`: the client asks it for names. `standins`:
    (service, TCP port) of the TLS backends that the lab plays until something real listens there.
    """

    name: str
    address: IPv4Address
    nested: bool = False
    serves_dns: bool = False
    standins: tuple[tuple[str, int], ...] = ()


def load_site(settings: Settings) -> site.Site:
    """The project's own site, moved into the lab's network; phoenix.findings.ConfigError if bad."""
    return site.load(
        settings.root / "inventories", settings.root / "stacks", subnet=settings.subnet
    )


def from_site(settings: Settings) -> list[Guest]:
    """The hosts of the project's own site.

    Raises LabError where one takes an address that the lab keeps for itself, and
    phoenix.findings.ConfigError where the site itself is wrong.
    """
    model = load_site(settings)
    guests = []
    for host in model.hosts:
        nested = host.kind == "vm"
        services = sorted(
            (service.name, service.port)
            for service in model.services
            if nested and service.kind == "backend" and service.owner.name == host.name
        )
        played = tuple(services) if plays_standins(host.name) else ()
        dns = host.kind == "hypervisor"
        guests.append(Guest(host.name, host.address, nested, dns, played))
    check_addresses(guests, settings)
    return guests


def plays_standins(host: str) -> bool:
    """Whether PHOENIX_LAB_STANDIN asks for stand-ins on a host: `all`, `none` or a list of hosts.

    A later Portainer or stack takes a host's ports by leaving it out of the list.
    """
    wanted = os.environ.get("PHOENIX_LAB_STANDIN") or "all"
    return wanted == "all" or host in wanted.split(",")


def check_addresses(guests: Iterable[Guest], settings: Settings) -> None:
    """Raise LabError where a guest has the bridge's or the client's address."""
    kept = {
        settings.subnet[BRIDGE_HOST_PART]: "this machine's side of the bridge",
        settings.subnet[CLIENT_HOST_PART]: "the client container",
    }
    for guest in guests:
        if guest.address in kept:
            raise LabError(
                f"{guest.name} has the address {guest.address}, which the lab keeps for "
                f"{kept[guest.address]}: give the guest another one in the inventory."
            )
