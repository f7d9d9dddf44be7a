"""What Traefik routes and what the gateway answers to: services with exposure `gateway`."""

from __future__ import annotations

from typing import Literal, NamedTuple

from phoenix.derived import home
from phoenix.site.memo import once_per_site
from phoenix.site.model import Service, Site
from phoenix.site.ways import address


class Route(NamedTuple):
    """One router and its backend. `url` is None for the dashboard, which is Traefik's own, and for
    a redirect, which has none.

    `url` holds the backend's address, so that no DNS is on the data path; the certificate there
    is verified against `server_name`. The start page is on Traefik's own loopback, without TLS.
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
    """All routes, sorted by name; dashboard and start page among them."""
    return tuple(
        _route(site, service)
        for service in site.services
        if service.exposure == "gateway" and service.kind != "tcp"
    )


@once_per_site
def tcp_services(site: Site) -> tuple[Service, ...]:
    """What the gateway hands on by a port of its own, sorted by port and name."""
    services = (service for service in site.services if service.kind == "tcp")
    return tuple(sorted(services, key=lambda service: (service.gateway_port, service.name)))


def backend_url(site: Site, service: Service) -> str:
    """Where Traefik asks for a service; without a Traefik, at its owner's managed address."""
    owner = service.owner
    return service.backend_url(address(site.traefik, owner) if site.traefik else owner.address)


def _route(site: Site, service: Service) -> Route:
    url: str | None = backend_url(site, service)
    kind: Literal["backend", "dashboard", "home", "redirect"] = "backend"
    if service.kind == "dashboard":
        url, kind = None, "dashboard"
    elif service.kind == "home":
        url, kind = home.URL, "home"
    elif service.kind == "redirect":
        url, kind = None, "redirect"
    urls = tuple(
        service.backend_url(address(site.traefik, node) if site.traefik else node.address)
        for node in service.nodes
    )
    url = urls[0] if urls else url
    return Route(service, service.fqdn, url, service.server_name, service.health_path, kind, urls)


@once_per_site
def gateway_names(site: Site) -> tuple[str, ...]:
    """Server names of the gateway, sorted: the SANs of its certificates."""
    return tuple(sorted({name for route in routes(site) for name in route.names}))
