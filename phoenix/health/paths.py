"""The paths that requests take, hop by hop, each hop with the checks that prove it.

The one place that knows which checks a request rests on: the start page, `phoenix status`,
`phoenix doctor` and `phoenix explain` all read it here. Every check of
`phoenix.health.checks.checks` is on at least one path, and no check is made here: a path is an
order in which to look at their outcomes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from phoenix.components.guard.ruleset import UNIT as GUARD_UNIT
from phoenix.components.keepalived.keepalived_conf import UNIT as KEEPALIVED
from phoenix.components.networks import bridges
from phoenix.components.nfs import shares as nfs
from phoenix.components.portainer.compose_files import AGENT_UNIT, SERVER_UNIT
from phoenix.components.portainer.tunnel import UNIT as TUNNEL_UNIT
from phoenix.components.restic import files as restic
from phoenix.components.watch import files as watch
from phoenix.derived import backups, control_plane, deployments
from phoenix.derived.components import Component
from phoenix.derived.dns import DnsRecord
from phoenix.derived.find import Meaning, Stack, kind_of, unknown
from phoenix.derived.find import find as find_name
from phoenix.derived.routes import routes, tcp_services
from phoenix.health.advice import COMPONENTS, component_of
from phoenix.health.checks import checks
from phoenix.site import unit_names
from phoenix.site.addressing import static_addresses
from phoenix.site.findings import NameLookupError
from phoenix.site.memo import once_per_site
from phoenix.site.model import Deployment, Host, NfsMount, Service, Site, Template
from phoenix.site.names import CA
from phoenix.site.ports import HTTPS, WATCH
from phoenix.site.roles import guest_with, guests_with
from phoenix.watch.causes import Check, CheckedPath, Hop, checks_of


@once_per_site
def paths(site: Site) -> tuple[CheckedPath, ...]:
    """All paths: requests first, then what they depend on, then what must be refused.

    Raises:
        phoenix.site.roles.RoleError: the site has no gateway, Traefik or CA.
    """
    find = _Checks(checks(site))
    return tuple(
        path
        for make in (
            _requests,
            _tcp_requests,
            _direct_requests,
            _networks,
            _folders,
            _rooms,
            _reports,
            _names,
            _name_servers,
            _gateways,
            _passed_on_by_each,
            _proxies,
            _renewals,
            _portainer,
            _swarm,
            _backups,
            _guards,
        )
        for path in make(site, find)
    )


@once_per_site
def request_paths(site: Site) -> Mapping[str, CheckedPath]:
    """The path of a client's request to each service, by the gateway or direct, by its name."""
    return {path.service: path for path in paths(site) if path.kind == "request"}


@once_per_site
def agent_paths(site: Site) -> Mapping[str, CheckedPath]:
    """Portainer's path to each of its environments, by the guest's name: agents, and its own.

    Empty where nobody is Portainer's server; of one elsewhere the agents' ends alone.
    """
    return {path.guest: path for path in paths(site) if path.kind == "agent"}


@once_per_site
def stack_paths(site: Site) -> Mapping[tuple[str, str], CheckedPath]:
    """What each stack rests on, by its guest's name and its own: containers, Portainer's hold."""
    return {(path.guest, path.stack): path for path in paths(site) if path.kind == "stack"}


def service_checks(site: Site, service: Service) -> tuple[Check, ...]:
    """The checks that a request for a service rests on, along its path.

    Behind the gateway these are its whole path's; for the CA every host's connection to it, for
    Portainer's agent those between it and the server.

    Raises:
        phoenix.site.roles.RoleError: the site has no gateway, Traefik or CA.
    """
    if service.name in request_paths(site):
        return request_paths(site)[service.name].checks
    if service.kind == "ca":
        find = _Checks(checks(site))
        return checks_of(hop for host in site.hosts for hop in _reach_ca(site, host, find))
    if service.kind == "agent" and service.owner.name in agent_paths(site):
        return agent_paths(site)[service.owner.name].checks
    return ()


