"""The site as a pyinfra inventory: plain lists and dictionaries, no pyinfra needed."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from phoenix.declaration.load import load_site
from phoenix.site.findings import ConfigError
from phoenix.site.model import Site

GROUPS = ("hypervisor", "lxc", "vm", "step_ca", "traefik", "nginx", "portainer", "docker")

HostList = list[tuple[str, dict[str, Any]]]


class FaultyError(SystemExit):
    """The end of an inventory whose declaration cannot work; with all of what was found."""

    def __init__(self, error: ConfigError, inventories: Path, stacks: Path) -> None:
        """Keep the findings, and where the files are that they are about."""
        self.error, self.inventories, self.stacks = error, inventories, stacks
        super().__init__(f"The configuration cannot be used.\n{error}")


def load(
    inventories: Path, stacks: Path, *, environment: str, subnet: IPv4Network | None = None
) -> Site:
    """The site for an inventory file; a faulty one ends the program with its findings.

    Warnings go to standard error: standard output belongs to pyinfra's --json.

    Raises:
        FaultyError: with the report of all findings, before any host is touched.
    """
    try:
        site = load_site(inventories, stacks, environment=environment, subnet=subnet)
    except ConfigError as error:
        raise FaultyError(error, inventories, stacks) from None
    for warning in site.warnings:
        sys.stderr.write(f"warning: {warning}\n")
    return site


def groups(site: Site, data: Mapping[str, Any]) -> dict[str, HostList]:
    """Group name to hosts, each with its address and `data`; every group of `GROUPS` is there.

    pyinfra takes a host's data from its first mention, so each mention carries all of it.
    """
    found: dict[str, HostList] = {group: [] for group in GROUPS}
    for host in site.hosts:
        for group in host.groups:
            found[group].append((host.name, {"ssh_hostname": str(host.address), **data}))
    return found
