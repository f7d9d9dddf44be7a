"""The hypervisor's bridges and NAT: what is made, what is a person's, and the program."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Any

import pytest

from facts.networks import Interfaces
from phoenix.cli.targets import Work, work
from phoenix.components.networks import bridges
from phoenix.components.networks.bridges import MAIN_FILE, Device, HostInterfaces
from phoenix.derived.components import component_hosts, trees_of
from phoenix.health.checks import checks
from phoenix.health.undeclared import Placed, Sightings, undeclared
from phoenix.site.addressing import routed_networks
from phoenix.site.model import Site
from tests.unit.site_builder import minimal

INNER = {"subnet": "172.16.9.0/24", "bridge": "vmbr9", "nat": True}


def declared(folder: Path, **networks: dict[str, Any]) -> Site:
    site = minimal()
    site.hypervisor = {"networks": networks}
    return site.load(folder)


def test_a_network_that_the_hypervisor_routes_gets_its_bridge_and_nat(tmp_path: Path) -> None:
    site = declared(tmp_path, internal=INNER)
    assert bridges.devices(site) == (
        Device("vmbr9", IPv4Interface("172.16.9.1/24"), "", aware=False),
    )
    assert bridges.interfaces(bridges.managed(site, HostInterfaces())) == (
        "# Made by Phoenix: deploys/networks.py. What another file declares is left alone.\n\n"
        "auto vmbr9\niface vmbr9 inet static\n\taddress 172.16.9.1/24\n"
        "\tbridge-ports none\n\tbridge-stp off\n\tbridge-fd 0\n"
    )
    assert bridges.listed(bridges.managed(site, HostInterfaces())) == "vmbr9 172.16.9.1/24 -\n"
    assert (
        "ip saddr 172.16.9.0/24 ip daddr != { 10.0.0.0/24, 172.16.9.0/24 } "
        'oifname != "vmbr9" masquerade comment "internal"\n'
    ) in bridges.ruleset(site)
    assert component_hosts("networks", site) == (site.hypervisor,)
    assert "networks" in trees_of(site, site.hypervisor)
    (check,) = [candidate for candidate in checks(site) if candidate.unit == bridges.UNIT]
    assert check.command[2:] == ("networks_hold", bridges.PROGRAM)


@pytest.mark.parametrize(
    "network",
    [
        {"subnet": "172.16.9.0/24", "bridge": "vmbr9", "gateway": "172.16.9.254"},
        {"subnet": "172.16.9.0/24", "bridge": "vmbr9", "gateway": "172.16.9.254",
         "address": "172.16.9.2"},
        {"bridge": "vmbr0", "vlan": 20, "dhcp": True},
        {**INNER, "managed": False},
    ],
    ids=["another router", "and an address of ours", "DHCP", "a person's"],
)  # fmt: skip
def test_where_another_is_the_router_nothing_is_made(
    tmp_path: Path, network: dict[str, Any]
) -> None:
    site = declared(tmp_path, internal=network)
    assert routed_networks(site) == ()
    assert component_hosts("networks", site) == ()
    assert "networks" not in trees_of(site, site.hypervisor)
    assert not [check for check in checks(site) if check.unit == bridges.UNIT]


def test_without_nat_it_is_forwarded_alone(tmp_path: Path) -> None:
    network = {"subnet": "172.16.9.0/24", "bridge": "vmbr9", "gateway": "172.16.9.1",
               "address": "172.16.9.1"}  # fmt: skip
    site = declared(tmp_path, internal=network)
    assert [device.name for device in bridges.devices(site)] == ["vmbr9"]
    assert "masquerade" not in bridges.ruleset(site)


def test_vlans_lie_on_a_bridge_that_separates_them(tmp_path: Path) -> None:
    other = {"subnet": "172.16.8.0/24", "bridge": "vmbr9.8", "nat": True}
    site = declared(tmp_path, other=other)
    devices = bridges.managed(site, HostInterfaces())
    assert devices == (
        Device("vmbr9", None, "", aware=True),
        Device("vmbr9.8", IPv4Interface("172.16.8.1/24"), "vmbr9", aware=False),
    )
    file = bridges.interfaces(devices)
    assert "iface vmbr9 inet manual\n\tbridge-ports none" in file
    assert "\tbridge-vlan-aware yes\n\tbridge-vids 2-4094\n" in file
    assert "iface vmbr9.8 inet static\n\taddress 172.16.8.1/24\n\tvlan-raw-device vmbr9\n" in file
    assert bridges.listed(devices) == "vmbr9 - aware\nvmbr9.8 172.16.8.1/24 -\n"
    on_the_main_one = declared(tmp_path / "main", other={**other, "bridge": "vmbr0.8"})
    assert [device.name for device in bridges.devices(on_the_main_one)] == ["vmbr0.8"]
    assert list(bridges.differences(on_the_main_one, HostInterfaces(live={"vmbr0": ()}))) == [
        "vmbr0 does not separate VLANs: give it `bridge-vlan-aware yes`, then `ifreload -a`"
    ]
    aware = HostInterfaces(live={"vmbr0": ()}, aware=frozenset({"vmbr0"}))
    assert not list(bridges.differences(on_the_main_one, aware))


CORRECT = "172.16.9.1/24: correct one of the two"
FILE = {"vmbr9": "/etc/network/interfaces"}


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (HostInterfaces(FILE, live={"vmbr9": ("172.16.9.1/24",)}), []),
        (HostInterfaces(live={"vmbr9": ("172.16.9.1/24",)}), []),
        (HostInterfaces(FILE, live={"vmbr9": ("172.16.9.254/24",)}),
         ["vmbr9 (declared in /etc/network/interfaces) has 172.16.9.254/24, and the site says "
          + CORRECT]),
        (HostInterfaces(live={"vmbr9": ()}),
         [f"vmbr9 (made by hand) has no IPv4 address, and the site says {CORRECT}"]),
        (HostInterfaces(FILE),
         [f"vmbr9 (declared in {MAIN_FILE}) is not there: run `ifup vmbr9` on the hypervisor"]),
    ],
    ids=["as declared", "made by hand", "another address", "none", "down"],
)  # fmt: skip
def test_a_person_s_bridge_is_left_and_a_difference_told(
    tmp_path: Path, state: HostInterfaces, expected: list[str]
) -> None:
    site = declared(tmp_path, internal=INNER)
    assert bridges.managed(site, state) == ()
    assert list(bridges.differences(site, state)) == expected


def test_a_bridge_of_ours_stays_ours_until_a_person_declares_it(tmp_path: Path) -> None:
    site = declared(tmp_path, internal=INNER)
    state = HostInterfaces({}, frozenset({"vmbr9"}), {"vmbr9": ("172.16.9.1/24",)})
    assert [bridge.name for bridge in bridges.managed(site, state)] == ["vmbr9"]
    assert bridges.managed(site, replace(state, declared=FILE)) == ()


def test_the_answer_of_the_host_is_read() -> None:
    lines = [
        "declared\t/etc/network/interfaces\tvmbr0",
        f"declared\t{bridges.FILE}\tvmbr9",
        "made\tvmbr8",  # it outlived its file, with guests on it
        "live\tvmbr0\t10.0.0.13/24 10.0.0.14/24 \taware",
        "live\teno1\t\t",
    ]
    assert Interfaces().parse(lines) == HostInterfaces(
        {"vmbr0": "/etc/network/interfaces"},
        frozenset({"vmbr9", "vmbr8"}),
        {"vmbr0": ("10.0.0.13/24", "10.0.0.14/24"), "eno1": ()},
        frozenset({"vmbr0"}),
    )


def test_a_network_that_leaves_is_told_with_the_command_that_removes_it(tmp_path: Path) -> None:
    site = minimal().load(tmp_path)
    sightings = Sightings(placed={site.hypervisor.name: Placed(("base", "networks"))})
    (item,) = undeclared(site, sightings).items
    assert (item.kind, item.command) == ("component", "phoenix remove networks@phoenix")


def test_a_guest_s_bridge_is_made_before_the_guest(tmp_path: Path) -> None:
    site = declared(tmp_path, internal=INNER)
    first = work(["worker"], site)[0]
    assert first == Work(
        ("deploys/networks.py", "deploys/proxmox.py", "deploys/dns.py"), (site.hypervisor.name,)
    )


def test_a_bridge_of_ours_separates_vlans_that_another_guest_routes(tmp_path: Path) -> None:
    """Without that Proxmox VE starts no guest whose card has a tag there."""
    other = {"subnet": "172.16.8.0/24", "bridge": "vmbr9.8", "gateway": "172.16.8.254"}
    site = declared(tmp_path, internal=INNER, other=other)
    assert bridges.devices(site) == (
        Device("vmbr9", IPv4Interface("172.16.9.1/24"), "", aware=True),
    )
    assert bridges.listed(bridges.managed(site, HostInterfaces())) == "vmbr9 172.16.9.1/24 aware\n"
    text = bridges.interfaces(bridges.managed(site, HostInterfaces()))
    assert "\taddress 172.16.9.1/24\n" in text
    assert "\tbridge-vlan-aware yes\n" in text
    of_a_person = HostInterfaces(FILE, live={"vmbr9": ("172.16.9.1/24",)})
    assert [
        difference.partition(":")[0] for difference in bridges.differences(site, of_a_person)
    ] == ["vmbr9 does not separate VLANs"]


def test_a_template_s_card_with_a_tag_counts_as_well(tmp_path: Path) -> None:
    site = minimal()
    site.hypervisor = {"networks": {"internal": INNER}}
    template = site.lxc["lxc_configs"].setdefault("900", {"name": "base", "is_template": True})
    template["network_config"] = {"ip": "dhcp", "bridge": "vmbr9.30"}
    (bridge,) = bridges.devices(site.load(tmp_path))
    assert bridge.aware