def select(site: Site, name: str) -> tuple[CheckedPath, ...]:
    """The paths that concern whatever has this name (see `phoenix.derived.find`), in their order.

    Of a name with several meanings, as a guest and its service, the paths of all of them.

    Raises:
        NameLookupError: nothing has that name, or no path concerns what has it.
    """
    meanings = find_name(site, name)
    if not meanings:
        raise unknown(site, name)
    chosen = {path for meaning in meanings for path in concerning(site, meaning)}
    if not chosen:
        subject = " and ".join(f"the {kind_of(meaning)} {meaning.name}" for meaning in meanings)
        raise NameLookupError(f"no request of this site depends on {subject}: nothing to check")
    return tuple(path for path in paths(site) if path in chosen)


def concerning(site: Site, meaning: Meaning) -> tuple[CheckedPath, ...]:
    """The paths that concern one thing.

    A service or a stack: the paths about it. A guest: those in which it takes part. A component:
    those that rest on one of its units; if it has no unit, those in which one of its hosts takes
    part. A record: those that look it up, else every host's way to DNS. A template never runs, so
    the result is empty.
    """
    every = paths(site)
    match meaning:
        case Service():
            return tuple(path for path in every if {meaning.name, meaning.fqdn} & path.about)
        case Stack():
            concerned = {
                meaning.name.lower(),
                *(stack.project.lower() for _, stack in meaning.deployed),
            }
            return tuple(path for path in every if concerned & path.about)
        case Host():
            about = {meaning.name.lower(), meaning.portainer_environment.lower(), meaning.fqdn}
            return tuple(path for path in every if meaning.name in path.hosts or about & path.about)
        case Component():
            return tuple(path for path in every if _through(site, meaning, path))
        case DnsRecord():
            asks = [path for path in every if any(_resolves(c, meaning.name) for c in path.checks)]
            return tuple(asks) or tuple(path for path in every if path.kind == "names")
        case Template():
            return ()


def _through(site: Site, component: Component, path: CheckedPath) -> bool:
    if component.name == "stacks":
        return any(check.function in _OF_STACKS for check in path.checks)
    if component.name in COMPONENTS.values():
        return any(component_of(check.unit) == component.name for check in path.checks)
    return any(host.name in path.hosts for host in component.hosts(site))


def _resolves(check: Check, name: str) -> bool:
    return check.function == "names_resolve" and check.name == name


_OF_STACKS = ("containers_are_well", "tasks_are_well")
"""The checks of what a stack runs."""


class _Checks:
    """The site's checks, found by what they are about."""

    _FIELDS = ("function", "host", "target", "unit", "name", "service", "certificate", "endpoint",
               "stack", "question")  # fmt: skip

    def __init__(self, every: Sequence[Check]) -> None:
        self._by_field: dict[tuple[str, object], list[Check]] = defaultdict(list)
        self._asked: dict[tuple[object, ...], tuple[Check, ...]] = {}
        for check in every:
            for field in self._FIELDS:
                self._by_field[field, getattr(check, field)].append(check)

    def __call__(self, function: str, **fields: object) -> tuple[Check, ...]:
        """The checks of one function whose fields have these values, in the order of `checks`."""
        asked = (function, *fields.items())
        if asked not in self._asked:
            self._asked[asked] = self._matching(function, fields)
        return self._asked[asked]

    def _matching(self, function: str, fields: Mapping[str, object]) -> tuple[Check, ...]:
        shortest = min(
            (self._by_field.get(item, []) for item in (("function", function), *fields.items())),
            key=len,
        )
        return tuple(
            check
            for check in shortest
            if check.function == function
            and all(getattr(check, field) == value for field, value in fields.items())
        )

    def unit(self, host: Host, unit: str) -> tuple[Check, ...]:
        """Whether a unit of a host runs."""
        return self("unit_runs", host=host.name, unit=unit)

    def connection(self, source: Host, target: Host, **fields: str) -> tuple[Check, ...]:
        """One connection: TCP, certificate, TLS; `fields` say which of those between the two."""
        on_the_way = tuple(
            check
            for function in ("port_answers", "served_is_fresh", "tls_verifies")
            for check in self(function, host=source.name, target=target.name, **fields)
        )
        by_roots = any(check.function == "tls_verifies" for check in on_the_way)
        return (*self.roots(source), *on_the_way) if by_roots else on_the_way

    def roots(self, host: Host) -> tuple[Check, ...]:
        """What a host verifies certificates by."""
        return self("roots_are_there", host=host.name)

    def certificate(self, host: Host, port: int) -> tuple[Check, ...]:
        """A holder's certificate on disk, and that it is the one in use at a port."""
        served = [c for c in self("pair_is_served", host=host.name) if c.port == port]
        return (*self("pair_fits", host=host.name), *served)


