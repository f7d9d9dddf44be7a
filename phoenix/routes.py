"""What Traefik routes and what the gateway answers to: services with exposure `gateway`."""

from __future__ import annotations

from typing import Literal, NamedTuple

from phoenix.model import Service, Site


class Route(NamedTuple):
    """One router and its backend. `url` is None for the dashboard, Traefik's `api@internal`.

    `url` holds the backend's address, so that no DNS is on the data path; the certificate there
    is verified against `server_name`.
    """

    service: Service
    fqdn: str
    url: str | None
    server_name: str
    health_path: str
    kind: Literal["backend", "dashboard"]


def routes(site: Site) -> tuple[Route, ...]:
    """All routes, sorted by name; the dashboard among them."""
    return tuple(
        Route(
            service=service,
            fqdn=service.fqdn,
            url=None if service.kind == "dashboard" else service.backend_url,
            server_name=service.server_name,
            health_path=service.health_path,
            kind="dashboard" if service.kind == "dashboard" else "backend",
        )
        for service in site.services
        if service.exposure == "gateway"
    )


def gateway_names(site: Site) -> tuple[str, ...]:
    """Server names of the gateway, sorted: the SANs of its one certificate."""
    return tuple(sorted(route.fqdn for route in routes(site)))
