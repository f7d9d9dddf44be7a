"""What an operator's word means in a site: one answer for every verb and for shell completion.

A word is a service (label or full name), a URL, a guest (name, full name, address or id), a
template, a component, a stack (NAME or NAME-ENVIRONMENT), or another name of internal DNS. A word
that means several of them can be told apart by its kind: `guest:NAME`, `service:NAME`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from phoenix.derived import dns
from phoenix.derived.components import COMPONENTS, Component
from phoenix.site import meant
from phoenix.site.findings import NameLookupError
from phoenix.site.model import Deployment, Host, Service, Site, Template
from phoenix.site.ways import addresses

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
    """Nothing of the site has the name; says which names are near, or which there are.

    Attributes:
        near: names that look like it, the most similar one first.
    """

    def __init__(
        self, name: str, near: Sequence[str], existing: Sequence[str], subject: str
    ) -> None:
        """Make the message; `what` is the kind that was looked for."""
        self.near = tuple(near)
        super().__init__(f"{subject} is called {name!r}. {meant.hint(near, existing)}")


class AmbiguousNameError(NameLookupError):
    """A name has several meanings, and they are not the same to who asks; says how to tell."""

    def __init__(self, name: str, kinds: Sequence[Kind]) -> None:
        """Make the message."""
        self.kinds = tuple(kinds)
        meanings = " and ".join(f"a {kind}" for kind in kinds)
        ways = " or ".join(f"{kind}:{name}" for kind in kinds)
        super().__init__(f"{name} is {meanings}: write {ways}")


def kind_of(meaning: Meaning) -> Kind:
    """What kind of thing it is."""
    return _KINDS[type(meaning)]


def plain(name: str) -> str:
    """The name that a person means: of a URL its host, lower case, without port and final dot.

    A URL's host stands after `//` and the user, before the path, query or fragment (RFC 3986, 3.2).

    What no terminal should be sent is replaced.
    """
    printable = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name.strip())
    kind, colon, remainder = printable.partition(":")
    if colon and kind.lower() in ALL_KINDS:
        return f"{kind.lower()}:{plain(remainder)}"
    scheme, slashes, remainder = printable.partition("//")
    url = slashes and (not scheme or scheme.endswith(":"))
    authority = re.split("[/?#]" if url else "/", remainder if url else printable, maxsplit=1)[0]
    authority = (authority.rpartition("@")[2] if url else authority).lower().rstrip(".")
    host, _, port = authority.rpartition(":")
    return host if host and port.isdigit() else authority


def find(site: Site, name: str) -> tuple[Meaning, ...]:
    """Every meaning of a name, in the order of `KINDS`; none where nothing has that name.

    Args:
        site: what is looked through.
        name: as an operator writes it, `KIND:NAME` and URLs among it; its case does not matter.

    A record of internal DNS is a meaning only where nothing else has its name.
    """
    kind, query = _split(name)
    if not query:
        return ()
    meanings: list[Meaning] = [
        *_services(site, query, name),
        *_hosts(site, query),
        *(
            template
            for template in site.templates
            if query in (template.name.lower(), str(template.vmid))
        ),
        *(component for component in COMPONENTS if query == component.name),
        *_stacks(site, query),
    ]
    if not meanings or kind == "record":
        meanings += [record for record in dns.records(site) if _is(site, query, record.name)][:1]
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
    raise AmbiguousNameError(plain(name), [kind_of(meaning) for meaning in meanings])


def unknown(site: Site, name: str, of: Sequence[Kind] = KINDS) -> UnknownNameError:
    """The error for a name that nothing of these kinds has, with near ones of the same kinds."""
    kind, query = _split(name)
    kinds = [candidate for candidate in of if kind in ("", candidate)] or list(of)
    prefix = f"{kind}:" if kind else ""
    tail = f".{site.domain}"
    existing = dict.fromkeys(full_name.removesuffix(tail) for full_name in names(site, kinds))
    labels = [short_name for short_name in existing if "." not in short_name]
    tried = query.removesuffix(tail)  # neither the domain nor the kind makes names alike
    near = [prefix + name for name in meant.near(tried, existing if "." in tried else labels)]
    labels = [prefix + label for label in labels]
    subject = "nothing here" if set(kinds) == ALL_KINDS else f"no {meant.either(kinds)}"
    return UnknownNameError(name, near, labels, subject)


def names(site: Site, of: Sequence[Kind] = KINDS) -> tuple[str, ...]:
    """Every name that `find` finds, short ones first: for completion and for near matches."""
    short: dict[Kind, list[str]] = {
        "service": [
            f"{name.removesuffix(f'.{site.domain}')}{service.path}"
            for service in site.services
            for name in service.names
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
            *(str(address) for host in site.hosts for address in addresses(host)),
        ],
        "template": [str(template.vmid) for template in site.templates],
        "component": [],
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


def _split(name: str) -> tuple[str, str]:
    """The kind that stands before a name, empty if none does, and the name as `plain` gives it."""
    kind, colon, query = plain(name).partition(":")
    return (kind, query) if colon and kind in ALL_KINDS else ("", plain(name))


def _services(site: Site, query: str, name: str) -> list[Service]:
    """The services of a name; of several with different paths the one that a path leads to.

    Of one that the gateway hands on by a port of its own, that port means it.
    """
    named = [
        service
        for service in site.services
        if any(_is(site, query, known) for known in service.names)
        or (service.external is not None and query == service.external.host)
    ]
    port = _asked_port(name)
    by_port = [
        candidate
        for candidate in named
        if candidate.gateway_port and candidate.gateway_port == port
    ]
    if by_port:
        return by_port
    asked = _asked_path(name)
    leads = [
        candidate
        for candidate in named
        if asked == candidate.path or asked.startswith(f"{candidate.path}/")
    ]
    best = max(leads, key=lambda candidate: len(candidate.path), default=None)
    return named if best is None else [best]


def _asked_port(name: str) -> int | None:
    """The port of a name or URL, where one is written."""
    address = name.strip().partition("://")[2] or name.strip()
    text = re.split("[/?#]", address, maxsplit=1)[0].rpartition(":")[2]
    return int(text) if re.fullmatch("[0-9]{1,5}", text) else None


def _asked_path(name: str) -> str:
    """What stands after the host of a name or URL, without query and fragment."""
    address = name.partition("://")[2] or name
    return re.split("[?#]", address.strip().partition("/")[1] + address.strip().partition("/")[2])[
        0
    ]


def _is(site: Site, query: str, full: str) -> bool:
    """Whether what was asked is this name, with or without the site's domain."""
    return query in (full, full.removesuffix(f".{site.domain}"))


def _hosts(site: Site, query: str) -> list[Host]:
    """By name, id, address or full name; else by the name of its endpoint in Portainer."""
    named = [
        host
        for host in site.hosts
        if query in (host.name.lower(), str(host.vmid), *map(str, addresses(host)))
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
