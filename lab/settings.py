"""What the environment decides about a lab: its name, its network and where its files are.

Standard library only: the bootstrap imports it before anything is installed.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LABEL = "ai.thinkheads.phoenix.lab"
SPEC_LABEL = "ai.thinkheads.phoenix.spec"
DEFAULT_NAME = "lab"
# RFC 2544 section C.2.2 sets 198.18.0.0/15 apart for benchmarks: no real network uses it.
LAB_SPACE = IPv4Network("198.19.0.0/16")
DEFAULT_OCTET = 77
CLIENT = "client"
CLIENT_HOST_PART = 250
BRIDGE_HOST_PART = 254
CABLE_HOST_PART = 253
"""Of the hypervisor's card in a further network, for Docker alone."""


class LabError(Exception):
    """The lab cannot go on; the text says what is wrong and how to fix it."""


@dataclass(frozen=True)
class Settings:
    """A lab's name, its IPv4 /24, the project's directory, and that of the site.

    `debian_12`: names of hosts that are of that release.
    """

    name: str
    subnet: IPv4Network
    root: Path = ROOT
    site: Path | None = None
    debian_12: frozenset[str] = frozenset()

    @property
    def declared(self) -> Path:
        """The directory with the site's `inventories` and `stacks`: by default the project's."""
        return self.site or self.root

    @property
    def further_subnet(self) -> IPv4Network:
        """A /24 for one more network of the site, of the same number as the lab's own."""
        return IPv4Network(f"198.18.{self.subnet.network_address.packed[2]}.0/24")

    @property
    def directory(self) -> Path:
        """Keys, state and logs of this lab; mode 0700, never in git."""
        return self.root / ".lab" / self.name

    @property
    def network(self) -> str:
        """The name of its Docker network."""
        return f"phoenix-{self.name}"

    def container(self, host: str) -> str:
        """The name of a host's container."""
        return f"phoenix-{self.name}-{host}"


def from_environment(environment: Mapping[str, str] | None = None) -> Settings:
    """Read PHOENIX_LAB_NAME, PHOENIX_LAB_SUBNET, PHOENIX_LAB_SITE and PHOENIX_LAB_DEBIAN_12.

    Raises:
        LabError: one cannot be used.
    """
    environment = os.environ if environment is None else environment
    name = environment.get("PHOENIX_LAB_NAME") or DEFAULT_NAME
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?", name):
        raise LabError(
            f"PHOENIX_LAB_NAME={name!r} is not usable: give 1 to 20 of a-z, 0-9 and '-', "
            "beginning and ending with a letter or digit."
        )
    site = Path(folder).resolve() if (folder := environment.get("PHOENIX_LAB_SITE")) else None
    if site is not None and not (site / "inventories").is_dir():
        raise LabError(f"PHOENIX_LAB_SITE={folder!r} has no folder inventories: name a site's.")
    hosts = environment.get("PHOENIX_LAB_DEBIAN_12", "").split(",")
    older = frozenset(host.strip() for host in hosts if host.strip())
    setting = environment.get("PHOENIX_LAB_SUBNET")
    if not setting:
        return Settings(name, subnet_for(name), site=site, debian_12=older)
    try:
        subnet = IPv4Network(setting)
    except ValueError as error:
        raise LabError(
            f"PHOENIX_LAB_SUBNET={setting!r}: {error}. Example: 198.19.90.0/24"
        ) from None
    if subnet.prefixlen != 24:
        raise LabError(
            f"PHOENIX_LAB_SUBNET={setting!r}: the site is a /24, so the lab needs one too. "
            f"Example: {subnet.network_address}/24"
        )
    return Settings(name, subnet, site=site, debian_12=older)


def subnet_for(name: str) -> IPv4Network:
    """A lab's own /24: fixed for the default lab, derived from the name for any other."""
    octet = DEFAULT_OCTET
    if name != DEFAULT_NAME:
        octet = hashlib.sha256(name.encode()).digest()[0] % 255
        octet += octet >= DEFAULT_OCTET  # step over the default lab's
    return IPv4Network((int(LAB_SPACE.network_address) + octet * 256, 24))


def cache_directory() -> Path:
    """The directory of build results that all labs share."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "phoenix-lab"
