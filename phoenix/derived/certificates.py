"""Which certificates the site needs, who holds each, and how its names are proven to the CA."""

from __future__ import annotations

from typing import Literal, NamedTuple

from phoenix.derived.routes import gateway_names
from phoenix.site.model import Host, Site
from phoenix.site.names import in_zone

Challenge = Literal["webroot", "standalone"]


class HostCertificate(NamedTuple):
    """One certificate of one host. `sans` are DNS names, the first one the subject.

    `challenge`: http-01 (RFC 8555, section 8.3) by the web server's directory (`webroot`) or by a
    server that runs for the purpose on port 80 (`standalone`).
    """

    host: Host
    name: Literal["gateway", "host", "traefik"]
    sans: tuple[str, ...]
    challenge: Challenge


def certificates(site: Site) -> tuple[HostCertificate, ...]:
    """All certificates got by ACME, in host order; no name is in two of them.

    The CA's own certificate is made by the CA itself, the agent's by the agent.
    """
    result = []
    for host in site.guests:
        if host is site.gateway:
            names = gateway_names(site)
            if names:
                result.append(HostCertificate(host, "gateway", names, "webroot"))
        elif host is site.traefik:
            result.append(HostCertificate(host, "traefik", (host.fqdn,), "standalone"))
        elif names := _served_names(site, host):
            result.append(HostCertificate(host, "host", names, "standalone"))
    return tuple(result)


def _served_names(site: Site, host: Host) -> tuple[str, ...]:
    """The host's own name first, then names that its TLS services prove; empty if it has none."""
    served = [
        service.server_name
        for service in site.services_of(host)
        if service.scheme == "https" and service.kind == "backend"
    ]
    if not served and host.portainer_role is None:
        return ()
    served += [
        alias
        for service in site.services_of(host)
        if service.scheme == "https" and service.exposure == "direct"
        for alias in service.aliases
    ]
    others = {n for n in served if n != host.fqdn and in_zone(n, site.domain)}
    return (host.fqdn, *sorted(others))