# -- requests --------------------------------------------------------------------------------------


def _requests(site: Site, find: _Checks) -> Iterator[CheckedPath]:
    """A client (the hypervisor: no guest asks itself) -> gateway -> Traefik -> backend.

    They rest on the one gateway and the one Traefik. Of several, one that is down is told by
    `_gateways` and `_proxies`.
    """
    client = site.hypervisor
    gateways, proxies = guests_with(site, "nginx"), guests_with(site, "traefik")
    gateway, alone = gateways[0], () if proxies[1:] else proxies
    for route in routes(site):
        name, service = route.fqdn, route.service.name
        hops = [
            _asks_dns(site, client, find, *route.names),
            *(
                Hop(
                    *(client.name, door.name, "TLS by the gateway"),
                    (
                        *find.unit(door, unit_names.NGINX),
                        *find.certificate(door, HTTPS),
                        *(
                            check
                            for known in route.names
                            for check in find.connection(client, door, name=known)
                        ),
                    ),
                )
                for door in (() if gateways[1:] else gateways)
            ),
            *(_to_traefik(gateways, proxy, find) for proxy in alone),
            *(
                Hop(
                    *(proxy.name, proxy.name, "Traefik's router"),
                    find("router_is_enabled", host=proxy.name, service=service),
                )
                for proxy in alone
            ),
            *(_backend(proxy, route.service, find) for proxy in proxies),
            Hop(
                *(client.name, gateway.name, "the whole request"),
                _asked(client, find, service),
            ),
        ]
        about = _lower({service, *_labels(route.service), *_stack_names(route.service)})
        with_checks = tuple(hop for hop in hops if hop.checks)
        url = f"https://{name}{route.service.path}"
        yield CheckedPath("request", url, with_checks, about, service=service)


def _to_traefik(gateways: Sequence[Host], proxy: Host, find: _Checks) -> Hop:
    """The hops from the gateway; each of several has a path of its own (`_gateways`)."""
    asked = () if gateways[1:] else find.connection(gateways[0], proxy, name=proxy.fqdn)
    return Hop(
        *(gateways[0].name, proxy.name, "TLS by Traefik"),
        (*find.unit(proxy, unit_names.TRAEFIK), *find.certificate(proxy, HTTPS), *asked),
    )


def _gateways(site: Site, find: _Checks) -> Iterator[CheckedPath]:
    """A path for each of several gateways: it runs, answers, and may hold the address."""
    client = site.hypervisor
    for gateway in site.gateways if site.gateways[1:] else ():
        runs = (
            *find.unit(gateway, unit_names.NGINX),
            *find.unit(gateway, KEEPALIVED),
            *find.certificate(gateway, HTTPS),
            *find("address_is_held", host=gateway.name),
        )
        # Of several, one that is down is told by `_proxies`.
        asks = tuple(
            check
            for proxy in (() if site.traefiks[1:] else site.traefiks)
            for check in find.connection(gateway, proxy, name=proxy.fqdn)
        )
        by_port = {service.name for service in tcp_services(site)}  # `_passed_on_by_each`
        connects = tuple(
            check for check in find.connection(client, gateway) if check.service not in by_port
        )
        itself = _asked_at(client, gateway, find)
        hops = (
            Hop(gateway.name, gateway.name, "Nginx, and who has the address", runs),
            Hop(*(client.name, gateway.name, "TLS by the gateway"), connects),
            Hop(gateway.name, guest_with(site, "traefik").name, "TLS by Traefik", asks),
            Hop(client.name, gateway.name, "a request by its own address", itself),
        )
        with_checks = tuple(hop for hop in hops if hop.checks)
        about = _lower({"nginx", "keepalived"})
        yield CheckedPath("gateway", f"{gateway.name} takes requests", with_checks, about)


def _asked_at(client: Host, gateway: Host, find: _Checks) -> tuple[Check, ...]:
    """A request by the address of one of several gateways."""
    asked = find("request_gives", target=gateway.name, service="")
    return (*find.roots(client), *asked) if asked else ()


