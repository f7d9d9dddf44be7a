"""The paths that requests take, hop by hop, each hop with the checks that prove it.

Every check of `phoenix.health.checks.checks` is on at least one path, and no check is made here:
a path is an order in which to look at their outcomes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal

from phoenix.components.acme.config import TIMER
from phoenix.components.portainer.config import AGENT_UNIT, SERVER_UNIT
from phoenix.derived.components import Component
from phoenix.derived.dns import DnsRecord
from phoenix.derived.find import Meaning, Stack, find, kind_of, unknown
from phoenix.derived.routes import Route, routes
from phoenix.health.advice import COMPONENTS
from phoenix.health.checks import Check, checks
from phoenix.site.findings import NameLookupError
from phoenix.site.model import Deployment, Host, Service, Site, Template
from phoenix.site.roles import guest_with

Kind = Literal["request", "names", "renewal", "agent", "stack", "api", "guard"]
"""What a path is for; `guard`: something that must be refused."""


@dataclass(frozen=True)
class Hop:
    """One step of a path: `source` asks `target`; `what` is asked, in a few words."""

    source: str
    target: str
    what: str
    checks: tuple[Check, ...]

    @property
    def hosts(self) -> frozenset[str]:
        """Every host that takes part."""
        return frozenset({self.source, self.target, *(check.host for check in self.checks)})


@dataclass(frozen=True)
class Path:
    """One way through the site. `about`: the names by which an operator means it, lower case."""

    kind: Kind
    name: str
    hops: tuple[Hop, ...]
    about: frozenset[str] = frozenset()

    @property
    def checks(self) -> tuple[Check, ...]:
        """All checks of the path, each once."""
        return tuple(dict.fromkeys(check for hop in self.hops for check in hop.checks))

    @property
    def hosts(self) -> frozenset[str]:
        """Every host that takes part."""
        return frozenset(host for hop in self.hops for host in hop.hosts)


@cache
def paths(site: Site) -> tuple[Path, ...]:
    """All paths: requests first, then what they rest on, then what must be refused."""
    return tuple(
        path
        for make in (_requests, _names, _renewals, _portainer, _guards)
        for path in make(site, _Checks(checks(site)))
    )


def select(site: Site, name: str) -> tuple[Path, ...]:
    """The paths that concern whatever has this name (see `phoenix.derived.find`), in their order.

    Of a name with several meanings, as a guest and its service, the paths of all of them.

    Raises:
        NameLookupError: nothing has that name, or no path concerns what has it.
    """
    meanings = find(site, name)
    if not meanings:
        raise unknown(site, name)
    chosen = {path for meaning in meanings for path in concerning(site, meaning)}
    if not chosen:
        what = " and ".join(f"the {kind_of(one)} {one.name}" for one in meanings)
        raise NameLookupError(f"no request of this site depends on {what}: nothing to check")
    return tuple(path for path in paths(site) if path in chosen)


def concerning(site: Site, meaning: Meaning) -> tuple[Path, ...]:
    """The paths that concern one thing.

    A service or a stack: the paths about it. A guest: those in which it takes part. A component:
    those that rest on a unit that it keeps, and where it keeps none, those in which one of its
    hosts takes part. A record: those that look it up, else every host's way to DNS. A template
    never runs, so there is none.
    """
    every = paths(site)
    match meaning:
        case Service():
            return tuple(one for one in every if {meaning.name, meaning.fqdn} & one.about)
        case Stack():
            named = {
                meaning.name.lower(),
                *(stack.project.lower() for _, stack in meaning.deployed),
            }
            return tuple(one for one in every if named & one.about)
        case Host():
            about = {meaning.name.lower(), meaning.portainer_environment.lower(), meaning.fqdn}
            return tuple(one for one in every if meaning.name in one.hosts or about & one.about)
        case Component():
            return tuple(one for one in every if _through(site, meaning, one))
        case DnsRecord():
            asks = [one for one in every if any(_resolves(c, meaning.name) for c in one.checks)]
            return tuple(asks) or tuple(one for one in every if one.kind == "names")
        case Template():
            return ()


def _through(site: Site, component: Component, path: Path) -> bool:
    if component.name == "stacks":
        return any(check.probe == "containers_are_well" for check in path.checks)
    units = {unit for unit, name in COMPONENTS.items() if name == component.name}
    if units:
        return any(check.probe == "unit_runs" and check.subject in units for check in path.checks)
    return any(host.name in path.hosts for host in component.hosts(site))


def _resolves(check: Check, name: str) -> bool:
    return check.probe == "names_resolve" and check.subject == name


class _Checks:
    """The site's checks, found by what they are about."""

    def __init__(self, made: Iterable[Check]) -> None:
        self._made = tuple(made)

    def __call__(self, *probes: str, **fields: str) -> tuple[Check, ...]:
        """Those of `probes` (empty: any) whose fields have these values, in their order."""
        return tuple(
            check
            for check in self._made
            if (not probes or check.probe in probes)
            and all(getattr(check, field) == value for field, value in fields.items())
        )

    def unit(self, host: Host, *units: str) -> tuple[Check, ...]:
        """Whether units run."""
        return tuple(c for c in self("unit_runs", host=host.name) if c.subject in units)

    def tls(self, source: Host, target: Host, subject: str) -> tuple[Check, ...]:
        """One connection: TCP, certificate, TLS."""
        probes = ("port_answers", "served_is_fresh", "tls_verifies")
        return self(*probes, host=source.name, target=target.name, subject=subject)

    def pair(self, host: Host) -> tuple[Check, ...]:
        """A holder's certificate on disk, and that it is the one in use."""
        return self("pair_fits", "pair_is_served", host=host.name)


