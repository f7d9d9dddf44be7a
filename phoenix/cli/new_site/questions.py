"""The answers for a new site: from options, from questions, or from a Proxmox VE host."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import available_timezones

import typer
from pydantic import TypeAdapter, ValidationError

from phoenix.cli.exits import CommandError
from phoenix.cli.new_site import answers as defaults_of
from phoenix.cli.new_site import hypervisor as proxmox
from phoenix.cli.new_site.answers import STANDARD, Answers
from phoenix.declaration.setting_types import Organisation, TimeZone
from phoenix.declaration.value_types import DomainName
from phoenix.site.names import LABEL

_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Options:
    """What options of the command line say; None and empty: nothing."""

    domain: str | None = None
    network: IPv4Network | None = None
    gateway: IPv4Address | None = None
    hypervisor: str | None = None
    address: IPv4Address | None = None
    guests: tuple[str, ...] = ()
    timezone: str | None = None
    organisation: str | None = None


def answers(options: Options, *, defaults: bool, source: str | None) -> Answers:
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


def of(options: Options) -> Answers:
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


def _network_of(options: Options) -> IPv4Network:
    known = options.address or options.gateway
    return IPv4Network((known, 24), strict=False) if known else defaults_of.NETWORK


def _with(proposed: Answers, options: Options) -> Answers:
    return replace(
        proposed,
        gateway=options.gateway or proposed.gateway,
        hypervisor=options.hypervisor or proposed.hypervisor,
        timezone=options.timezone or proposed.timezone,
        organisation=options.organisation or proposed.organisation,
    )


def _asked(options: Options) -> Options:
    """The same, with what a person says."""
    typer.echo("A new site. Enter takes what stands in brackets; nothing is touched.\n")
    domain = options.domain or _ask(
        "Domain of all names inside", defaults_of.DOMAIN, lambda text: _DOMAIN(text.lower())
    )
    network = options.network or _ask("Network", str(defaults_of.NETWORK), _room)
    inside = partial(_address, network)
    gateway = options.gateway or _ask("Router of that network", str(network[1]), inside)
    name = options.hypervisor or _ask("Name of the Proxmox VE node", defaults_of.HYPERVISOR, _label)
    first = of(replace(options, network=network, gateway=gateway))
    address = options.address or _ask("Its address", str(first.address.ip), inside)
    words = options.guests or _guests(replace(options, network=network, gateway=gateway,
                                            address=address))  # fmt: skip
    zone = options.timezone or _ask("Time zone of all hosts", _own_zone(), _zone)
    organisation = options.organisation or _ask(
        "Organisation in the CA's certificates", domain, _ORGANISATION
    )
    return Options(domain, network, gateway, name, address, words, zone, organisation)


def _by(form: Any) -> Callable[[str], str]:
    """Reads a text of a form that the declaration or the settings have."""
    adapter: TypeAdapter[str] = TypeAdapter(form)

    def read(text: str) -> str:
        try:
            return adapter.validate_python(text)
        except ValidationError as error:
            details = error.errors()[0]
            raise ValueError(f"{details['msg']}: {details.get('ctx', {}).get('fix', '')}") from None

    return read


_DOMAIN, _TIME_ZONE, _ORGANISATION = _by(DomainName), _by(TimeZone), _by(Organisation)


def _room(text: str) -> IPv4Network:
    network = defaults_of.network_of(text)
    of(Options(network=network))  # it has room for a site
    return network


def _address(network: IPv4Network, text: str) -> IPv4Address:
    address = IPv4Address(text)
    if address not in network:
        raise ValueError(f"{address} is not in the site's network {network}")
    return address


def _label(text: str) -> str:
    if not LABEL.match(text.lower()):
        raise ValueError(f"{text!r} is not a host name: write letters, digits and inner hyphens")
    return text


def _zone(text: str) -> str:
    zones = available_timezones()  # empty on a machine without tzdata: nothing can be said
    if zones and _TIME_ZONE(text) not in zones:
        raise ValueError(f"there is no time zone {text!r}: write one as Europe/Berlin")
    return _TIME_ZONE(text)


def _guests(options: Options) -> tuple[str, ...]:
    """Each standard guest, with the name and the address that a person gives it."""
    typer.echo(
        "\nGuests that exist, or that you or Phoenix will make (docs/proxmox.md). Write "
        "NAME@ADDRESS, or - for none."
    )
    proposed = of(options).guests
    answers: list[str] = []
    for guest in proposed:
        if guest.role == "docker":
            continue
        shown = f"{guest.name}@{guest.address.ip}"
        form = partial(_guest, options, tuple(answers), guest.role or "")
        answers += _ask(f"  {_MEANINGS[guest.role or '']}", shown, form)
    hosts = ", ".join(
        f"{guest.name}@{guest.address.ip}" for guest in proposed if guest.role == "docker"
    )
    form = partial(_guest, options, tuple(answers), "docker")
    answers += _ask("  Docker hosts, with commas between", hosts, form)
    return tuple(answers)


def _guest(options: Options, before: tuple[str, ...], role: str, text: str) -> tuple[str, ...]:
    """Guests of a role as a person writes them, as options have them; none for `-`."""
    named = () if text == "-" else tuple(text.replace(",", " ").split())
    if len(named) > 1 and role != "docker":
        raise ValueError(f"a site has one of these: write NAME@ADDRESS, not {text!r}")
    parts = [host.partition("@") for host in named]
    words = tuple(f"{name}:{role}{f'@{ip}' if ip else ''}" for name, _, ip in parts)
    guests = of(replace(options, guests=(*before, *words))).guests if before or words else ()
    for kind, values in (
        ("name", [guest.name for guest in guests]),
        ("address", [str(guest.address.ip) for guest in guests]),
    ):
        if twice := next((value for value in values if values.count(value) > 1), None):
            raise ValueError(f"two guests would have the {kind} {twice}: write another one")
    return words


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
        except (ValueError, CommandError) as error:
            typer.echo(f"  {error}")


def _own_zone() -> str:
    file = Path("/etc/timezone")
    zone = file.read_text().strip() if file.is_file() else ""
    return zone or "Etc/UTC"