def _proxies(site: Site, find: _Checks) -> Iterator[CheckedPath]:
    """A path for each of several Traefiks: it runs, answers the gateways, and has every route."""
    for proxy in site.traefiks if site.traefiks[1:] else ():
        runs = (*find.unit(proxy, unit_names.TRAEFIK), *find.certificate(proxy, HTTPS))
        hops = (
            Hop(proxy.name, proxy.name, "Traefik and its certificate", runs),
            *(
                Hop(
                    *(gateway.name, proxy.name, "TLS by Traefik"),
                    find.connection(gateway, proxy, name=proxy.fqdn),
                )
                for gateway in guests_with(site, "nginx")
            ),
            Hop(
                *(proxy.name, proxy.name, "Traefik's routers"),
                find("router_is_enabled", host=proxy.name),
            ),
        )
        yield CheckedPath("proxy", f"{proxy.name} routes requests", hops, _lower({"traefik"}))


def _tcp_requests(site: Site, find: _Checks) -> Iterator[CheckedPath]:
    """A client -> gateway -> what speaks something else than HTTP.

    Of several gateways, each by itself is told by `_passed_on_by_each`.
    """
    client, gateways = site.hypervisor, guests_with(site, "nginx")
    for service in tcp_services(site):
        target = "" if gateways[1:] else gateways[0].name
        hops = (
            _asks_dns(site, client, find, *service.names),
            *(
                _at_the_door(client, door, service, find)
                for door in (() if gateways[1:] else gateways)
            ),
            *(_backend(door, service, find) for door in gateways),
            Hop(
                *(client.name, gateways[0].name, "the whole way"),
                _passed_on(client, target, service, find),
            ),
        )
        about = _lower({service.name, *_labels(service), *_stack_names(service)})
        yield CheckedPath(
            *("request", f"{service.scheme}://{service.fqdn}:{service.gateway_port}"),
            tuple(hop for hop in hops if hop.checks), about, service=service.name,
        )  # fmt: skip


def _passed_on_by_each(site: Site, find: _Checks) -> Iterator[CheckedPath]:
    """Of several gateways each: that it hands on by ports of its own, as the others do."""
    client = site.hypervisor
    for gateway in site.gateways if site.gateways[1:] else ():
        for service in tcp_services(site):
            hops = (
                _at_the_door(client, gateway, service, find),
                _backend(gateway, service, find),
                Hop(
                    *(client.name, gateway.name, "the whole way"),
                    _passed_on(client, gateway.name, service, find),
                ),
            )
            about = _lower({"nginx", service.name, *_labels(service)})
            name = f"{gateway.name} hands on {service.name}"
            yield CheckedPath("gateway", name, tuple(hop for hop in hops if hop.checks), about)


def _at_the_door(client: Host, gateway: Host, service: Service, find: _Checks) -> Hop:
    """Nginx, and the port of it that a service has to itself."""
    words = {"host": client.name, "target": gateway.name, "service": service.name}
    return Hop(
        *(client.name, gateway.name, f"port {service.gateway_port} of the gateway"),
        (*find.unit(gateway, unit_names.NGINX), *find("port_answers", **words)),
    )


def _passed_on(client: Host, target: str, service: Service, find: _Checks) -> tuple[Check, ...]:
    """Through a gateway to the service; at the virtual address the checks have no target."""
    through = tuple(
        check
        for function in ("served_is_fresh", "tls_verifies", "tcp_passes")
        for check in find(function, host=client.name, target=target, service=service.name)
    )
    by_roots = any(check.function == "tls_verifies" for check in through)
    return (*find.roots(client), *through) if by_roots else through


def _asked(client: Host, find: _Checks, service: str) -> tuple[Check, ...]:
    """The whole requests for a service, as its options have them asked; all verify by the roots."""
    asked = tuple(
        check
        for function in ("request_gives", "login_is_asked", "grpc_gives")
        for check in find(function, service=service)
    )
    return (*find.roots(client), *asked) if asked else ()


