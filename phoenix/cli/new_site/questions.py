"""The answers for a new site: from options, from questions, or from a Proxmox VE host."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import TypeVar

import typer

from phoenix.cli.exits import CommandError
from phoenix.cli.new_site import answers as defaults_of
from phoenix.cli.new_site import hypervisor as proxmox
from phoenix.cli.new_site.answers import STANDARD, Answers

_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Given:
    """What options of the command line say; None and empty: nothing."""

    domain: str | None = None
    network: IPv4Network | None = None
    gateway: IPv4Address | None = None
    hypervisor: str | None = None
    address: IPv4Address | None = None
    guests: tuple[str, ...] = ()
    timezone: str | None = None
    organisation: str | None = None


def answers(given: Given, *, defaults: bool, source: str | None) -> Answers:
    """All answers for a new site.

    Args:
        given: what needs no question.
        defaults: ask nothing.
        source: a Proxmox VE host to read, as ssh(1) takes it.

    Raises:
        CommandError: there is nobody to ask, or an answer cannot be used.
    """
    if source is not None:
        if given.network or given.address or given.guests:
            raise CommandError("--from reads network, address and guests: leave those options out")
        return _with(proxmox.answers(proxmox.ask(source), given.domain), given)
    if not defaults:
        if not sys.stdin.isatty():
            raise CommandError("without a terminal to ask in, give --defaults or --from")
        given = _asked(given)
    return of(given)


def of(given: Given) -> Answers:
    """The answers where what is not given is the default.

    Raises:
        CommandError: what is given cannot be used.
    """
    network = given.network or _network_of(given)
    if network.num_addresses < 16:
        raise CommandError(f"{network} is too small for a site: give a network of /28 or larger")
    gateway = given.gateway or network[1]
    others = (one for one in network.hosts() if one != gateway)
    address = given.address or next(others)
    for name, one in (("gateway", gateway), ("address", address)):
        if one not in network:
            raise CommandError(f"--{name} {one} is not in the site's network {network}")
    return Answers(
        domain=(given.domain or defaults_of.DOMAIN).lower(),
        hypervisor=(given.hypervisor or defaults_of.HYPERVISOR).lower(),
        address=IPv4Interface((address, network.prefixlen)),
        gateway=gateway,
        guests=defaults_of.guests(given.guests or STANDARD, network, (gateway, address)),
        timezone=given.timezone or "Etc/UTC",
        organisation=given.organisation or "",
    )


def _network_of(given: Given) -> IPv4Network:
    known = given.address or given.gateway
    return IPv4Network((known, 24), strict=False) if known else defaults_of.NETWORK


def _with(found: Answers, given: Given) -> Answers:
    return replace(
        found,
        gateway=given.gateway or found.gateway,
        hypervisor=given.hypervisor or found.hypervisor,
        timezone=given.timezone or found.timezone,
        organisation=given.organisation or found.organisation,
    )


def _asked(given: Given) -> Given:
    """The same, with what a person says."""
    typer.echo("A new site. Enter takes what stands in brackets; nothing is touched.\n")
    domain = given.domain or _ask("Domain of all names inside", defaults_of.DOMAIN, str)
    network = given.network or _ask("Network", str(defaults_of.NETWORK), IPv4Network)
    gateway = given.gateway or _ask("Router of that network", str(network[1]), IPv4Address)
    name = given.hypervisor or _ask("Name of the Proxmox VE node", defaults_of.HYPERVISOR, str)
    first = of(replace(given, network=network, gateway=gateway))
    address = given.address or _ask("Its address", str(first.address.ip), IPv4Address)
    words = given.guests or _guests(replace(given, network=network, gateway=gateway,
                                            address=address))  # fmt: skip
    zone = given.timezone or _ask("Time zone of all hosts", _own_zone(), str)
    organisation = given.organisation or _ask("Organisation in the CA's certificates", domain, str)
    return Given(domain, network, gateway, name, address, words, zone, organisation)


def _guests(given: Given) -> tuple[str, ...]:
    """Each standard guest, with the name and the address that a person gives it."""
    typer.echo(
        "\nGuests that exist, or that you or Phoenix will make (docs/proxmox.md). Write "
        "NAME@ADDRESS, or - for none."
    )
    proposed = of(given).guests
    words = []
    for one in proposed:
        if one.role == "docker":
            continue
        shown = f"{one.name}@{one.address.ip}"
        answer = _ask(f"  {_MEANINGS[one.role or '']}", shown, str)
        if answer != "-":
            name, _, ip = answer.partition("@")
            words.append(f"{name}:{one.role}{f'@{ip}' if ip else ''}")
    hosts = ", ".join(f"{one.name}@{one.address.ip}" for one in proposed if one.role == "docker")
    answer = _ask("  Docker hosts, with commas between", hosts, str)
    for host in answer.replace(",", " ").split() if answer != "-" else ():
        name, _, ip = host.partition("@")
        words.append(f"{name}:docker{f'@{ip}' if ip else ''}")
    return tuple(words)


_MEANINGS = {
    "nginx": "the gateway (Nginx)",
    "traefik": "the proxy behind it (Traefik)",
    "step_ca": "the CA (step-ca)",
    "portainer": "Portainer",
}


def _ask(question: str, default: str, form: Callable[[str], _Answer]) -> _Answer:
    while True:
        text = typer.prompt(question, default=default).strip()
        try:
            return form(text)
        except ValueError as error:
            typer.echo(f"  {error}")


def _own_zone() -> str:
    file = Path("/etc/timezone")
    zone = file.read_text().strip() if file.is_file() else ""
    return zone or "Etc/UTC"
