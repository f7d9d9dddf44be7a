"""Where routes lead: what ends nowhere, in a circle, or at another service than the one meant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network
from itertools import permutations, product
from urllib.parse import urlsplit

from phoenix.derived import control_plane, dns, firewall
from phoenix.derived.routes import routes
from phoenix.site import ports, suggestions
from phoenix.site.addressing import address_pair, static_addresses
from phoenix.site.findings import Report
from phoenix.site.model import Host, Service, Site
from phoenix.site.names import in_zone


def check(site: Site, report: Report) -> None:
    """Refuse routes that cannot answer, and warn of clients that the firewall keeps out.

    Args:
        site: whose services.
        report: takes the findings.
    """
    if not site.gateways or not site.traefiks:
        return  # `conflicts.roles` says that it is missing
    names = _Names(site)
    for service in site.services:
        if service.redirect is not None:
            _check_redirect(service, names, report)
        if service.options.forward_auth is not None:
            _check_forward_auth(service, names, report)
        if service.external is not None:
            _check_external(service, names, report)
        _check_health_path(service, names, report)
        _check_clients(service, names, report)
    _check_doors(site, report)
    _check_portainer(names, report)


@dataclass
class _Names:
    """What a site's names and addresses lead to."""

    site: Site
    routed: Mapping[str, list[Service]] = field(init=False)
    records: Mapping[str, IPv4Address] = field(init=False)
    gateway: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        site = self.site
        routed: dict[str, list[Service]] = {}
        for route in routes(site):
            for name in route.names:
                routed.setdefault(name, []).append(route.service)
        self.routed = routed
        self.records = {record.name: record.address for record in dns.records(site)}
        own = (address for gateway in site.gateways for address in static_addresses(gateway))
        self.gateway = frozenset(map(str, (*own, *site.virtual_addresses)))

    @cached_property
    def handed_on(self) -> frozenset[str]:
        """Every name whose record is a gateway's address."""
        gatewayed = (service for service in self.site.services if service.exposure == "gateway")
        return frozenset(name for service in gatewayed for name in service.names)

    @cached_property
    def flows(self) -> tuple[firewall.Flow, ...]:
        """What the firewall lets through to the gateway; the first, as all let in the same."""
        site = self.site
        return tuple(flow for flow in firewall.flows(site) if flow.destination == site.gateway)

    def at(self, name: str, path: str) -> Service | None:
        """The service that the gateway gives a path of a name to."""
        matching = [
            service
            for service in self.routed.get(name, ())
            if not service.path or _covers(service.path, path)
        ]
        return max(matching, key=lambda service: len(service.path), default=None)

    def of(self, url: str) -> Service | None:
        """The service that a URL leads to by the gateway; None where it leads elsewhere."""
        parts = urlsplit(url)
        plain = parts.port or _PORTS[parts.scheme]
        if plain not in (ports.HTTP, ports.HTTPS):
            return None
        return self.at((parts.hostname or "").lower(), parts.path or "/")

    def is_unknown(self, name: str) -> bool:
        """Whether a name is one of the site's zone, and nothing has it."""
        return in_zone(name, self.site.domain) and name not in self.records


_PORTS = {"http": ports.HTTP, "https": ports.HTTPS}


def _covers(prefix: str, path: str) -> bool:
    return path == prefix or path.startswith(f"{prefix}/")


def _at(service: Service, key: str) -> tuple[str, str]:
    return service.source.file, f"{service.source.path}.{key}"


def _unknown(name: str, names: _Names) -> tuple[str, str]:
    """Message and fix for a name of the site's zone that nothing has."""
    message = f"no service, host or DNS record is called {name} in {names.site.domain}"
    tail = f".{names.site.domain}"  # which all of them have: it is no likeness
    near = suggestions.similar(
        name.removesuffix(tail), (known.removesuffix(tail) for known in names.records)
    )
    fix = suggestions.fix_of(
        [f"{label}{tail}" for label in near], "correct it, or declare the service"
    )
    return message, fix


def _check_redirect(service: Service, names: _Names, report: Report) -> None:
    if service.redirect is None:
        return
    host = (urlsplit(service.redirect.url).hostname or "").lower()
    if names.is_unknown(host):
        report.error(*_at(service, "redirect_to"), *_unknown(host, names))
        return
    way, returns = _led(service, names)
    if returns:
        report.error(
            *_at(service, "redirect_to"),
            f"clients go in a circle: {' -> '.join(way)}",
            "write the URL of a service that answers",
        )
    elif len(way) > _MAX_REDIRECTS:
        report.error(
            *_at(service, "redirect_to"),
            f"a redirect loop: after {_MAX_REDIRECTS} redirects clients are at {way[-1]}, which "
            f"redirects as well",
            "write the URL of a service that answers",
        )


