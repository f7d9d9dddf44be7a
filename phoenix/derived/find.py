"""What an operator's word means in a site: one answer for every verb and for shell completion.

A word is a service (label or full name), a URL, a guest (name, full name, address or id), a
template, a component, a stack (NAME or NAME-ENVIRONMENT), or another name of internal DNS. A word
that means several of them can be told apart by its kind: `guest:NAME`, `service:NAME`. A virtual
address of the gateways means the component that moves it between them, and an address that nothing
but a name of internal DNS has means that name.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from phoenix.derived import dns
from phoenix.derived.components import COMPONENTS, Component
from phoenix.derived.virtual_addresses import gateway_addresses
from phoenix.site import suggestions
from phoenix.site.addressing import static_addresses
from phoenix.site.findings import NameLookupError
from phoenix.site.model import Deployment, Host, Service, Site, Template

Kind = Literal["service", "guest", "template", "component", "stack", "record"]


@dataclass(frozen=True)
class Stack:
    """A stack by its name, with each guest that deploys it, or by NAME-ENVIRONMENT with one."""

    name: str
    deployed: tuple[tuple[Host, Deployment], ...]


Meaning = Service | Host | Template | Component | Stack | dns.DnsRecord
_KINDS: dict[type[object], Kind] = {
    Service: "service",
    Host: "guest",
    Template: "template",
    Component: "component",
    Stack: "stack",
    dns.DnsRecord: "record",
}
KINDS: tuple[Kind, ...] = tuple(_KINDS.values())
ALL_KINDS = frozenset(KINDS)


class UnknownNameError(NameLookupError):
    """No part of the site has the name; the message has similar names, or all.

    Attributes:
        near: names that look like it, the most similar one first.
    """

    def __init__(
        self, name: str, near: Sequence[str], existing: Sequence[str], subject: str
    ) -> None:
        """Make the message; `what` is the kind that was looked for."""
        self.near = tuple(near)
        super().__init__(f"{subject} is called {name!r}. {suggestions.hint(near, existing)}")


class AmbiguousNameError(NameLookupError):
    """A name has several meanings, and they are not the same to who asks; says how to tell."""

    def __init__(self, name: str, meanings: Sequence[Meaning]) -> None:
        """Make the message: a kind tells them apart, and of one kind each has its own name."""
        count = Counter(kind_of(meaning) for meaning in meanings)
        kinds = " and ".join(f"a {k}" if n == 1 else f"{n} {k}s" for k, n in count.items())
        ways = " or ".join(
            f"{kind}:{_word(name).host if count[kind] == 1 else meaning.name}"
            for meaning in meanings
            for kind in [kind_of(meaning)]
        )
        super().__init__(f"{normalised(name)} is {kinds}: write {ways}")


def kind_of(meaning: Meaning) -> Kind:
    """What kind of thing it is."""
    return _KINDS[type(meaning)]


class _Word(NamedTuple):
    """What an operator wrote, in its parts; what is not there is empty or None."""

    kind: str
    host: str
    port: int | None
    path: str


def _word(name: str) -> _Word:
    """The parts of a name or URL, with a kind before it or without.

    A URL has `//`, after its scheme or at its begin. Its host stands after that and the user, and
    before the path, query or fragment (RFC 3986, sections 3.1 and 3.2). What stands behind the
    host of a name is read as that of a URL.

    What no terminal should be sent is replaced.
    """
    printable = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name.strip())
    kind, colon, remainder = printable.partition(":")
    if colon and kind.lower() in ALL_KINDS:
        return _word(remainder)._replace(kind=kind.lower())
    url = re.match("(?:[A-Za-z][A-Za-z0-9+.-]*:)?//", printable)
    authority, path = re.fullmatch(
        "([^/?#]*)(/[^?#]*)?.*", printable[url.end() :] if url else printable
    ).groups("")  # type: ignore[union-attr]  # any text without line ends matches
    host = authority.rpartition("@")[2] if url else authority
    before, _, port = host.rpartition(":")
    has_port = before and re.fullmatch("[0-9]{1,5}", port)
    host = (before if has_port else host).lower().rstrip(".")
    return _Word("", host, int(port) if has_port else None, path)


def normalised(name: str) -> str:
    """The name that a person means: of a URL its host, lower case, without port and final dot.

    A kind stays before it. What no terminal should be sent is replaced.
    """
    word = _word(name)
    return f"{word.kind}:{word.host}" if word.kind else word.host


def find(site: Site, name: str) -> tuple[Meaning, ...]:
    """Every meaning of a name, in the order of `KINDS`; none where nothing has that name.

    Args:
        site: what is looked through.
        name: as an operator writes it, `KIND:NAME` and URLs among it; its case does not matter.

    A record of internal DNS is a meaning only where nothing else has its name.
    """
    word = _word(name)
    kind, query = word.kind, word.host
    if not query:
        return ()
    meanings: list[Meaning] = [
        *_services(site, word),
        *_hosts(site, query),
        *(
            template
            for template in site.templates
            if query in (template.name.lower(), str(template.vmid))
        ),
        *(
            component
            for component in COMPONENTS
            if query == component.name or query in _addresses_of(site, component)
        ),
        *_stacks(site, query),
    ]
    if not meanings or kind == "record":
        meanings += [
            record
            for record in dns.records(site)
            if _is(site, query, record.name) or query in map(str, record.addresses)
        ][:1]
    return tuple(meaning for meaning in meanings if kind in ("", kind_of(meaning)))


def choose(site: Site, name: str, *, first: Sequence[Kind], of: Sequence[Kind] = KINDS) -> Meaning:
    """The one meaning of a name for a verb.

    Args:
        site: what is looked through.
        name: as for `find`.
        first: the kinds that the verb prefers, best first, where a name has several meanings.
        of: the kinds that the verb works with; no other meaning counts.

    Raises:
        UnknownNameError: no such kind has the name.
        AmbiguousNameError: it has several meanings, and none is of a kind in `first`.
    """
    meanings = [meaning for meaning in find(site, name) if kind_of(meaning) in of]
    if not meanings:
        raise unknown(site, name, of)
    if len(meanings) == 1:
        return meanings[0]
    for kind in first:
        for meaning in meanings:
            if kind_of(meaning) == kind:
                return meaning
    raise AmbiguousNameError(name, meanings)


def unknown(site: Site, name: str, of: Sequence[Kind] = KINDS) -> UnknownNameError:
    """The error for a name that nothing of these kinds has, with near ones of the same kinds."""
    kind, query = _word(name)[:2]
    kinds = [candidate for candidate in of if kind in ("", candidate)] or list(of)
    prefix = f"{kind}:" if kind else ""
    tail = f".{site.domain}"
    existing = dict.fromkeys(full_name.removesuffix(tail) for full_name in names(site, kinds))
    labels = [short_name for short_name in existing if "." not in short_name]
    tried = query.removesuffix(tail)  # neither the domain nor the kind makes names alike
    near = [
        prefix + name for name in suggestions.similar(tried, existing if "." in tried else labels)
    ]
    labels = [prefix + label for label in labels]
    subject = "nothing here" if set(kinds) == ALL_KINDS else f"no {suggestions.alternatives(kinds)}"
    return UnknownNameError(name, near, labels, subject)


def names(site: Site, of: Sequence[Kind] = KINDS) -> tuple[str, ...]:
    """Every name that `find` finds, short ones first: for completion and for near matches."""
    sharing = Counter(service.fqdn for service in site.services)
    short: dict[Kind, list[str]] = {
        "service": [
            *(
                f"{name.removesuffix(f'.{site.domain}')}{service.path}"
                for service in site.services
                for name in service.names
            ),
            *(s.name for s in site.services if s.gateway_port and sharing[s.fqdn] > 1),
        ],
        "guest": [host.name for host in site.hosts],
        "template": [template.name for template in site.templates],
        "component": [component.name for component in COMPONENTS],
        "stack": [stack.name for _, stack in _deployments(site)],
        "record": [],
    }
    long: dict[Kind, list[str]] = {
        "service": [name for service in site.services for name in service.names],
        "guest": [
            *(host.fqdn for host in site.hosts),
            *(str(guest.vmid) for guest in site.guests),
            *(str(address) for host in site.hosts for address in static_addresses(host)),
        ],
        "template": [str(template.vmid) for template in site.templates],
        "component": [a for component in COMPONENTS for a in _addresses_of(site, component)],
        "stack": [stack.project for _, stack in _deployments(site)],
        "record": [record.name for record in dns.records(site)],
    }
    ordered = [
        name for part in (short, long) for kind in KINDS if kind in of for name in part[kind]
    ]
    return tuple(dict.fromkeys(ordered))


def by_kind(site: Site) -> dict[str, tuple[str, ...]]:
    """`names` of each kind, and of all kinds under the empty text."""
    return {"": names(site), **{kind: names(site, [kind]) for kind in KINDS}}


def _addresses_of(site: Site, component: Component) -> tuple[str, ...]:
    """The addresses that no host has for good: keepalived moves them."""
    moves = component.name == "keepalived"
    return tuple(map(str, gateway_addresses(site))) if moves else ()


def _services(site: Site, word: _Word) -> list[Service]:
    """The services of a name; of several with different paths the one that a path leads to.

    Of one that the gateway hands on by a port of its own, that port means it.
    """
    named = [
        service
        for service in site.services
        if any(_is(site, word.host, known) for known in service.names)
        or (service.external is not None and word.host == service.external.host)
    ]
    by_port = [s for s in named if s.gateway_port and s.gateway_port == word.port]
    if by_port:
        return by_port
    leads = [s for s in named if word.path == s.path or word.path.startswith(f"{s.path}/")]
    longest = max((len(s.path) for s in leads), default=0)
    best = [s for s in leads if len(s.path) == longest]
    by_https = [s for s in best if not s.gateway_port]
    return by_https or best or named


def _is(site: Site, query: str, full: str) -> bool:
    """Whether what was asked is this name, with or without the site's domain."""
    return query in (full, full.removesuffix(f".{site.domain}"))


def _hosts(site: Site, query: str) -> list[Host]:
    """The hosts of a name, id, address or full name; else of an endpoint's name in Portainer."""
    named = [
        host
        for host in site.hosts
        if query in (host.name.lower(), str(host.vmid), *map(str, static_addresses(host)))
        or _is(site, query, host.fqdn)
    ]
    return named or [host for host in site.hosts if query == host.portainer_environment.lower()]


def _deployments(site: Site) -> Iterator[tuple[Host, Deployment]]:
    for host in site.guests:
        for stack in host.docker_stacks:
            yield host, stack


def _stacks(site: Site, query: str) -> Iterator[Stack]:
    """The deployments that the word means, as one stack."""
    deployments = tuple(
        (host, stack)
        for host, stack in _deployments(site)
        if query in (stack.name.lower(), stack.project, _as_declared(stack))
    )
    if deployments:
        by_name = query == deployments[0][1].name.lower()
        yield Stack(deployments[0][1].name if by_name else deployments[0][1].project, deployments)


def _as_declared(stack: Deployment) -> str:
    return f"{stack.name}-{stack.environment}".lower()
