"""The site as a pyinfra inventory: plain lists and dictionaries, no pyinfra needed."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from phoenix.declaration.load import load_site
from phoenix.derived import login
from phoenix.site.findings import ConfigError
from phoenix.site.model import Site
from phoenix.site.roles import ROLES

GROUPS = ("hypervisor", "lxc", "vm", *ROLES)

LEFT = "PHOENIX_LEFT_HOST"
"""Environment variable of `phoenix remove`: the name and the address, with a blank between, of a
host that has left the declaration."""
DIRECTORY = "PHOENIX_DIRECTORY"
"""Environment variable that names the directory of inventories/directory.py."""

HostList = list[tuple[str, dict[str, Any]]]

CONNECTING = {
    "ssh_connect_retries": 1,
    "ssh_connect_retry_min_delay": 0.5,
    "ssh_connect_retry_max_delay": 1.0,
}
"""pyinfra's data, in seconds: one more try after a connection that broke.

An sshd that reloads its configuration drops who is in the key exchange (sshd(8), SIGHUP).
A refused log-in and a wrong host key are not tried again.
"""


class FaultyError(SystemExit):
    """The end of an inventory whose declaration cannot work; with all of what was found."""

    def __init__(self, error: ConfigError, inventories: Path, stacks: Path) -> None:
        """Keep the findings, and where the files are that they are about."""
        self.error, self.inventories, self.stacks = error, inventories, stacks
        super().__init__(f"The configuration cannot be used.\n{error}")


_Place = tuple[str, str, str, str | None]
_loaded: dict[_Place, Site] = {}


def load(
    inventories: Path, stacks: Path, *, environment: str | None, subnet: IPv4Network | None = None
) -> Site:
    """The site for an inventory file; a faulty one ends the program with its findings.

    Warnings go to standard error: standard output belongs to pyinfra's --json.

    Args:
        inventories: the directory of the two JSON files.
        stacks: the directory of the stacks.
        environment: that of stacks deployed without their own; None: the declared one.
        subnet: see `load_site`.

    Raises:
        FaultyError: with the report of all findings, before any host is touched.
    """
    try:
        site = load_site(inventories, stacks, environment=environment, subnet=subnet)
    except ConfigError as error:
        raise FaultyError(error, inventories, stacks) from None
    for warning in site.warnings:
        sys.stderr.write(f"warning: {warning}\n")
    place = (str(inventories), str(stacks), site.environment, str(subnet) if subnet else None)
    _loaded[place] = site
    return site


def site_of(data: Mapping[str, Any]) -> Site:
    """The site that an inventory's hosts were made from, by their data.

    It is the one that the inventory loaded in this process, so that a run loads it once.
    """
    subnet = data.get("site_subnet")
    inventories, stacks = data["site_inventories"], data["site_stacks"]
    place = (inventories, stacks, data["site_environment"], subnet)
    if place not in _loaded:
        _loaded[place] = load_site(
            Path(inventories),
            Path(stacks),
            environment=data["site_environment"],
            subnet=IPv4Network(subnet) if subnet else None,
        )
    return _loaded[place]


def stacks_of(folder: Path) -> Path:
    """The stacks of a directory with the two JSON files: in it, else beside it."""
    choices = (folder / "stacks", folder.parent / "stacks")
    return next((path for path in choices if path.is_dir()), choices[0])


def of_directory(
    folder: Path, stacks: Path, *, environment: str | None, data: Mapping[str, Any]
) -> dict[str, HostList]:
    """The groups of the site in a directory; its hosts have `data` and where the site was found."""
    site = load(folder, stacks, environment=environment)
    place = {
        "site_inventories": str(folder),
        "site_stacks": str(stacks),
        "site_environment": site.environment,
    }
    return groups(site, {**data, **place})


def groups(site: Site, data: Mapping[str, Any]) -> dict[str, HostList]:
    """Group name to hosts, each with its address and `data`; every group of `GROUPS` is there.

    pyinfra takes a host's data from its first mention, so each mention carries all of it.
    """
    data = {**CONNECTING, **data}
    members: dict[str, HostList] = {group: [] for group in GROUPS}
    for host in site.hosts:
        for group in host.groups:
            members[group].append((host.name, login.host_data(host.login, str(host.address), data)))
    if left := os.environ.get(LEFT):
        name, _, address = left.rpartition(" ")
        members["vm"].append((name, {"ssh_hostname": address, **data}))
    return members
