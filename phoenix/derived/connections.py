"""The TCP connections that requests and renewals consist of: who connects, to whom, to prove what.

The checks of `phoenix.health.checks` make each of them, and no firewall rule may refuse one.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

from phoenix.derived import control_plane
from phoenix.derived.routes import routes, tcp_services
from phoenix.site.memo import once_per_site
from phoenix.site.model import Host, Service, Site
from phoenix.site.ports import HTTPS
from phoenix.site.roles import guests_with


class Connection(NamedTuple):
    """One TCP connection from `source` to `target`.

    `server_name` is what the certificate there must prove; empty is a connection without TLS.
    `service` is the one that only this connection serves; empty where it serves several.
    """

    source: Host
    target: Host
    port: int
    server_name: str
    what: str
    service: str = ""


@once_per_site
def connections(site: Site) -> tuple[Connection, ...]:
    """All connections: those of renewals first, then along the path of a request from its end.

    Raises:
        phoenix.site.roles.RoleError: the site has no gateway, Traefik or CA.
    """
    return tuple(_connections(site))


def _connections(site: Site) -> Iterator[Connection]:
    ca, client = control_plane.ca(site), site.hypervisor
    proxies, gateways = guests_with(site, "traefik"), guests_with(site, "nginx")
    for host in site.hosts:
        yield Connection(host, ca.owner, ca.port, ca.fqdn, f"{host.name} to the CA")
    for gateway, proxy in product(gateways, proxies):
        yield Connection(gateway, proxy, HTTPS, proxy.fqdn, f"Nginx to {traefik(site, proxy)}")
    for proxy, route in product(proxies, routes(site)):
        if route.service.kind == "backend" and not route.urls:  # else Traefik asks who runs it
            yield _to_backend(proxy, "Traefik", route.service)
    for service in site.services:
        if service.kind == "backend" and service.exposure == "direct":
            yield _to_backend(client, "a client", service)
            for alias in service.aliases if service.has_tls else ():
                description = f"a client to {service.name} as {alias}"
                yield Connection(
                    client, service.owner, service.port, alias, description, service.name
                )
    for gateway in gateways:
        yield from _by_ports(site, client, gateway)
        yield from _by_names(site, client, gateway)


def traefik(site: Site, proxy: Host) -> str:
    """What a Traefik is called: one of several by its host."""
    return f"Traefik on {proxy.name}" if site.traefiks[1:] else "Traefik"


def the_gateway(site: Site, gateway: Host) -> str:
    """What a gateway is called: one of several by its host."""
    return f"the gateway {gateway.name}" if site.gateways[1:] else "the gateway"


def _by_names(site: Site, client: Host, gateway: Host) -> Iterator[Connection]:
    """A client to a gateway for each name that it answers to."""
    owners = {name: route.service.name for route in reversed(routes(site)) for name in route.names}
    for route in routes(site):
        for name in route.names:
            if owners[name] != route.service.name:
                continue  # several services have paths of one name
            description = f"a client to {the_gateway(site, gateway)} for {name}"
            yield Connection(client, gateway, HTTPS, name, description, route.service.name)


def _by_ports(site: Site, client: Host, gateway: Host) -> Iterator[Connection]:
    """What the gateway hands on by ports of its own; with TLS the service itself proves its name.

    That the gateway accepts a connection says nothing of what is behind it, so its own is here too.
    """
    for service in tcp_services(site):
        name = service.server_name
        description = f"Nginx to {service.name} on {service.owner.name}"
        yield Connection(gateway, service.owner, service.port, name, description, service.name)
        for known in service.names if service.has_tls else ("",):
            description = f"a client to {the_gateway(site, gateway)} for {known or service.name}"
            description += f" at port {service.gateway_port}" if known else ""
            yield Connection(
                client, gateway, service.gateway_port, known, description, service.name
            )


def _to_backend(source: Host, who: str, service: Service) -> Connection:
    proven = service.server_name if service.has_tls else ""
    description = f"{who} to {service.name} on {service.owner.name}"
    return Connection(source, service.owner, service.port, proven, description, service.name)
