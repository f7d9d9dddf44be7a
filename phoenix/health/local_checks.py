"""Checks of a stack's services on its own host alone, before any route leads there. Pure."""

from __future__ import annotations

from phoenix.components.trust import ROOTS
from phoenix.site.model import Host, Service, Site
from phoenix.site.names import in_zone


def local_checks(site: Site, host: Host, project: str) -> list[tuple[str, ...]]:
    """Commands of `checks.sh` for the services that one deployment of `host` declares.

    Each answers at the host's own address, with the name that the last hop verifies.
    """
    commands: list[tuple[str, ...]] = []
    for service in site.services_of(host):
        if service.deployment is None or service.deployment.project != project:
            continue
        if not service.checked:
            continue
        address, port = str(host.address), str(service.port)
        commands.append(("port_answers", address, port))
        if service.has_tls and in_zone(service.server_name, site.domain):
            commands.append(("tls_verifies", address, port, service.server_name, ROOTS))
        commands += [
            ("request_gives", str(service.health_status), url, ROOTS, address)
            for url in urls(site, service)[:1]
        ]
    return commands


def urls(site: Site, service: Service) -> list[str]:
    """Where a service is asked for its `health_path` without the gateway.

    Returns:
        With TLS and a certificate of the site's CA, a URL for each name in it; without TLS, the URL
        of its address. Empty with another CA's certificate, and for a service with HTTP/2 alone.
    """
    if service.scheme not in ("http", "https") or not service.checked:
        return []
    end = f":{service.port}{service.health_path}"
    if not service.has_tls:
        return [f"http://{service.owner.address}{end}"]
    if not in_zone(service.server_name, site.domain):
        return []
    aliases = service.aliases if service.exposure == "direct" else ()
    return [f"https://{name}{end}" for name in (service.server_name, *aliases)]