# -- requests --------------------------------------------------------------------------------------


def _requests(site: Site, find: _Checks) -> Iterator[Path]:
    """A client (the hypervisor: no guest asks itself) -> gateway -> Traefik -> backend."""
    client = site.hypervisor
    gateway, proxy = guest_with(site, "nginx"), guest_with(site, "traefik")
    for route in routes(site):
        name = route.fqdn
        hops = [
            _asks_dns(site, client, find, name),
            Hop(
                *(client.name, gateway.name, "TLS by the gateway"),
                (
                    *find.unit(gateway, "nginx.service"),
                    *find.pair(gateway),
                    *find.tls(client, gateway, name),
                ),
            ),
            Hop(
                *(gateway.name, proxy.name, "TLS by Traefik"),
                (
                    *find.unit(proxy, "traefik.service"),
                    *find.pair(proxy),
                    *find.tls(gateway, proxy, proxy.fqdn),
                ),
            ),
            Hop(
                *(proxy.name, proxy.name, "Traefik's router"),
                find("router_is_enabled", subject=route.service.name),
            ),
            _backend(site, route, find),
            Hop(
                *(client.name, gateway.name, "the whole request"),
                find("request_gives", subject=name),
            ),
        ]
        about = {route.service.name, name, *_stack_names(route.service)}
        yield Path("request", f"https://{name}", tuple(h for h in hops if h.checks), _lower(about))


def _backend(site: Site, route: Route, find: _Checks) -> Hop:
    """Traefik to what answers: the units and containers behind it, and the connection."""
    service, owner = route.service, route.service.owner
    proxy = guest_with(site, "traefik")
    units = [f"phoenix-{service.name}.service"]
    if owner != proxy:
        units.append("docker.service")
    behind = [*find.unit(owner, *units)]
    if service.deployment is not None:
        project = service.deployment.project
        behind += find("containers_are_well", host=owner.name, subject=project)
    if owner != proxy:
        behind += find.pair(owner)
        behind += find.tls(proxy, owner, service.name)
    what = f"{service.scheme} port {service.port}" if owner != proxy else "what answers"
    return Hop(proxy.name, owner.name, what, tuple(behind))


def _stack_names(service: Service) -> list[str]:
    stack = service.deployment
    return [stack.name, stack.project] if stack else []


# -- what requests rest on -------------------------------------------------------------------------


def _dns_runs(site: Site, find: _Checks) -> tuple[Check, ...]:
    return find.unit(site.hypervisor, "phoenix-dns.service")


def _asks_dns(site: Site, host: Host, find: _Checks, name: str = "") -> Hop:
    """One name, or all of them."""
    if name:
        found = find("names_resolve", host=host.name, subject=name)
    else:
        found = find("names_resolve", "name_is_unknown", host=host.name)
    what = "its name" if name else "names"
    return Hop(host.name, site.hypervisor.name, what, (*_dns_runs(site, find), *found))


