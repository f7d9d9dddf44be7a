"""The shapes of an explanation: what `phoenix.explain.explanation` finds out about one name."""

from __future__ import annotations

from typing import Literal

from phoenix.site.model import Frozen, Source

Transport = Literal["verified", "pinned", "mutual", "plain"]
"""TLS with a verified name; TLS by a certificate whose SHA-256 is declared; TLS in which both ends
prove their names (Portainer's tunnel to an agent); no TLS."""
Kind = Literal["service", "host", "template", "component", "stack", "record"]


class Record(Frozen):
    """One name in internal DNS."""

    name: str
    address: str
    why: str


class Gateway(Frozen):
    """The front door: where it is, and what it verifies of the proxy behind it."""

    host: str
    address: str
    port: int
    proxy: str
    proxy_address: str
    proxy_verified: str
    further: tuple[str, ...] = ()
    """Of several gateways and proxies, what else may carry a request."""


class Router(Frozen):
    """Traefik's router for the name, as in its own configuration file."""

    name: str
    rule: str
    entry_points: tuple[str, ...]
    middlewares: tuple[str, ...]
    target: str


class Backend(Frozen):
    """What answers in the end. `verified` is the name its certificate must prove; empty: none."""

    host: str
    url: str
    transport: Transport
    verified: str
    health: str
    stack: str


class Certificate(Frozen):
    """A certificate that the name depends on, who holds it and how its names are proven."""

    host: str
    names: tuple[str, ...]
    how: str
    place: str


class Flow(Frozen):
    """A connection that the firewall lets through, and why."""

    source: str
    destination: str
    what: str
    why: str


class Explanation(Frozen):
    """The explanation of one name. What does not apply is empty or null.

    `facts` are short sentences; `declared` are the places that declare it, the nearest first.
    """

    name: str
    kind: Kind
    title: str
    facts: tuple[str, ...]
    records: tuple[Record, ...] = ()
    gateway: Gateway | None = None
    router: Router | None = None
    backend: Backend | None = None
    certificates: tuple[Certificate, ...] = ()
    flows: tuple[Flow, ...] = ()
    checks: tuple[str, ...] = ()
    declared: tuple[Source, ...]
    see_also: tuple[str, ...] = ()


class UnknownName(Frozen):
    """A name that nothing has: what happens to a request for it, and near names that exist."""

    name: str
    happens: tuple[str, ...]
    near: tuple[str, ...]
