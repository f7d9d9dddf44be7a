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
STACK_ZONE = "stack"
"""SERVICE.STACK_ZONE.ZONE is the name that a stack proves to Traefik on its Docker host."""

SERVER_PROJECT, AGENT_PROJECT = "phoenix-portainer", "phoenix-portainer-agent"
"""Compose projects of Portainer's server and agent on their hosts."""
SERVER_CONTAINER, AGENT_CONTAINER = "portainer", "portainer_agent"
"""Their containers in Docker."""
SERVER_VOLUME = "portainer_data"
"""The Docker volume with all that Portainer's server knows."""


def is_name(name: str) -> bool:
    """Whether `name` is a lower-case DNS host name of at most 253 characters (RFC 1123)."""
    return len(name) <= 253 and all(LABEL.match(label) for label in name.split("."))


_EVERYBODYS = frozenset(
    ("localhost", "ip6-localhost", "ip6-loopback", "ip6-localnet", "ip6-mcastprefix",
     "ip6-allnodes", "ip6-allrouters", "broadcasthost")
)  # fmt: skip
_NUMBER = re.compile(r"[0-9]+\Z|0x[0-9a-f]+\Z")


def is_reserved_name(label: str) -> bool:
    """Whether every machine knows a name as its own already (RFC 6761, section 6.3; /etc/hosts)."""
    return label in _EVERYBODYS


def host_name(label: str, domain: str) -> str:
    """The full name of a host of the site: `docker01.host.DOMAIN`."""
    return f"{label}.{HOST_ZONE}.{domain}"


def is_number(label: str) -> bool:
    """Whether programs take a name for an IPv4 address, as 127 or 0x7f (inet_aton(3))."""
    return _NUMBER.match(label) is not None


_IMPOSSIBLE_ZONES = {
    "localhost": "leads every machine to itself (RFC 6761, section 6.3)",
    "invalid": "is answered with no such name everywhere (RFC 6761, section 6.4)",
    "onion": "is Tor's, and no name server is asked (RFC 7686)",
    "alt": "is for names outside DNS (RFC 9476)",
    "in-addr.arpa": "is for names of addresses (RFC 1035, section 3.5)",
    "ip6.arpa": "is for names of addresses (RFC 3596, section 2.5)",
}


def impossible_zone(domain: str) -> str:
    """Why machines would not ask the site's name server for a domain; empty where they would."""
    if is_number(domain.rpartition(".")[2]):
        return "ends in a number: programs take it for an address (RFC 3696, section 2)"
    for zone, why in _IMPOSSIBLE_ZONES.items():
        if domain == zone or in_zone(domain, zone):
            return f".{zone} {why}"
    return ""


def policy(zone: str) -> tuple[str, ...]:
    """The names that the site's CA issues certificates for; `*` stands for one label (step-ca)."""
    return f"*.{zone}", f"*.{HOST_ZONE}.{zone}", f"*.{STACK_ZONE}.{zone}"


def has_policy(name: str, zone: str) -> bool:
    """Whether the CA's policy admits a name."""
    return f"*.{name.partition('.')[2]}" in policy(zone)


def is_proof(label: str) -> bool:
    """Whether a name below a zone is one that hosts and stacks prove themselves by."""
    return label.rpartition(".")[2] in (HOST_ZONE, STACK_ZONE) and "." in label


def in_zone(name: str, zone: str) -> bool:
    """Whether `name` lies below `zone`."""
    return name.endswith(f".{zone}")


def normalise_name(name: str) -> str:
    """Portainer's own normalisation of stack names (source 2.23): lower case, ``[-_a-z0-9]`` only.

    Raises:
        ValueError: what is left can't be a compose project name.
    """
    normal = re.sub(r"[^-_a-z0-9]+", "", name.lower())
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", normal):
        raise ValueError(
            f"stack name {name!r} becomes {normal!r}, no compose project name: "
            "start it with a letter or digit"
        )
    return normal