def _direct_requests(site: Site, find: _Checks) -> Iterator[CheckedPath]:
    """A client to a service that no gateway stands before."""
    client = site.hypervisor
    for service in site.services:
        if service.kind == "backend" and service.exposure == "direct":
            hops = [_asks_dns(site, client, find, *service.names), _backend(client, service, find)]
            if asked := _asked(client, find, service.name):
                hops.append(Hop(client.name, service.owner.name, "the whole request", asked))
            about = _lower({service.name, *_labels(service), *_stack_names(service)})
            name = f"{service.scheme}://{service.fqdn}:{service.port}"
            yield CheckedPath("request", name, tuple(hops), about, service=service.name)


def _backend(source: Host, service: Service, find: _Checks) -> Hop:
    """`source` to what answers: the units and containers behind it, and the connection."""
    owner = source if service.kind in _BY_TRAEFIK else service.owner
    if service.external is not None:
        description = f"{service.scheme} port {service.port} of {service.external.host}"
        words = {"host": source.name, "service": service.name}
        return Hop(
            *(source.name, owner.name, description),
            (*find("port_answers", **words), *find("external_proves", **words)),
        )
    by_traefik = service.kind in _BY_TRAEFIK
    behind = [*(() if by_traefik else find.unit(owner, unit_names.DOCKER))]
    behind += find("unit_runs", host=owner.name, service=service.name)
    if service.deployment is not None:
        behind += _running(owner, service.deployment, find)
    if not by_traefik:
        if service.has_tls:
            behind += find.certificate(owner, service.port)
        behind += find.connection(source, owner, service=service.name)
    description = "what answers" if by_traefik else f"{service.scheme} port {service.port}"
    return Hop(source.name, owner.name, description, tuple(behind))


_BY_TRAEFIK = ("dashboard", "home", "redirect", "external")
"""Kinds that each Traefik's guest serves or connects to by itself."""


def _labels(service: Service) -> set[str]:
    """Every name of a service, with and without the domain."""
    tail = service.fqdn.removeprefix(service.label)
    return {*service.names, *(name.removesuffix(tail) for name in service.names)}


def _stack_names(service: Service) -> list[str]:
    stack = service.deployment
    return [stack.name, stack.project] if stack else []


# -- what requests rest on -------------------------------------------------------------------------


def _asks_dns(site: Site, host: Host, find: _Checks, *names: str) -> Hop:
    """Some names, or all of them where none is given.

    They rest on the one name server. Of several, one that is down is told by `_name_servers`.
    """
    alone = not site.name_servers[1:]
    runs = find.unit(site.hypervisor, unit_names.DNS) if alone else ()
    if names:
        checks = tuple(
            check for name in names for check in find("names_resolve", host=host.name, name=name)
        )
    else:
        checks = (
            *find("names_resolve", host=host.name),
            *find("name_is_unknown", host=host.name),
        )
    description = "names" if len(names) != 1 else "its name"
    return Hop(host.name, site.hypervisor.name, description, (*runs, *checks))


def _networks(site: Site, find: _Checks) -> Iterator[CheckedPath]:
    """What the router of further networks makes: bridges, forwarding, NAT."""
    for host in site.hosts:
        if runs := find.unit(host, bridges.UNIT):
            hop = Hop(host.name, host.name, "bridges, forwarding and NAT", runs)
            yield CheckedPath("network", f"networks of {host.name}", (hop,))


def _folders(site: Site, find: _Checks) -> Iterator[CheckedPath]:
    """Folders by NFS: that they are shared, and that each guest has its own."""
    for host in site.hosts:
        if host.exports:
            name = f"{host.name} shares folders by NFS"
            yield CheckedPath("folder", name, (_shares(host, host, find),), _lower({"nfs"}))
        if host.mounts:
            hops = _mounts(site, host, host.mounts, find)
            name = f"{host.name} has its folders by NFS"
            yield CheckedPath("folder", name, hops, _lower({"nfs"}))


def _mounts(site: Site, host: Host, mounts: Iterable[NfsMount], find: _Checks) -> tuple[Hop, ...]:
    """From the servers that are the site's to what a host has mounted; nothing without a mount."""
    asked = {mount.server for mount in mounts}
    if not asked:
        return ()
    servers = (
        other for other in site.hosts if other.exports and asked & {*static_addresses(other)}
    )
    mounted = find.unit(host, nfs.UNIT)
    return (
        *(_shares(host, server, find) for server in servers),
        Hop(host.name, host.name, "folders by NFS", mounted),
    )


