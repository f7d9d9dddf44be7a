"""Two hosts of one name or one address are one finding: what follows from it is not told beside."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from tests.unit.rich_sites import SITES
from tests.unit.site_builder import Declaration


def entries(declared: Declaration) -> dict[str, dict[str, Any]]:
    """The entries of guests, by their name."""
    return {entry["name"]: entry for entry in (*declared.lxc["lxc_configs"].values(),
                                               *declared.vm["vms"])}  # fmt: skip


def network(entry: dict[str, Any]) -> str:
    ip: str = entry["network_config"]["ip"]
    return ip.rpartition(".")[0]


PAIRS = [
    *(("two of each", *pair) for pair in permutations(("worker", "second", "control"), 2)),
    *(("a swarm of three", *pair) for pair in permutations(("control", "worker", "third"), 2)),
    *(("one of each", first, "data") for first in ("gateway", "proxy", "authority", "worker")),
    *(("many roles each", first, other) for first, other in permutations(
        ("gateway", "proxy", "control", "worker"), 2)),
]  # fmt: skip
KEYS = {
    ("name",): ["duplicate host name"],
    ("address",): ["duplicate IP address"],
    ("name", "address"): ["duplicate host name", "duplicate IP address"],
}


@pytest.mark.parametrize("keys", KEYS, ids=" and ".join)
@pytest.mark.parametrize(("site", "first", "other"), PAIRS)
@pytest.mark.fast_cases(12)
def test_the_twins_alone_are_told(
    tmp_path: Path, site: str, first: str, other: str, keys: tuple[str, ...]
) -> None:
    """Of agents it said that ports and names in Portainer were taken, too."""
    declared = SITES[site]()
    guests = entries(declared)
    assert network(guests[first]) == network(guests[other])
    if "name" in keys:
        guests[other]["name"] = first
    if "address" in keys:
        guests[other]["network_config"]["ip"] = guests[first]["network_config"]["ip"]
    messages = [finding.message for finding in declared.refused(tmp_path)]
    assert [" ".join(message.split()[:3]) for message in messages] == KEYS[keys], messages
