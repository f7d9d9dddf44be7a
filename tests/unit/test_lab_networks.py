"""A lab's further networks: where each host is, and what no lab may use."""

from __future__ import annotations

import stat
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock, Mock

import pytest

from lab import networks
from lab.guests import from_site, lab_site
from lab.networks import ALONE, Card, Place
from lab.settings import LabError, Settings, from_environment
from tests.unit.site_builder import Declaration, minimal

LAB = IPv4Network("198.19.77.0/24")


def settings(folder: Path, declaration: Declaration, **internal: Any) -> Settings:
    """A lab of a declaration with an internal network."""
    network = {"subnet": "198.18.77.0/24", "bridge": "vmbr9", "nat": True, **internal}
    declaration.hypervisor = {"networks": {"internal": network}}
    return written(folder, declaration)


def written(folder: Path, declaration: Declaration) -> Settings:
    declaration.load(folder / "inventories")
    (folder / "inventories/stacks").rename(folder / "stacks")
    return Settings("demo", LAB, site=folder)


def two() -> Declaration:
    site = minimal()
    guests = site.lxc["lxc_configs"]
    guests["103"]["network_config"] = {"ip": "198.18.77.11/24"}
    guests["101"]["secondary_network_config"] = {"ip": "198.18.77.10/24"}
    return site


def test_each_host_is_where_its_addresses_say(tmp_path: Path) -> None:
    places = {guest.name: guest.place for guest in from_site(settings(tmp_path, two()))}
    machine, router = LAB[254], IPv4Address("198.18.77.1")
    assert places == {
        "phoenix": Place("", (Card("internal", IPv4Address("198.18.77.253"), "vmbr9"),), machine),
        "authority": Place("internal", (), router),
        "gateway": Place("", (Card("internal", IPv4Address("198.18.77.10")),), machine),
        **{name: Place("", (), machine) for name in ("proxy", "control", "worker")},
    }


def test_a_site_of_one_network_is_as_it_was(tmp_path: Path) -> None:
    guests = from_site(written(tmp_path, minimal()))
    assert {guest.place for guest in guests} == {ALONE}
    assert networks.files(ALONE) == {}


def test_the_hypervisor_s_card_waits_for_its_bridge(tmp_path: Path) -> None:
    (node,) = [node for node in from_site(settings(tmp_path, two())) if node.serves_dns]
    files = networks.files(node.place)
    program = files["/usr/local/lib/phoenix-lab/network"][0].decode()
    assert "ip route replace default via 198.19.77.254\n" in program
    assert 'ip link set dev "$one" master vmbr9' in program
    links = [path for path, (_, mode) in files.items() if stat.S_ISLNK(mode)]
    assert links == [f"/etc/systemd/system/multi-user.target.wants/{networks.UNIT}"]


def test_a_network_that_may_be_a_real_one_is_refused(tmp_path: Path) -> None:
    site = lab_site(settings(tmp_path, minimal(), subnet="172.16.9.0/24"))
    with pytest.raises(LabError, match=r"internal is 172\.16\.9\.0/24, which may be a real"):
        networks.subnets(site)


def test_the_further_network_has_the_number_of_the_lab(tmp_path: Path) -> None:
    (tmp_path / "inventories").mkdir()
    settings = from_environment({"PHOENIX_LAB_SUBNET": str(LAB), "PHOENIX_LAB_SITE": str(tmp_path)})
    assert settings.further_subnet == IPv4Network("198.18.77.0/24")
    assert settings.declared == tmp_path.resolve()
    assert from_environment({}).declared == from_environment({}).root
    with pytest.raises(LabError, match="PHOENIX_LAB_SITE"):
        from_environment({"PHOENIX_LAB_SITE": str(tmp_path / "nowhere")})


def test_a_host_gets_its_further_cards_before_it_starts(tmp_path: Path) -> None:
    client, container = MagicMock(), Mock()
    lab = Settings("demo", LAB)
    networks.connect(client, container, lab, [Card("internal", IPv4Address("198.18.77.10"))])
    client.networks.get.assert_called_once_with("phoenix-demo-internal")
    connect = client.networks.get.return_value.connect
    connect.assert_called_once_with(container, ipv4_address="198.18.77.10")


@pytest.mark.parametrize(("version", "open_"), [("20.10.24+dfsg1", False), ("28.5.1", True)])
def test_newer_engines_are_told_to_let_forwarded_packets_through(version: str, open_: bool) -> None:
    client = MagicMock()
    client.version.return_value = {"Version": version}
    assert bool(networks.options(client)) is open_