def _names(site: Site, find: _Checks) -> Iterator[Path]:
    for host in site.hosts:
        yield Path("names", f"{host.name} asks DNS", (_asks_dns(site, host, find),))


def _renewals(site: Site, find: _Checks) -> Iterator[Path]:
    """Every host can reach the CA; holders renew by it."""
    ca = guest_with(site, "step_ca")
    ca_name = f"ca.{site.domain}"
    on_every_path = {site.gateway, site.traefik}
    routed = {name for route in routes(site) for name in (route.service.name, route.fqdn)}
    for host in site.hosts:
        reach = (*find.unit(ca, "step-ca.service"), *find.tls(host, ca, ca_name))
        hops = [
            _asks_dns(site, host, find, ca_name),
            Hop(host.name, ca.name, "TLS by the CA", reach),
        ]
        about = {"ca", ca_name, *(routed if host in on_every_path else ())}
        timers = [c for c in find("unit_runs", host=host.name) if c.subject.startswith(TIMER)]
        for timer in timers:
            name = timer.subject.removeprefix(TIMER).removesuffix(".timer")
            pair = (timer, *find("pair_fits", "pair_is_served", host=host.name, subject=name))
            hops.append(Hop(host.name, host.name, f"certificate {name}", pair))
            about |= {service.name for service in site.services if service.owner == host}
        kind = "gets its certificate" if timers else "reaches the CA"
        yield Path("renewal", f"{host.name} {kind}", tuple(hops), _lower(about))


def _portainer(site: Site, find: _Checks) -> Iterator[Path]:
    server = site.portainer
    if server is None:
        return
    units = find.unit(server, "docker.service", SERVER_UNIT)
    api = (
        _asks_dns(site, server, find, server.fqdn),
        Hop("operator", server.name, "API with our key", (*units, *find("portainer_knows_us"))),
    )
    yield Path("api", "operator uses Portainer's API", api, _lower({"portainer", server.fqdn}))
    for agent in site.agents:
        endpoint = agent.portainer_environment
        runs = find.unit(agent, "docker.service", AGENT_UNIT)
        talks = find("port_answers", "agent_pings", host=server.name, subject=endpoint)
        names = [s.fqdn for s in site.services if s.owner == agent and s.kind == "agent"]
        hops = (
            *(_asks_dns(site, server, find, name) for name in names),
            Hop(server.name, agent.name, "the agent", (*runs, *talks)),
            *api,
            Hop(
                server.name,
                agent.name,
                f"endpoint {endpoint}",
                find("endpoint_is_up", subject=endpoint),
            ),
        )
        labels = [name.removesuffix(f".{site.domain}") for name in names]
        about = _lower({endpoint, "portainer", *names, *labels})
        yield Path("agent", f"Portainer reaches {agent.name}", hops, about)
        for stack in agent.docker_stacks:
            yield _stack(site, agent, stack, api, find)


def _stack(site: Site, agent: Host, stack: Deployment, api: tuple[Hop, ...], find: _Checks) -> Path:
    project = stack.project
    server = guest_with(site, "portainer")
    containers = find("containers_are_well", host=agent.name, subject=project)
    hops = (
        Hop(
            *(agent.name, agent.name, "containers"),
            (*find.unit(agent, "docker.service"), *containers),
        ),
        *api,
        Hop(
            *(server.name, agent.name, "the stack in Portainer"),
            (
                *find("endpoint_is_up", subject=agent.portainer_environment),
                *find("stack_is_active", subject=project),
            ),
        ),
    )
    services = {s.name for s in site.services if s.owner == agent and s.deployment == stack}
    return Path("stack", f"stack {project}", hops, _lower({stack.name, project, *services}))


def _guards(_: Site, find: _Checks) -> Iterator[Path]:
    """What must not work, or must not be seen."""
    for check in find("name_is_rejected", "port_is_shut", "docker_has_no_port", "keys_are_private"):
        what = {
            "name_is_rejected": f"undeclared names at {check.target}",
            "port_is_shut": f"the agent on {check.target} to {check.host}",
            "docker_has_no_port": f"Docker's API on {check.target}",
            "keys_are_private": f"keys on {check.target}",
        }[check.probe]
        hop = Hop(check.host, check.target, check.hop, (check,))
        yield Path("guard", what, (hop,))


def _lower(names: Iterable[str]) -> frozenset[str]:
    return frozenset(name.lower() for name in names)