def _shares(host: Host, server: Host, find: _Checks) -> Hop:
    return Hop(host.name, server.name, "the NFS server", find.unit(server, nfs.SERVER_UNIT))


def _rooms(site: Site, find: _Checks) -> Iterator[CheckedPath]:
    for host in site.hosts:
        hops = [Hop(host.name, host.name, "room on its disks", find("has_room", host=host.name))]
        if clock := find("clock_agrees", host=host.name):
            hops.append(Hop(host.name, host.name, "its clock", clock))
        hops.append(Hop(host.name, host.name, "its own name", find("is_called", host=host.name)))
        if updates := find("updates_are_done", host=host.name):
            hops.append(Hop(host.name, host.name, "its updates", updates))
        yield CheckedPath("host", f"room and clock of {host.name}", tuple(hops))


def _reports(site: Site, find: _Checks) -> Iterator[CheckedPath]:
    """What each host's checks find comes to the watcher, which looks at it."""
    watcher = site.watcher
    if watcher is None:
        return
    takes = (*find.unit(watcher, watch.RECEIVER), *find.unit(watcher, watch.JUDGE))
    for host in site.watched:
        hops = (
            Hop(host.name, host.name, "its checks by a timer",
                (*find.unit(host, watch.TIMER), *find.unit(host, watch.PAGE_TIMER))),
            Hop(
                *(host.name, watcher.name, "the watcher"),
                (*takes, *(check
                           for check in find("port_answers", host=host.name, target=watcher.name)
                           if check.port == WATCH)),
            ),
        )  # fmt: skip
        yield CheckedPath("host", f"{host.name} reports to the watcher", hops)


def _names(site: Site, find: _Checks) -> Iterator[CheckedPath]:
    for host in site.hosts:
        yield CheckedPath("names", f"{host.name} asks DNS", (_asks_dns(site, host, find),))


def _name_servers(site: Site, find: _Checks) -> Iterator[CheckedPath]:
    """A path for each of several name servers: it runs, and answers every host that asks it."""
    if not site.name_servers[1:]:
        return
    for server in site.name_servers:
        runs = Hop(
            *(server.name, server.name, "the name server"), find.unit(server, unit_names.DNS)
        )
        answers = (
            Hop(host.name, server.name, "names", asked)
            for host in site.hosts
            if (asked := find("server_answers", host=host.name, target=server.name))
        )
        yield CheckedPath("name_server", f"{server.name} answers names", (runs, *answers))


def _reach_ca(site: Site, host: Host, find: _Checks) -> tuple[Hop, Hop, Hop]:
    service = control_plane.ca(site)
    ca, name = service.owner, service.fqdn
    runs = find.unit(ca, unit_names.STEP_CA)
    connects = find.connection(host, ca, name=name)
    return (
        _asks_dns(site, host, find, name),
        Hop(host.name, ca.name, "TLS by the CA", (*runs, *connects)),
        Hop(
            *(host.name, ca.name, "orders by ACME"),
            (*find.roots(ca), *find("acme_answers", host=ca.name)),
        ),
    )


def _renewals(site: Site, find: _Checks) -> Iterator[CheckedPath]:
    """Every host can reach the CA; holders renew by it."""
    on_every_path = {*site.gateways, *site.traefiks}
    routed = {name for route in routes(site) for name in (route.service.name, route.fqdn)}
    for host in site.hosts:
        hops = [*_reach_ca(site, host, find)]
        about = {CA, f"{CA}.{site.domain}", *(routed if host in on_every_path else ())}
        fits = find("pair_fits", host=host.name)
        for certificate in (check.certificate for check in fits):
            words = {"host": host.name, "certificate": certificate}
            proof = (
                *find("unit_runs", **words),
                *find("pair_fits", **words),
                *find("pair_is_served", **words),
            )
            hops.append(Hop(host.name, host.name, f"certificate {certificate}", proof))
            about |= {service.name for service in site.services_of(host)}
        kind = "gets its certificate" if fits else "reaches the CA"
        yield CheckedPath("renewal", f"{host.name} {kind}", tuple(hops), _lower(about))


