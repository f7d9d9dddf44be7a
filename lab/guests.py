"""Which containers the lab needs, from the same site model that the deploys use."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address

from lab import networks
from lab.settings import BRIDGE_HOST_PART, CLIENT_HOST_PART, LabError, Settings
from phoenix.declaration.load import load_site
from phoenix.site.model import Site


@dataclass(frozen=True)
class Guest:
    """A host of the site as a container.

    `nested`: it runs Docker itself. `serves_dns`: the client asks it for names. `place`: where
    further networks of the site have it.
    """

    name: str
    address: IPv4Address
    nested: bool = False
    serves_dns: bool = False
    place: networks.Place = networks.ALONE


def lab_site(settings: Settings) -> Site:
    """The lab's site, moved into the lab's network; phoenix.findings.ConfigError if bad."""
    folder = settings.declared
    return load_site(folder / "inventories", folder / "stacks", subnet=settings.subnet)


def from_site(settings: Settings) -> list[Guest]:
    """The hosts of the lab's site.

    Raises:
        LabError: a host has an address that the lab reserves, or Debian 12 is for no host.
        ConfigError: the site itself is wrong.
    """
    model = lab_site(settings)
    guests = []
    for host in model.hosts:
        nested = host.kind == "vm"
        dns = host.kind == "hypervisor"
        place = networks.place(model, host, settings)
        guests.append(Guest(host.name, host.address, nested, dns, place))
    check_addresses(guests, settings)
    if unknown := settings.debian_12 - {guest.name for guest in guests}:
        raise LabError(
            f"PHOENIX_LAB_DEBIAN_12 names {', '.join(sorted(unknown))}, which the site does not "
            f"have: choose of {', '.join(guest.name for guest in guests)}."
        )
    return guests


def check_addresses(guests: Iterable[Guest], settings: Settings) -> None:
    """Raise LabError where a guest has the bridge's or the client's address."""
    reserved = {
        settings.subnet[BRIDGE_HOST_PART]: "this machine's side of the bridge",
        settings.subnet[CLIENT_HOST_PART]: "the client container",
    }
    for guest in guests:
        if guest.address in reserved:
            raise LabError(
                f"{guest.name} has the address {guest.address}, which the lab keeps for "
                f"{reserved[guest.address]}: give the guest another one in the inventory."
            )
