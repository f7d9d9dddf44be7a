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


def answers(options: Given, *, defaults: bool, source: str | None) -> Answers:
    """All answers for a new site.

    Args:
        options: what needs no question.
        defaults: ask nothing.
        source: a Proxmox VE host to read, as ssh(1) takes it.

    Raises:
        CommandError: there is nobody to ask, or an answer cannot be used.
    """
    if source is not None:
        if options.network or options.address or options.guests:
            raise CommandError("--from reads network, address and guests: leave those options out")
        return _with(proxmox.answers(proxmox.ask(source), options.domain), options)
    if not defaults:
        if not sys.stdin.isatty():
            raise CommandError("without a terminal to ask in, give --defaults or --from")
        options = _asked(options)
    return of(options)


def of(options: Given) -> Answers:
    """The answers where what is not given is the default.

    Raises:
        CommandError: what is given cannot be used.
    """
    network = options.network or _network_of(options)
    if network.num_addresses < 16:
        raise CommandError(f"{network} is too small for a site: give a network of /28 or larger")
    gateway = options.gateway or network[1]
    others = (candidate for candidate in network.hosts() if candidate != gateway)
    address = options.address or next(others)
    for name, ip in (("gateway", gateway), ("address", address)):
        if ip not in network:
            raise CommandError(f"--{name} {ip} is not in the site's network {network}")
    return Answers(
        domain=(options.domain or defaults_of.DOMAIN).lower(),
        hypervisor=(options.hypervisor or defaults_of.HYPERVISOR).lower(),
        address=IPv4Interface((address, network.prefixlen)),
        gateway=gateway,
        guests=defaults_of.guests(options.guests or STANDARD, network, (gateway, address)),
        timezone=options.timezone or "Etc/UTC",
        organisation=options.organisation or "",
    )


def _network_of(options: Given) -> IPv4Network:
    known = options.address or options.gateway
    return IPv4Network((known, 24), strict=False) if known else defaults_of.NETWORK


def _with(proposed: Answers, options: Given) -> Answers:
    return replace(
        proposed,
        gateway=options.gateway or proposed.gateway,
        hypervisor=options.hypervisor or proposed.hypervisor,
        timezone=options.timezone or proposed.timezone,
        organisation=options.organisation or proposed.organisation,
    )


def _asked(options: Given) -> Given:
    """The same, with what a person says."""
    typer.echo("A new site. Enter takes what stands in brackets; nothing is touched.\n")
    domain = options.domain or _ask("Domain of all names inside", defaults_of.DOMAIN, str)
    network = options.network or _ask("Network", str(defaults_of.NETWORK), IPv4Network)
    gateway = options.gateway or _ask("Router of that network", str(network[1]), IPv4Address)
    name = options.hypervisor or _ask("Name of the Proxmox VE node", defaults_of.HYPERVISOR, str)
    first = of(replace(options, network=network, gateway=gateway))
    address = options.address or _ask("Its address", str(first.address.ip), IPv4Address)
    words = options.guests or _guests(replace(options, network=network, gateway=gateway,
                                            address=address))  # fmt: skip
    zone = options.timezone or _ask("Time zone of all hosts", _own_zone(), str)
    organisation = options.organisation or _ask(
        "Organisation in the CA's certificates", domain, str
    )
    return Given(domain, network, gateway, name, address, words, zone, organisation)


def _guests(options: Given) -> tuple[str, ...]:
    """Each standard guest, with the name and the address that a person gives it."""
    typer.echo(
        "\nGuests that exist, or that you or Phoenix will make (docs/proxmox.md). Write "
        "NAME@ADDRESS, or - for none."
    )
    proposed = of(options).guests
    words = []
    for guest in proposed:
        if guest.role == "docker":
            continue
        shown = f"{guest.name}@{guest.address.ip}"
        answer = _ask(f"  {_MEANINGS[guest.role or '']}", shown, str)
        if answer != "-":
            name, _, ip = answer.partition("@")
            words.append(f"{name}:{guest.role}{f'@{ip}' if ip else ''}")
    hosts = ", ".join(
        f"{guest.name}@{guest.address.ip}" for guest in proposed if guest.role == "docker"
    )
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