def _portainer(site: Site, find: _Checks) -> Iterator[CheckedPath]:
    server = site.portainer
    for host, stack, way in deployments.placed(site):
        if server is None or way == "compose":
            yield _stack(site, host, stack, (_containers(host, stack, find),))
    if server is None:
        for host in deployments.environments(site):  # of a Portainer elsewhere
            yield _agent_alone(host, find)
        return
    runs = (
        *find.unit(server, unit_names.DOCKER), *find.unit(server, SERVER_UNIT), *find.roots(server),
    )  # fmt: skip
    api = (
        _asks_dns(site, server, find, server.fqdn),
        Hop("operator", server.name, "API with our key", (*runs, *find("portainer_knows_us"))),
    )
    about = _lower({"portainer", server.fqdn})
    yield CheckedPath("api", "operator uses Portainer's API", api, about)
    for host in deployments.environments(site):
        if host == server:
            endpoint = host.portainer_environment
            is_up = find("endpoint_is_up", endpoint=endpoint)
            answers = Hop(server.name, host.name, f"endpoint {endpoint}", is_up)
            about = _lower({endpoint, "portainer"})
            name = f"Portainer reaches Docker on {host.name}, its own guest"
            yield CheckedPath("agent", name, (*api, answers), about, guest=host.name)
        else:
            yield _agent(site, server, host, api, find)
        for stack in host.docker_stacks:
            hops = (_containers(host, stack, find), *api, _held(server, host, stack, find))
            yield _stack(site, host, stack, hops)


def _agent(
    site: Site, server: Host, agent: Host, api: tuple[Hop, ...], find: _Checks
) -> CheckedPath:
    endpoint = agent.portainer_environment
    runs = _agent_runs(server, agent, find)
    talks = (
        *find("port_answers", host=server.name, endpoint=endpoint),
        *find("served_is_fresh", host=server.name, endpoint=endpoint),
        *find("tls_verifies", host=server.name, endpoint=endpoint),
        *find("agent_pings", endpoint=endpoint),
    )
    names = [s.fqdn for s in site.services_of(agent) if s.kind == "agent"]
    is_up = find("endpoint_is_up", endpoint=endpoint)
    hops = (
        Hop(server.name, agent.name, "the agent", (*runs, *talks)),
        *api,
        Hop(server.name, agent.name, f"endpoint {endpoint}", is_up),
    )
    labels = [name.removesuffix(f".{site.domain}") for name in names]
    about = _lower({endpoint, "portainer", *names, *labels})
    return CheckedPath("agent", f"Portainer reaches {agent.name}", hops, about, guest=agent.name)


def _agent_runs(server: Host, agent: Host, find: _Checks) -> tuple[Check, ...]:
    """What an endpoint in Portainer rests on, at both ends of the tunnel."""
    return (
        *find.unit(agent, unit_names.DOCKER),
        *find.unit(agent, AGENT_UNIT),
        *find.unit(agent, TUNNEL_UNIT),
        *find.unit(server, TUNNEL_UNIT),
        *find.roots(server),
    )


def _agent_alone(agent: Host, find: _Checks) -> CheckedPath:
    """The path as far as the site's hosts can check it: none of them asks an external Portainer."""
    runs = (*find.unit(agent, unit_names.DOCKER), *find.unit(agent, AGENT_UNIT))
    about = _lower({agent.portainer_environment, "portainer"})
    hops = (Hop("Portainer", agent.name, "the agent", runs),)
    name = f"Portainer's agent runs on {agent.name}"
    return CheckedPath("agent", name, hops, about, guest=agent.name)


def _containers(host: Host, stack: Deployment, find: _Checks) -> Hop:
    containers = (*find.unit(host, unit_names.DOCKER), *_running(host, stack, find))
    return Hop(host.name, host.name, "containers", containers)


def _running(host: Host, stack: Deployment, find: _Checks) -> tuple[Check, ...]:
    """What runs of a stack; of the swarm's it is asked of its manager, which must be one."""
    return (
        *(find("in_swarm", host=host.name) if stack.type == "swarm" else ()),
        *(c for name in _OF_STACKS for c in find(name, host=host.name, stack=stack.project)),
    )


