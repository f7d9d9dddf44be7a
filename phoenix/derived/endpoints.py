"""Where the site's certificates are served: every TLS port that proves itself to the root."""

from __future__ import annotations

from typing import NamedTuple

from phoenix.derived import control_plane
from phoenix.derived.routes import gateway_names
from phoenix.site.memo import once_per_site
from phoenix.site.model import Host, Site
from phoenix.site.names import in_zone
from phoenix.site.ports import HTTPS
from phoenix.site.roles import guests_with


class Endpoint(NamedTuple):
    """One TLS port of a host; `server_name` is what a client asks for and verifies.

    `names` are all names that clients ask this port for, `server_name` among them. `by_stack`: a
    stack's container serves it, and loads a new certificate in its own time.
    """

    host: Host
    port: int
    server_name: str
    names: tuple[str, ...]
    by_stack: bool = False

    @property
    def target(self) -> tuple[str, int, str]:
        """What a client needs to know: address, port, server name."""
        return str(self.host.address), self.port, self.server_name


@once_per_site
def endpoints(site: Site) -> tuple[Endpoint, ...]:
    """All endpoints, along a request's path: gateway, Traefik, backends; then agents, the CA.

    Of a Portainer agent it is the end of its tunnel: the agent's own certificate is by no CA.

    Raises:
        phoenix.site.roles.RoleError: the site has no gateway, Traefik or CA.
    """
    gateways, proxies = (guests_with(site, role) for role in ("nginx", "traefik"))
    ca = control_plane.ca(site)
    names = gateway_names(site)
    result = [Endpoint(gateway, HTTPS, names[0], names) for gateway in gateways if names]
    result += [Endpoint(proxy, HTTPS, proxy.fqdn, (proxy.fqdn,)) for proxy in proxies]
    for service in site.services:
        if service.kind in ("backend", "tcp") and service.has_tls and service.checked:
            name = service.server_name
            if in_zone(name, site.domain):
                by_stack = not service.of_guest
                result.append(Endpoint(service.owner, service.port, name, (name,), by_stack))
    for host in site.agents if site.portainer is not None else ():
        port = control_plane.agent(site, host).port
        result.append(Endpoint(host, port, host.fqdn, (host.fqdn,)))
    result.append(Endpoint(ca.owner, ca.port, ca.server_name, (ca.server_name,)))
    return tuple(dict.fromkeys(result))
