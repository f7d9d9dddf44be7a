"""The desired state of the hypervisor, from the Site and the settings, before any request."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from phoenix.declaration.settings import FOLDER, ProxmoxSettings
from phoenix.proxmox import access, connections
from phoenix.proxmox.desired import DesiredGuest, desired_guests
from phoenix.proxmox.firewall import Scope, operator_networks, scopes
from phoenix.site.findings import ConfigError, Finding
from phoenix.site.model import Site


@dataclass(frozen=True)
class Plan:
    """`guests` in the order to make them; `scopes` in the order to write them.

    `refused` are needed connections that the rules would refuse; `needed` are all of them, and the
    operator's own ways in.
    """

    settings: ProxmoxSettings
    guests: tuple[DesiredGuest, ...]
    scopes: tuple[Scope, ...]
    refused: tuple[str, ...]
    needed: tuple[connections.Connection, ...] = ()


def plan(
    site: Site,
    config: ProxmoxSettings,
    *,
    ssh_key: str | None,
    home: Path,
    client_address: str | None = None,
) -> Plan:
    """The desired state.

    Args:
        site: the site.
        config: the hypervisor's settings named proxmox_.
        ssh_key: the private key that pyinfra uses, None for its default.
        home: where the operator's own public keys are.
        client_address: the address that our SSH comes from; it is never locked out.

    Raises:
        ConfigError: a setting that can't work, by name.
    """
    keys = access.public_keys(config, ssh_key, home)
    guests = desired_guests(site, config, keys)
    firewall_scopes: tuple[Scope, ...] = ()
    needed: tuple[connections.Connection, ...] = ()
    if config.firewall:
        try:
            operators = operator_networks(config.operator_networks, client_address)
        except ValueError as error:
            setting = "proxmox_operator_networks"
            fix = 'write networks as "192.168.7.0/24", or "fe80::/10" for link-local addresses'
            raise ConfigError([Finding(FOLDER, setting, str(error), fix)]) from None
        own = config.node or site.hypervisor.name
        if any(flow.node == own for flow in config.node_flows):
            raise ConfigError(
                [
                    Finding(
                        FOLDER,
                        "proxmox_node_flows",
                        f"{own} is the hypervisor itself",
                        "write its flows as site.hypervisor.firewall.rules in the JSON files",
                    )
                ]
            )
        firewall_scopes = scopes(site, config, operators=operators)
        ways_in = connections.ways_in(firewall_scopes, operators)
        needed = (*connections.needed(site), *ways_in)
    return Plan(
        config,
        guests,
        firewall_scopes,
        connections.refused(site, firewall_scopes) if firewall_scopes else (),
        needed,
    )