_MAX_REDIRECTS = 20
"""So many a client follows (https://fetch.spec.whatwg.org/#http-redirect-fetch)."""


def _led(service: Service, names: _Names) -> tuple[list[str], bool]:
    """The redirects through which a client is led, and whether they come back to the first."""
    passed = [service.name]
    at: Service | None = service
    while at is not None and at.redirect is not None and len(passed) <= _MAX_REDIRECTS:
        url = urlsplit(at.redirect.url)
        path = f"{url.path}{at.path if at.redirect.keeps_path else ''}"
        at = names.of(url._replace(path=path).geturl())
        if at is None or at.redirect is None or at.name in passed:
            break
        passed.append(at.name)
    return ([*passed, service.name], True) if at is service else (passed, False)


def _check_forward_auth(service: Service, names: _Names, report: Report) -> None:
    auth = service.options.forward_auth
    if auth is None:
        return
    place = _at(service, "forward_auth.url")
    parts = urlsplit(auth.url)
    host = (parts.hostname or "").lower()
    auth_service = names.of(auth.url)
    if names.is_unknown(host):
        report.error(*place, *_unknown(host, names))
    elif auth_service is not None and parts.scheme == "http":
        report.error(
            *place,
            f"the gateway answers http://{host} with a redirect, so nobody could log in",
            "write https://",
        )
    elif auth_service is not None:
        if fault := _fault_of_judge(service, auth_service, names):
            report.error(*place, *fault)
    elif parts.scheme == "http" and not _is_traefik(host, names.site):
        report.warn(
            *place,
            f"Traefik asks {host} in plain text, and sends cookies and log-ins with it",
            "serve TLS there and write https://",
        )


def _fault_of_judge(service: Service, judge: Service, names: _Names) -> tuple[str, str] | None:
    """Why a service cannot say who may enter another one, and the fix."""
    if _asks_itself(service, judge, names):
        return (
            f"{judge.name} would be asked who may enter {judge.name}, and so without end",
            f"leave forward_auth out of {judge.name}, or write another URL",
        )
    if judge.redirect is not None:
        return f"{judge.name} is a redirect, so nobody could log in", "write the URL it leads to"
    if judge.options.basic_auth:
        return (
            f"{judge.name} asks for a password by basic_auth, so nobody could log in",
            f"leave basic_auth out of {judge.name}",
        )
    site = names.site
    for traefik, gateway in product(site.traefiks, site.gateways):
        source = address_pair(traefik, gateway).source
        admitted = judge.options.allowed_networks
        if admitted and not any(source in network for network in admitted):
            return (
                f"{judge.name} admits no requests from {traefik.name}, which asks it",
                f"add {source} to allowed_networks of {judge.name}",
            )
    return None


def _asks_itself(service: Service, judge: Service, names: _Names) -> bool:
    """Whether the question who may enter `service` comes back to it, or stays in a circle."""
    visited = {service.name}
    at: Service | None = judge
    while at is not None:
        if at.name in visited:
            return True
        visited.add(at.name)
        auth = at.options.forward_auth
        at = names.of(auth.url) if auth is not None else None
    return False


def _is_traefik(host: str, site: Site) -> bool:
    own = (address for traefik in site.traefiks for address in static_addresses(traefik))
    return host == "localhost" or host.startswith("127.") or host in map(str, own)


def _check_external(service: Service, names: _Names, report: Report) -> None:
    site, far = names.site, service.external
    if far is None:
        return
    place = _at(service, "address")
    elsewhere = "write its IPv4 address, or a name that it has elsewhere"
    host = far.host.lower()
    if "." not in host and f"{host}.{site.domain}" in names.records:
        host = f"{host}.{site.domain}"  # the search domain of every guest
    address = str(names.records.get(host, host))
    if names.is_unknown(host):
        report.error(*place, _unknown(host, names)[0], elsewhere)
    elif host == "localhost" or _is_loopback(address):
        report.error(
            *place,
            f"{far.host} is Traefik's own guest, whose loopback no other service may use",
            "write the address of the machine that serves it",
        )
    elif host in names.handed_on or (
        address in names.gateway and service.port in (ports.HTTP, ports.HTTPS)
    ):
        report.error(
            *place, f"{far.host} leads to the gateway, and so to the site's own routes", elsewhere
        )
    elif _is_traefik(address, site) and service.port == ports.HTTPS:
        report.error(*place, f"{far.host} leads to Traefik, and so to its own routes", elsewhere)
    elif _is_nobody(address):
        report.error(*place, f"{far.host} is not the address of a single machine", elsewhere)


