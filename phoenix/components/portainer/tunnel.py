"""The way from Portainer's server to its agents: a tunnel with a certificate at both ends.

Portainer verifies no agent's certificate, and an agent takes whoever knows how to sign. So an agent
listens on its guest's loopback alone, and stunnel carries Portainer's connections there: each end
proves itself by its guest's certificate of the site's CA, under the guest's own name.

Options follow https://www.stunnel.org/static/stunnel.html.
"""

from __future__ import annotations

from collections.abc import Iterable

from phoenix.components.acme.phoenix_acme_conf import CERTIFICATES
from phoenix.components.trust import ROOTS
from phoenix.derived.control_plane import agent_entrance
from phoenix.site.addressing import target_address
from phoenix.site.model import Host, Service
from phoenix.site.ports import LOOPBACK

UNIT = "phoenix-portainer-tunnel.service"
CONFIG = "/etc/phoenix/portainer-tunnel.conf"


def agent_url(service: Service) -> str:
    """Where Portainer finds an agent: at the tunnel's entrance on its own guest."""
    return f"tcp://{agent_entrance(service)}:{service.port}"


def at_the_agent(service: Service, server: Host) -> str:
    """The tunnel's configuration on an agent's guest.

    Args:
        service: the agent's; the tunnel ends on its guest's address for Portainer's guest.
        server: Portainer's guest, whose certificate must prove its name.

    Returns:
        stunnel's configuration file.
    """
    return _file(
        [
            _section(
                "agent",
                accept=f"{target_address(server, service.owner)}:{service.port}",
                connect=f"{LOOPBACK}:{service.port}",
                name=server.fqdn,
            )
        ]
    )


def at_the_server(services: Iterable[Service], server: Host) -> str:
    """The tunnel's configuration on the guest of Portainer's server.

    Args:
        server: that guest.
        services: those of all agents.

    Returns:
        stunnel's configuration file.
    """
    return _file(
        _section(
            service.owner.name,
            "client = yes",
            f"sni = {service.owner.fqdn}",
            accept=f"{agent_entrance(service)}:{service.port}",
            connect=f"{target_address(server, service.owner)}:{service.port}",
            name=service.owner.fqdn,
        )
        for service in services
    )


def _file(sections: Iterable[str]) -> str:
    head = "# Made by Phoenix: deploys/portainer.py\nforeground = yes\npid =\nsyslog = no\n"
    return "\n".join([head, *sections])


def _section(title: str, *more: str, accept: str, connect: str, name: str) -> str:
    lines = [
        f"[{title}]",
        *more,
        f"accept = {accept}",
        f"connect = {connect}",
        f"cert = {CERTIFICATES}/host/fullchain.pem",
        f"key = {CERTIFICATES}/host/privkey.pem",
        f"CAfile = {ROOTS}",
        "verifyChain = yes",
        "requireCert = yes",
        f"checkHost = {name}",
        "sslVersionMin = TLSv1.3",
        "TIMEOUTconnect = 5",
    ]
    return "\n".join(lines) + "\n"
