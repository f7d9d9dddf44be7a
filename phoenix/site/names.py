"""Host names: what a label is, and names that belong to one owner only."""

from __future__ import annotations

import re

# RFC 1123 section 2.1 and RFC 1035 section 2.3.4; lower case, as every name here is compared so.
LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)\Z")

CA = "ca"
AGENT = "portainer-agent"
DASHBOARD = "traefik"
HOME = "home"
HOST_ZONE = "host"


def is_name(name: str) -> bool:
    """Whether `name` is a lower-case DNS host name of at most 253 characters (RFC 1123)."""
    return len(name) <= 253 and all(LABEL.match(label) for label in name.split("."))


def in_zone(name: str, zone: str) -> bool:
    """Whether `name` lies below `zone`."""
    return name.endswith(f".{zone}")
