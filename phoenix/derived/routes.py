"""What Traefik routes and what the gateway answers to: services with exposure `gateway`."""

from __future__ import annotations

from typing import Literal, NamedTuple

from phoenix.derived import home
from phoenix.site.addressing import target_address
from phoenix.site.memo import once_per_site
from phoenix.site.model import Host, Service, Site


class Route(NamedTuple):
    """One router and its backend. `url` is None for the dashboard, which is Traefik's own, and for
    a redirect, which has none.

    `url` holds the backend's address as its Traefik has it, so that no DNS is on the data path; the
    certificate there is verified against `server_name`. The start page is on Traefik's own
    loopback, without TLS.
    """

    service: Service
    fqdn: str
    url: str | None
    server_name: str
    health_path: str
    kind: Literal["backend", "dashboard", "home", "redirect"]
    urls: tuple[str, ...] = ()
    """Of a service that several nodes of a swarm may run, the URL of each; `url` is the first."""

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that it is asked by: `fqdn`, then the service's aliases."""
        return self.service.names


@once_per_site
def routes(site: Site) -> tuple[Route, ...]:
    """All routes, sorted by name; dashboard and start page among them.

    Every Traefik has them all. The URLs are those of the first one.
    """
    return routes_of(site, site.traefik)


def routes_of(site: Site, proxy: Host | None) -> tuple[Route, ...]:
    """`routes` with the URLs by which one Traefik reaches its backends."""
    return tuple(
        _route(service, proxy)
        for service in site.services
        if service.exposure == "gateway" and service.kind != "tcp"
    )


@once_per_site
def tcp_services(site: Site) -> tuple[Service, ...]:
    """What the gateway hands on by a port of its own, sorted by port and name."""
    services = (service for service in site.services if service.kind == "tcp")
    return tuple(sorted(services, key=lambda service: (service.gateway_port, service.name)))


def backend_url(site: Site, service: Service) -> str:
    """Where Traefik asks for a service, the first of several; without one, at its owner's managed
    address."""
    return _url(service, site.traefik, service.owner)


def _url(service: Service, proxy: Host | None, host: Host) -> str:
    return service.backend_url(target_address(proxy, host) if proxy else host.address)


def _route(service: Service, proxy: Host | None) -> Route:
    url: str | None = _url(service, proxy, service.owner)
    kind: Literal["backend", "dashboard", "home", "redirect"] = "backend"
    if service.kind == "dashboard":
        url, kind = None, "dashboard"
    elif service.kind == "home":
        url, kind = home.URL, "home"
    elif service.kind == "redirect":
        url, kind = None, "redirect"
    urls = tuple(_url(service, proxy, node) for node in service.nodes)
    url = urls[0] if urls else url
    return Route(service, service.fqdn, url, service.server_name, service.health_path, kind, urls)


def route_for_check(site: Site) -> Route | None:
    """The route by which a gateway shows that it works: it ends at Traefik itself, where one does.

    Services may be down, or not there yet. None where every route asks for a log-in.
    """
    known = [
        route for route in routes(site)
        if route.service.checked and not route.service.is_grpc
        and route.service.options.forward_auth is None
    ]  # fmt: skip
    own_routes = [route for route in known if route.kind in ("home", "redirect", "dashboard")]
    return next(iter((*own_routes, *known)), None)


@once_per_site
def gateway_names(site: Site) -> tuple[str, ...]:
    """Server names of the gateway, sorted: the SANs of its certificates."""
    return tuple(sorted({name for route in routes(site) for name in route.names}))
