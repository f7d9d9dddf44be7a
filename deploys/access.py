"""How the deploys reach the APIs of Portainer and of Proxmox VE: through SSH, or straight."""

from __future__ import annotations

from pyinfra import host

from deploys.context import secrets, settings, site
from deploys.given_secrets import given_secret
from facts.proxmox import ApiFingerprint, NodeFingerprints
from operations.host_state import question, read_or
from operations.portainer import PortainerAccess
from operations.proxmox import ProxmoxAccess
from operations.trust import roots_of
from phoenix.declaration.settings import ProxmoxSettings
from phoenix.derived import control_plane
from phoenix.proxmox import access as how
from phoenix.site.roles import guest_with
from phoenix.site.secret_names import API_KEY


def portainer() -> PortainerAccess:
    """The API as this run reaches it.

    One elsewhere is reached by its URL, with the key that is given. With the setting
    `portainer_url` the control machine connects to that URL itself; the key is then kept on the
    guest all the same.

    Raises:
        SecretError: Portainer is elsewhere, and there is no key.
    """
    elsewhere = site().external_portainer
    if elsewhere is not None:
        return PortainerAccess(
            url=elsewhere.url,
            ca_pem=elsewhere.ca or None,
            fingerprint=elsewhere.fingerprint,
            api_key=given_secret(API_KEY),
        )
    server = guest_with(site(), "portainer")
    return PortainerAccess(
        url=settings().portainer_url or control_plane.portainer_url(site()),
        ca_pem=lambda: roots_of(site(), server.name),
        via=server.name,
        address=str(server.address),
        port=control_plane.portainer_port(site()),
    )


def proxmox(config: ProxmoxSettings) -> ProxmoxAccess:
    """Proxmox VE's API as a run reaches it, for the deploys on the hypervisor.

    Raises:
        ProxmoxError: there is no token.
    """
    return ProxmoxAccess(
        url=how.url(config),
        token=how.token(secrets()),
        trust=how.trust(config, lambda: read_or(question(ApiFingerprint), None)),
        via=host.name if config.api == "ssh" else None,
        others=config.other_apis,
        others_trust=how.trust_of_others(config, lambda: read_or(question(NodeFingerprints), ())),
        task_seconds=config.task_seconds,
        lock_seconds=config.lock_seconds,
        request_seconds=config.request_seconds,
    )
