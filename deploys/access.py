"""How the deploys reach Portainer's API: through SSH to its own guest, or straight by setting."""

from __future__ import annotations

from deploys.context import settings, site
from operations.portainer import PortainerAccess
from operations.trust import roots_of
from phoenix.derived import control_plane
from phoenix.site.roles import guest_with


def portainer() -> PortainerAccess:
    """The API as this run reaches it.

    With the setting `portainer_url` the control machine connects to that URL itself; the key is
    then kept on the guest all the same.
    """
    server = guest_with(site(), "portainer")
    return PortainerAccess(
        url=settings().portainer_url or control_plane.portainer_url(site()),
        ca_pem=lambda: roots_of(site(), server.name),
        via=server.name,
        address=str(server.address),
        port=control_plane.portainer_port(site()),
    )
