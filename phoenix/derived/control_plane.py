"""Where the site's own services are reached: the CA, Portainer and Portainer's agents.

Ports and names come from the site's services, so servers, clients and the firewall agree.
"""

from __future__ import annotations

from ipaddress import IPv4Address

from phoenix.site import ports
from phoenix.site.model import Host, Service, Site
from phoenix.site.roles import guest_with


def ca(site: Site) -> Service:
    """The CA's service.

    Raises:
        phoenix.site.roles.RoleError: no guest has the role step_ca.
    """
    owner = guest_with(site, "step_ca")
    return next(s for s in site.services if s.kind == "ca" and s.owner.name == owner.name)


def portainer(site: Site) -> Service | None:
    """The service that Portainer's guest declares it as; None where it is not declared as one.

    Raises:
        phoenix.site.roles.RoleError: no guest has the role portainer.
    """
    owner = guest_with(site, "portainer")
    for service in site.services:
        if (
            service.kind == "backend"
            and service.is_the_guest_s
            and service.owner.name == owner.name
        ):
            return service
    return None


def portainer_port(site: Site) -> int:
    """The port of Portainer's server on its guest, declared or the default.

    Raises:
        phoenix.site.roles.RoleError: no guest has the role portainer.
    """
    service = portainer(site)
    return service.port if service else ports.PORTAINER


def portainer_url(site: Site) -> str:
    """Base URL of Portainer's server under its guest's own name, never through the gateway.

    Raises:
        phoenix.site.roles.RoleError: no guest has the role portainer.
    """
    return f"https://{guest_with(site, 'portainer').fqdn}:{portainer_port(site)}"


def agent(site: Site, host: Host) -> Service:
    """The service of the Portainer agent on `host`.

    Raises:
        LookupError: `host` has no agent: it is none of `site.agents`.
    """
    for service in site.services:
        if service.kind == "agent" and service.owner.name == host.name:
            return service
    raise LookupError(f"{host.name} has no Portainer agent: portainer_role is not agent")


def agent_entrance(service: Service) -> IPv4Address:
    """Where Portainer's guest listens for connections to an agent: a loopback address.

    It is 127 with the last three bytes of the agent's address, so it stays the same whatever else
    the site declares (127.0.0.0/8 is the loopback, RFC 1122, section 3.2.1.3).

    Args:
        service: the agent's.
    """
    return IPv4Address(0x7F000000 | int(service.owner.address) & 0x00FFFFFF)