def _held(server: Host, host: Host, stack: Deployment, find: _Checks) -> Hop:
    endpoint = host.portainer_environment
    active = (
        *(_agent_runs(server, host, find) if endpoint else ()),
        *find("endpoint_is_up", endpoint=endpoint),
        *find("stack_is_active", endpoint=endpoint, stack=stack.project),
    )
    return Hop(server.name, host.name, "the stack in Portainer", active)


def _stack(site: Site, host: Host, stack: Deployment, hops: tuple[Hop, ...]) -> CheckedPath:
    services = {s.name for s in site.services_of(host) if s.deployment == stack}
    return CheckedPath(
        *("stack", f"stack {stack.project} on {host.name}", hops),
        about=_lower({stack.name, stack.project, *services}),
        guest=host.name,
        stack=stack.project,
    )


def _swarm(site: Site, find: _Checks) -> Iterator[CheckedPath]:
    """Each node from Docker on, and how the managers have it, of which one that answers will do."""
    managers = tuple(
        check for host in site.swarm_nodes if host.is_manager for check in _in_swarm(host, find)
    )
    for host in site.swarm_nodes:
        of_managers = find("node_is", target=host.name)
        hops = (
            Hop(host.name, host.name, "Docker and its swarm", _in_swarm(host, find)),
            Hop(of_managers[0].host, host.name, "the node", (*managers, *of_managers)),
        )
        about = _lower({"swarm", host.name})
        yield CheckedPath("swarm", f"node {host.name} of the swarm", hops, about)
    kernels = [
        Hop(check.host, check.host, check.hop, (check,)) for check in find("kernel_encrypts")
    ]
    for hop in dict.fromkeys(check.hop for check in find("overlay_is")):
        of_managers = find("overlay_is", question=hop)
        first = of_managers[0].host
        network = Hop(first, first, hop, (*managers, *of_managers))
        name = f"{hop} of the swarm"
        yield CheckedPath("swarm", name, (network, *kernels), _lower({"swarm"}))


def _in_swarm(host: Host, find: _Checks) -> tuple[Check, ...]:
    return (*find.unit(host, unit_names.DOCKER), *find("in_swarm", host=host.name))


def _backups(site: Site, find: _Checks) -> Iterator[CheckedPath]:
    """Each host's backups: its timers, what they have noted of each part, and what is kept."""
    for host in backups.hosts(site):
        timers = (*find.unit(host, restic.TIMER), *find.unit(host, restic.PROOF_TIMER))
        target = site.backups.target if site.backups is not None else None
        on = backups.mount_point(host, target.place) if target and target.kind == "folder" else ""
        hops = (
            *_mounts(site, host, [mount for mount in host.mounts if mount.mount_point == on], find),
            Hop(host.name, host.name, "backups by a timer", timers),
            Hop(host.name, host.name, "backups", find("backup_is_good", host=host.name)),
            Hop(host.name, host.name, "retention", find("backups_are_kept", host=host.name)),
        )
        about = _lower({"backups", "restic"})
        yield CheckedPath("backup", f"backups of {host.name}", hops, about)


def _guards(site: Site, find: _Checks) -> Iterator[CheckedPath]:
    """What must be refused, and what must stay hidden."""
    words_by_function = {
        "name_is_rejected": "undeclared names at {target}",
        "serves_no_stranger": "{target} port {port} to {host}",
        "docker_has_no_port": "Docker's API on {target}",
        "ports_are_shut": "undeclared ports of {target} to {host}",
        "ports_are_shut_to_containers": "undeclared ports of {target} to its containers",
        "keys_are_private": "keys on {target}",
        "issued_as_declared": "certificates by {target}",
    }
    for host in site.hosts:
        if runs := find.unit(host, GUARD_UNIT):
            hop = Hop(host.name, host.name, "the guard", runs)
            yield CheckedPath("guard", f"what {host.name} lets in", (hop,))
    for function, words in words_by_function.items():
        for check in find(function):
            name = words.format(target=check.target, host=check.host, port=check.port)
            # Docker says which network its containers have.
            by_docker = function == "ports_are_shut_to_containers"
            asked = find.unit(site.host(check.host), unit_names.DOCKER) if by_docker else ()
            hop = Hop(check.host, check.target, check.hop, (*asked, check))
            yield CheckedPath("guard", name, (hop,))


def _lower(names: Iterable[str]) -> frozenset[str]:
    return frozenset(name.lower() for name in names)