def _is_loopback(address: str) -> bool:
    try:
        return IPv4Address(address).is_loopback
    except ValueError:
        return False


def _is_nobody(address: str) -> bool:
    try:
        ip = IPv4Address(address)
    except ValueError:
        return False
    return ip.is_unspecified or ip.is_multicast or ip.is_reserved


def _check_health_path(service: Service, names: _Names, report: Report) -> None:
    """Refuse a check whose path another service of the same name has."""
    if service.exposure != "gateway" or service.kind == "tcp" or not service.checked:
        return
    answers = names.at(service.fqdn, service.asked_path.partition("?")[0])
    if answers is not None and answers.name != service.name:
        report.error(
            *_at(service, "health_path"),
            f"{service.asked_path} is answered by {answers.name}, so it tells nothing of "
            f"{service.name}",
            f"write a path that {service.name} has itself",
        )


def _check_clients(service: Service, names: _Names, report: Report) -> None:
    """Tell of networks that may ask a service, and that no rule lets through to the gateway."""
    gateway = names.site.gateway
    if service.exposure != "gateway" or gateway is None or not gateway.firewall_enabled:
        return
    port = service.gateway_port or ports.HTTPS
    each = " and ".join(host.name for host in names.site.gateways)
    opened = [
        firewall.network_of(flow.source) for flow in names.flows if firewall.allows_port(flow, port)
    ]
    for network in service.options.allowed_networks:
        if not any(source is None or source.overlaps(network) for source in opened):
            rule = (
                f'{{"type": "in", "action": "ACCEPT", "proto": "tcp", "port": "{port}", '
                f'"source": "{network}"}}'
            )
            report.warn(
                *_at(service, "allowed_networks"),
                f"{network} is not the site's, and no rule lets it through to the gateway",
                f"add {rule} to firewall.rules of {each}, or remove it here"
                + ("" if service.gateway_port else "; services without allowed_networks are then "
                   "open to it as well"),
            )  # fmt: skip


def _check_doors(site: Site, report: Report) -> None:
    """Tell of clients that a rule lets in at one gateway alone: the virtual address may move."""
    asked = dict.fromkeys(
        (
            ports.HTTP,
            ports.HTTPS,
            *(service.gateway_port for service in site.services if service.gateway_port),
        )
    )
    for gateway, other in permutations(site.gateways, 2):
        if not other.firewall_enabled:
            continue
        let_in = [
            [
                flow
                for flow in firewall.flows(site)
                if flow.destination == host and not isinstance(flow.source, Host)
            ]
            for host in (gateway, other)
        ]
        for port in asked:
            own_sources, wider_sources = (
                [
                    firewall.network_of(flow.source)
                    for flow in flows
                    if firewall.allows_port(flow, port)
                ]
                for flows in let_in
            )
            for source in dict.fromkeys(own_sources):
                if source is None and any(card.address is None for card in gateway.interfaces):
                    continue  # of a network without a declared subnet, where nothing moves
                if not any(_within(source, wider) for wider in wider_sources):
                    report.warn(
                        other.source.file,
                        f"{other.source.path}.firewall.rules",
                        f"{gateway.name} lets in {source or 'anyone'} on port {port}, and "
                        f"{other.name} does not: they are refused while it has the virtual address",
                        f"write the rule in firewall.rules of both {gateway.name} and "
                        f"{other.name}, or of neither",
                    )


def _within(source: IPv4Network | None, wider: IPv4Network | None) -> bool:
    """Whether one source of connections covers another; None is anyone."""
    return wider is None or (source is not None and source.subnet_of(wider))


def _check_portainer(names: _Names, report: Report) -> None:
    """Refuse a service below a name of Portainer: browsers would give it Portainer's log-in.

    Pages of one origin share what the browser keeps of them (RFC 6454, section 3).
    """
    site = names.site
    own = control_plane.portainer(site) if site.portainer else None
    if own is None:
        return
    for service, name in _at_names_of(own, names):
        report.error(
            *_at(service, "path"),
            f"{name} is Portainer's with every path: whoever serves one of them could take the "
            "log-in of an administrator",
            "write another name",
        )


def _at_names_of(own: Service, names: _Names) -> Iterator[tuple[Service, str]]:
    for name in own.names:
        for service in names.routed.get(name, ()):
            if service is not own and service.name != own.name:
                yield service, name
