"""Everything that the hypervisor shall be, from the Site and the settings, before any request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phoenix.proxmox import access, connections
from phoenix.proxmox.desired import Wanted, desired
from phoenix.proxmox.firewall import Scope, operator_networks, scopes
from phoenix.proxmox.settings import FILE, ProxmoxSettings, settings
from phoenix.site.findings import ConfigError, Finding
from phoenix.site.model import Site


@dataclass(frozen=True)
class Plan:
    """`guests` in the order to make them; `scopes` in the order to write them.

    `refused` are needed connections that the rules would refuse.
    """

    settings: ProxmoxSettings
    guests: tuple[Wanted, ...]
    scopes: tuple[Scope, ...]
    refused: tuple[str, ...]


def plan(
    site: Site,
    data: Mapping[str, Any],
    *,
    home: Path,
    client_address: str | None = None,
) -> Plan:
    """What shall be.

    Args:
        site: the site.
        data: the hypervisor's host data: settings named proxmox_, and ssh_key.
        home: where the operator's own public keys are.
        client_address: from where our SSH comes; it's never locked out.

    Raises:
        ConfigError: a setting that can't work, by name.
    """
    config = settings(data)
    keys = access.public_keys(config, data.get("ssh_key"), home)
    guests = desired(site, config, keys)
    made: tuple[Scope, ...] = ()
    if config.firewall:
        try:
            operators = operator_networks(config.operator_networks, client_address)
        except ValueError as error:
            place = "proxmox_operator_networks"
            fix = 'write networks as "192.168.7.0/24"'
            raise ConfigError([Finding(FILE, place, str(error), fix)]) from None
        made = scopes(
            site,
            node=config.node or site.hypervisor.name,
            policy_out=config.firewall_out,
            operators=operators,
        )
    return Plan(config, guests, made, connections.refused(site, made) if made else ())
