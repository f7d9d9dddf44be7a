"""Proxmox VE's configuration strings as values: "virtio=AA:..,bridge=vmbr0" and its kin.

The API stores many settings as one string of properties. They are compared by value: order,
letter case of a MAC and ways to write "yes" say nothing. Formats: pve-docs, qm.conf(5),
pct.conf(5).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote, unquote

Properties = dict[str, str]

# Models of a VM's network card: `model=MAC` stands first in netN (qm.conf(5), net[n]).
NIC_MODELS = (
    "e1000", "e1000-82540em", "e1000-82544gc", "e1000-82545em", "e1000e", "i82551", "i82557b",
    "i82559er", "ne2k_isa", "ne2k_pci", "pcnet", "rtl8139", "virtio", "vmxnet3",
)  # fmt: skip
_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)([KMGT]?)\Z")
_TAG = re.compile(r"[a-z0-9_][a-z0-9_\-+.]*\Z")


def parse(text: str, default_key: str = "") -> Properties:
    """The properties of a string; a part without "=" belongs to `default_key`."""
    properties: Properties = {}
    for part in str(text).split(","):
        key, equals, value = part.partition("=")
        if equals:
            properties[key.strip()] = value
        elif part.strip():
            properties[default_key] = part.strip()
    return properties


def is_of_hypervisor(key: str, text: str) -> bool:
    """Whether a key of a container is a mount point of a folder or device of the hypervisor."""
    return bool(re.fullmatch(r"mp\d+", key)) and parse(text, "").get("", "").startswith("/")


def join(properties: Mapping[str, str], default_key: str = "") -> str:
    """One string of properties; the one of `default_key` goes first, without its key."""
    first = [properties[default_key]] if default_key in properties else []
    pairs = [f"{key}={value}" for key, value in properties.items() if key != default_key]
    return ",".join(first + pairs)


def parse_nic(text: str) -> Properties:
    """A network card's properties; a VM's `virtio=MAC` becomes `model` and `hwaddr`."""
    properties = parse(text, "model")
    for model in NIC_MODELS:
        if model in properties:
            properties = {"model": model, "hwaddr": properties.pop(model), **properties}
    if "macaddr" in properties:
        properties["hwaddr"] = properties.pop("macaddr")
    if "hwaddr" in properties:
        properties["hwaddr"] = properties["hwaddr"].upper()
    return properties


def join_nic(properties: Mapping[str, str]) -> str:
    """The string of a network card; a VM's card (it has a `model`) leads with `model=MAC`."""
    others = dict(properties)
    model = others.pop("model", None)
    if model is None:
        return join(others)
    mac = others.pop("hwaddr", None)
    return ",".join([f"{model}={mac}" if mac else model, *([join(others)] if others else [])])


def size_bytes(text: str) -> int:
    """A disk's size, "32G" or "512M" or plain bytes, in bytes.

    Raises:
        ValueError: no size.
    """
    match = _SIZE.match(str(text))
    if not match:
        raise ValueError(f"{text!r} is not a size: Proxmox VE writes 32G or 512M")
    return int(float(match[1]) * _UNITS[match[2]])


def boolean(text: object) -> bool:
    """Whether a setting is on; Proxmox VE writes 1, yes, on or true."""
    return str(text).strip().lower() in ("1", "yes", "on", "true")


def tags(text: str) -> frozenset[str]:
    """The tags of a guest; they may be separated by semicolons, commas or blanks."""
    return frozenset(tag.lower() for tag in re.split(r"[;,\s]+", str(text)) if tag)


def join_tags(names: Iterable[str]) -> str:
    """Tags as Proxmox VE stores them: sorted, with semicolons.

    Raises:
        ValueError: one is not a tag.
    """
    for tag in names:
        if not _TAG.match(tag):
            raise ValueError(f"{tag!r} is not a tag: use a-z, 0-9, _ - + . and no dot in front")
    return ";".join(sorted(names))


def ssh_keys(text: str) -> tuple[str, ...]:
    """The public keys of a VM's `sshkeys`, which the API holds percent-encoded."""
    return tuple(line.strip() for line in unquote(str(text)).splitlines() if line.strip())


def join_ssh_keys(keys: Iterable[str]) -> str:
    """`sshkeys` as the API wants it: percent-encoded, spaces as %20."""
    return quote("\n".join(keys), safe="")
