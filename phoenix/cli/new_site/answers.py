"""What a new site begins with, and the answers that need no question. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Literal, cast

from phoenix.cli.exits import CommandError
from phoenix.site import suggestions
from phoenix.site.names import LABEL
from phoenix.site.roles import PROPOSED_ONCE, ROLES, Role

DOMAIN = "home.arpa"
"""The domain of home networks (RFC 8375), which no registry gives to anybody."""
NETWORK = IPv4Network("192.168.1.0/24")
HYPERVISOR = "pve"
_FIRST_LXC, _FIRST_VM = 101, 1001
_GUEST = re.compile(r"(?P<name>[^:@]+)(?::(?P<role>[^@]+))?(?:@(?P<address>.+))?\Z")


@dataclass(frozen=True)
class Guest:
    """A guest as a new site declares it. `role` is None for one without software of ours."""

    vmid: int
    name: str
    kind: Literal["lxc", "vm"]
    role: Role | None
    address: IPv4Interface


@dataclass(frozen=True)
class Answers:
    """All that `phoenix init` asks. `address` is the hypervisor's, with the network's length."""

    domain: str
    hypervisor: str
    address: IPv4Interface
    gateway: IPv4Address
    guests: tuple[Guest, ...]
    timezone: str = "Etc/UTC"
    organisation: str = ""
    notes: tuple[str, ...] = field(default=(), compare=False)
    """What a person should know of it, a line each."""

    @property
    def network(self) -> IPv4Network:
        """The site's network."""
        return self.address.network


STANDARD = (
    "nginx:nginx", "traefik:traefik", "step-ca:step_ca", "portainer:portainer", "docker01:docker",
)  # fmt: skip
"""The guests of a site that says nothing else."""


def network_of(text: str) -> IPv4Network:
    """A network as a person writes it.

    Raises:
        ValueError: it is none; with what to write.
    """
    try:
        return IPv4Network(text)
    except ValueError as error:
        raise ValueError(f"{error}: write {_meant(text)}") from None


def _meant(text: str) -> str:
    """The network that somebody meant who wrote an address in it; else an example."""
    try:
        return str(IPv4Interface(text).network)
    except ValueError:
        return "a network, as 192.168.1.0/24"


def guests(
    words: Sequence[str], network: IPv4Network, in_use: Iterable[IPv4Address]
) -> tuple[Guest, ...]:
    """Guests by `NAME[:ROLE][@ADDRESS]`, with ids, and addresses where none is given.

    A guest called like a role has that role. Docker hosts and Portainer's are VMs.

    Args:
        words: one for each guest.
        network: where addresses are chosen, in order from the tenth on.
        in_use: addresses that others have.

    Raises:
        CommandError: a word of another form, or the network is full.
    """
    split = [_split(word) for word in words]
    used = {*in_use, *(chosen for _, _, chosen in split if chosen)}
    free = (candidate for candidate in _hosts(network) if candidate not in used)
    ids = {"lxc": iter(range(_FIRST_LXC, 1000)), "vm": iter(range(_FIRST_VM, 9000))}
    declared = []
    for name, role, chosen in split:
        kind: Literal["lxc", "vm"] = "vm" if role in ("portainer", "docker") else "lxc"
        address = chosen or next(free, None)
        if address is None:
            raise CommandError(f"{network} has no address left for {name}: give one, as {name}@...")
        if address not in network:
            raise CommandError(f"{name}: {address} is not in the site's network {network}")
        interface = IPv4Interface((address, network.prefixlen))
        declared.append(Guest(next(ids[kind]), name, kind, role, interface))
    return tuple(declared)


def _hosts(network: IPv4Network) -> Iterable[IPv4Address]:
    """Host addresses from the tenth on: the first ones are usually routers and the like."""
    first = int(network.network_address) + (10 if network.num_addresses > 16 else 1)
    return map(IPv4Address, range(first, int(network.broadcast_address)))


def _split(word: str) -> tuple[str, Role | None, IPv4Address | None]:
    match = _GUEST.match(word.strip())
    name = match["name"].lower() if match else ""
    if match is None or not LABEL.match(name):
        raise CommandError(f"{word!r} is not a guest: write NAME, NAME:ROLE or NAME:ROLE@ADDRESS")
    role = match["role"] or role_of(name)
    if role is not None and role not in ROLES:
        known = suggestions.hint_for(role, ROLES)
        raise CommandError(f"{word!r}: {role!r} is not a role. {known}")
    try:
        address = IPv4Address(match["address"]) if match["address"] else None
    except ValueError:
        raise CommandError(f"{word!r}: {match['address']!r} is not an IPv4 address") from None
    return name, cast(Role | None, role), address


_ROLE_WORDS: tuple[tuple[str, Role], ...] = (
    (r"step-?ca|(?:^|-)ca(?:-|$)|(?:^|-)pki(?:-|$)", "step_ca"),
    (r"traefik", "traefik"),
    (r"nginx|gateway|reverse-?proxy|(?:^|-)proxy(?:-|$)", "nginx"),
    (r"portainer", "portainer"),
    (r"docker", "docker"),
)  # fmt: skip


def role_of(name: str) -> Role | None:
    """The role that a guest's name speaks of; None where it speaks of none."""
    lower = name.lower().replace("_", "-")
    return next((role for words, role in _ROLE_WORDS if re.search(words, lower)), None)


def once(candidates: Iterable[Guest]) -> tuple[Guest, ...]:
    """Guests of which one alone has each role that is proposed once: the first by id."""
    roles: set[str] = set()
    unique = []
    for guest in sorted(candidates, key=lambda guest: guest.vmid):
        twice = guest.role in PROPOSED_ONCE and guest.role in roles
        unique.append(replace(guest, role=None) if twice else guest)
        roles.add(guest.role or "")
    return tuple(unique)
