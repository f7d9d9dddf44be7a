"""Checks of a stack's services on its own host alone, before any route leads there. Pure."""

from __future__ import annotations

from phoenix.components.trust import ROOTS
from phoenix.site.model import Host, Site
from phoenix.site.names import in_zone


def local_checks(site: Site, host: Host, project: str) -> list[tuple[str, ...]]:
    """Commands of `checks.sh` for the services that one deployment of `host` declares.

    Each answers at the host's own address, with the name that the last hop verifies.
    """
    commands: list[tuple[str, ...]] = []
    for service in site.services_of(host):
        if service.deployment is None or service.deployment.project != project:
            continue
        address, port = str(host.address), str(service.port)
        commands.append(("port_answers", address, port))
        if service.scheme == "https" and in_zone(service.server_name, site.domain):
            commands.append(("tls_verifies", address, port, service.server_name, ROOTS))
            url = f"https://{service.server_name}:{port}{service.health_path}"
            commands.append(("request_gives", "200", url, ROOTS))
        elif service.scheme == "http":
            url = f"http://{address}:{port}{service.health_path}"
            commands.append(("request_gives", "200", url, ROOTS))
    return commands
