"""Addresses in the networks of a compose file: what Docker refuses when it makes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

from phoenix.declaration.compose import filled
from phoenix.declaration.compose_values import at
from phoenix.declaration.json_errors import join

_Problem = tuple[str, str, str]
"""Path, message and fix."""
_Pools = Mapping[str, Iterable[IPv4Network | IPv6Network]]


def check(compose: Mapping[str, Any], values: Mapping[str, str]) -> Iterator[_Problem]:
    """Path, message and fix of each.

    Args:
        compose: the file's content, of the shape that `phoenix.compose.document.read` promises.
        values: the declared variables; a secret's has any text that is not empty.
    """
    pools: dict[str, list[IPv4Network | IPv6Network]] = {}
    for name, path, text in _subnets(compose, values):
        try:
            ip_network(text)
        except ValueError:
            fix = 'write its first address and its size, as "172.30.0.0/24"'
            yield path, f"{text[:80]!r} is not a network", fix
        with suppress(ValueError):
            pools.setdefault(name, []).append(ip_network(text, strict=False))
    yield from _gateways(compose, values, pools)
    yield from _of_containers(compose, values, pools)


def subnets(compose: Mapping[str, Any], values: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Path and text of each subnet that a compose file gives a network of its own."""
    for _, path, text in _subnets(compose, values):
        yield path, text


def _subnets(
    compose: Mapping[str, Any], values: Mapping[str, str]
) -> Iterator[tuple[str, str, str]]:
    for name, network, path, pool in _pools(compose):
        text = filled(pool.get("subnet") or "", values)
        if text and not network.get("external"):
            yield name, f"{path}.subnet", text


def _pools(
    compose: Mapping[str, Any],
) -> Iterator[tuple[str, Mapping[str, Any], str, Mapping[str, Any]]]:
    """Name and body of each network with an address pool, the pool's path, and the pool."""
    for name, network in (compose.get("networks") or {}).items():
        config = at(network, ["ipam", "config"]) if isinstance(network, dict) else None
        for position, pool in enumerate(config if isinstance(config, list) else ()):
            if isinstance(pool, dict):
                yield name, network, f"networks.{name}.ipam.config[{position}]", pool


def _gateways(
    compose: Mapping[str, Any], values: Mapping[str, str], pools: _Pools
) -> Iterator[_Problem]:
    for name, _, path, pool in _pools(compose):
        gateway = filled(pool.get("gateway") or "", values)
        if gateway and not _is_within(gateway, pools.get(name, ())):
            message = f"{gateway[:80]!r} is not an address of the network"
            yield f"{path}.gateway", message, "write an address of its subnet, or leave it out"


def _of_containers(
    compose: Mapping[str, Any], values: Mapping[str, str], pools: _Pools
) -> Iterator[_Problem]:
    """Addresses outside of their network, and those that two containers would have."""
    users: dict[tuple[str, str], str] = {}
    for network, path, text in _declared(compose, values):
        if not _is_within(text, pools.get(network, ())):
            fix = f"write a subnet under networks.{network}.ipam.config that has it"
            yield path, f"{text[:80]!r} is in no subnet of {network}", fix
        elif (first := users.setdefault((network, text), path)) != path:
            message = f"{text} is the address of {first} too"
            yield path, message, "write another address for one of the two"


def _declared(
    compose: Mapping[str, Any], values: Mapping[str, str]
) -> Iterator[tuple[str, str, str]]:
    """Network, path and text of each address that a service is to have."""
    own = compose.get("networks") or {}
    for name, service in compose["services"].items():
        networks = service.get("networks")
        for network, body in networks.items() if isinstance(networks, dict) else ():
            known = own.get(network)
            if not isinstance(body, dict) or (isinstance(known, dict) and known.get("external")):
                continue
            for key in ("ipv4_address", "ipv6_address"):
                if text := filled(body.get(key) or "", values):
                    path = join("services", name, "networks", network, key)
                    yield network, path, text


def _is_within(text: str, pools: Iterable[IPv4Network | IPv6Network]) -> bool:
    try:
        address = ip_address(text)
    except ValueError:
        return False
    return any(address.version == pool.version and address in pool for pool in pools)
