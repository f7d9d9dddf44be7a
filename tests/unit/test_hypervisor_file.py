"""The optional third file: what it says, what another place also says, what nothing reads."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest

from phoenix.declaration import hypervisor_file
from phoenix.declaration.settings import Settings
from phoenix.site.findings import ConfigError, Report
from phoenix.validation.setting_values import check
from tests.unit.site_builder import HYPERVISOR, Declaration, lxc, minimal, problem


def of_another_network() -> Declaration:
    """A site that says neither its domain nor its hypervisor's address; the third file does."""
    site = minimal()
    site.lxc = {
        "site": {"hypervisor": {"name": "rack"}},
        "lxc_configs": {"103": lxc("authority", "step_ca", 22)},
    }
    site.lxc["lxc_configs"]["103"]["network_config"] = {"ip": "192.168.7.22/24"}
    site.vm, site.stacks = {"vms": []}, {}
    site.hypervisor = {
        "domain_name": "home.example.org",
        "timezone": "Europe/Berlin",
        "network": {
            "interfaces": {"name": "vmbr0", "address": "192.168.7.2/24", "gateway": "192.168.7.1"},
            "default_subnet": "192.168.7.0/24",
        },
    }
    return site


def test_the_file_fills_in_what_the_site_leaves_out(tmp_path: Path) -> None:
    site = of_another_network().load(tmp_path)
    assert site.domain == "home.example.org"
    assert site.network == IPv4Network("192.168.7.0/24")
    assert site.hypervisor.address == IPv4Address("192.168.7.2")
    assert site.hypervisor.gateway == IPv4Address("192.168.7.1")
    assert site.hypervisor.name == "rack"


@pytest.mark.parametrize(
    ("path", "value", "site"),
    [
        ("domain_name", "other.example.org", {"domain": "home.example.org"}),
        ("network.interfaces.address", "192.168.7.3/24", {"hypervisor": {"ip": "192.168.7.2/24"}}),
        ("network.interfaces.gateway", "192.168.7.9", {"hypervisor": {"gateway": "192.168.7.1"}}),
    ],
)
def test_two_places_that_disagree_are_refused_and_one_value_twice_is_fine(
    path: str, value: str, site: dict[str, Any], tmp_path: Path
) -> None:
    declaration = of_another_network()
    declaration.lxc["site"] = {"hypervisor": {"name": "rack", **site.get("hypervisor", {})}} | {
        key: item for key, item in site.items() if key != "hypervisor"
    }
    declaration.load(tmp_path)
    inner = declaration.hypervisor or {}
    *way, last = path.split(".")
    for step in way:
        inner = inner[step]
    inner[last] = value
    finding = problem(declaration.refused(tmp_path), HYPERVISOR, path)
    assert "phoenix_lxc_configs.json: site" in finding.message
    assert "leave it out here" in finding.fix


def test_a_setting_is_the_owner_of_the_time_zone(tmp_path: Path) -> None:
    site = of_another_network().load(tmp_path)
    assert hypervisor_file.time_zone(site, Settings()) == "Europe/Berlin"
    assert hypervisor_file.time_zone_findings(site, Settings()) == ()
    other = Settings(timezone="Asia/Tokyo")
    assert hypervisor_file.time_zone(site, other) == "Asia/Tokyo"
    findings = [f for f in check(site, other, faulty=(), ssh_key=None, home=tmp_path)
             if f.file == HYPERVISOR]  # fmt: skip
    assert [(f.path, f.severity) for f in findings] == [("timezone", "warning")]
    assert "Asia/Tokyo" in findings[0].message
    assert hypervisor_file.time_zone(minimal().load(tmp_path / "none"), Settings()) == "Etc/UTC"


def test_a_time_zone_that_there_is_not_is_refused(tmp_path: Path) -> None:
    declared = of_another_network()
    assert declared.hypervisor is not None
    declared.hypervisor["timezone"] = "Europe/Berln"
    site = declared.load(tmp_path)
    findings = [f for f in check(site, Settings(), faulty=(), ssh_key=None, home=tmp_path)
             if f.file == HYPERVISOR]  # fmt: skip
    assert [(f.path, f.severity, "Berlin" in f.fix) for f in findings] == [
        ("timezone", "error", True)
    ]


def test_a_subnet_that_is_not_the_sites_is_told(tmp_path: Path) -> None:
    site = minimal()
    site.hypervisor = {"network": {"default_subnet": "10.0.1.0/24"}}
    finding = problem(site.load(tmp_path).warnings, HYPERVISOR, "network.default_subnet")
    assert "10.0.0.0/24, by phoenix_lxc_configs.json: site.hypervisor.ip" in finding.message


@pytest.mark.parametrize(
    ("subnet", "pools", "expected"),
    [
        ("172.20.5.0/24", (), {(HYPERVISOR, "networks.inner.subnet", "warning")}),
        ("172.16.100.0/24", (), set()),
        ("192.168.7.0/24", (), set()),
        ("172.20.5.0/24", ("172.30.0.0/16",), set()),
        ("172.16.100.0/24", ("172.30.0.0/16", "172.16.0.0/16"),
         {("group_data", "docker_address_pools[1]", "error")}),
        ("172.16.100.0/24", ("10.0.0.0/8",), set()),
    ],
)  # fmt: skip
def test_bridges_of_docker_leave_the_site_s_networks_alone(
    tmp_path: Path, subnet: str, pools: tuple[str, ...], expected: set[tuple[str, str, str]]
) -> None:
    """The Docker hosts are in lan alone: they know no route to the other network."""
    declared = minimal()
    declared.hypervisor = {"networks": {"inner": {"subnet": subnet, "bridge": "vmbr9",
                                                  "nat": True}}}  # fmt: skip
    site = declared.load(tmp_path)
    settings = Settings(docker_address_pools=[{"base": base, "size": 24} for base in pools])
    findings = check(site, settings, faulty=(), ssh_key=None, home=tmp_path)
    assert {(finding.file, finding.path, finding.severity) for finding in findings
            if "containers of control, worker" in finding.message} == expected  # fmt: skip


def test_rules_that_nothing_carries_out_are_told(tmp_path: Path) -> None:
    """By default the guard alone filters; with it off, a rule is written nowhere."""
    rule = {"type": "in", "action": "DROP", "proto": "tcp", "port": "9999"}
    declared = minimal()
    declared.lxc["lxc_configs"]["101"]["firewall"] = {"guard": False, "rules": [rule]}
    declared.vm["vms"][1]["leave_alone"] = ["guard"]
    declared.vm["vms"][0]["firewall"] = {"rules": [rule]}
    environment = declared.stacks["shop"][0]["environments"]["production"]
    environment["firewall_rules"] = [{**rule, "port": "8000"}]
    site = declared.load(tmp_path)

    def places_of(settings: Settings) -> list[tuple[str, str]]:
        findings = check(site, settings, faulty=(), ssh_key=None, home=tmp_path)
        return [
            (finding.file, finding.path)
            for finding in findings
            if "holds nowhere" in finding.message
        ]

    assert places_of(Settings()) == [
        ("phoenix_lxc_configs.json", "lxc_configs.101.firewall.rules"),
        ("stacks/shop/phoenix.json", "environments.production.firewall_rules"),
    ]


def test_each_key_that_nothing_reads_is_named(tmp_path: Path) -> None:
    site = minimal()
    site.hypervisor = {
        "version": "1", "docker": {"a": "b"}, "samba": {"user": "me"}, "zfs": {"pools": [1]},
        "users": {"username": "me"}, "tiemzone": "Etc/UTC",
        "network": {"fallback_dns": "10.0.0.9", "public_vlna_tag": 20,
                    "interfaces": {"dns_nameservers": ["10.0.0.53"]}},
    }  # fmt: skip
    warnings = {f.path: f for f in site.load(tmp_path).warnings if f.file == HYPERVISOR}
    unread = {"tiemzone", "network.public_vlna_tag"}
    unused = {"docker", "samba", "zfs", "users", "network.fallback_dns",
              "network.interfaces.dns_nameservers"}  # fmt: skip
    assert warnings.keys() == unread | unused
    assert all(warnings[path].message.startswith("not used: ") for path in unused)
    assert "timezone" in warnings["tiemzone"].fix


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("domain_name", {"domain_name": "nodot"}),
        ("timezone", {"timezone": "the moon"}),
        ("networks.dmz.subnet", {"networks": {"dmz": {"subnet": "10.9.0.1/24"}}}),
        ("networks.dmz.vlan", {"networks": {"dmz": {"vlan": 4095}}}),
        ("networks.dmz.gateway", {"networks": {"dmz": {"gateway": "10.9.0.1/24"}}}),
        ("network.default_subnet", {"network": {
            "default_subnet": "10.8.0.0/24", "interfaces": {"address": "10.0.0.13/24"}}}),
        ("network.interfaces.address", {"network": {"interfaces": {"address": "dhcp"}}}),
        ("networks.internal", {
            "networks": {"internal": {"subnet": "172.16.9.0/24"}},
            "network": {"internal_bridge": {"name": "vmbr9", "subnet": "172.16.9.0/24"}}}),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_by_file_and_path(
    path: str, data: dict[str, Any], tmp_path: Path
) -> None:
    site = minimal()
    site.hypervisor = data
    problem(site.refused(tmp_path), HYPERVISOR, path)


def test_both_forms_declare_networks(tmp_path: Path) -> None:
    (tmp_path / HYPERVISOR).write_text(
        """{"network": {"public_bridge": "vmbr1", "public_vlan_tag": 30,
                        "internal_bridge": {"name": "vmbr9", "subnet": "172.16.9.0/24"}},
            "networks": {"dmz": {"subnet": "10.9.0.0/24", "vlan": 9, "gateway": "10.9.0.1"}}}"""
    )
    report = Report()
    file = hypervisor_file.read(tmp_path, report)
    report.raise_errors()
    assert [network.name for network in file.networks] == ["dmz", "public", "internal"]
    dmz, public, internal = (network.raw for network in file.networks)
    assert (dmz.bridge, dmz.vlan, dmz.nat) == ("vmbr0", 9, False)
    assert (public.bridge, public.vlan, public.dhcp) == ("vmbr1", 30, True)
    assert (internal.bridge, str(internal.subnet), internal.nat) == ("vmbr9", "172.16.9.0/24", True)


def test_a_broken_file_is_refused(tmp_path: Path) -> None:
    site = minimal()
    site.load(tmp_path)
    (tmp_path / HYPERVISOR).write_text("{")
    with pytest.raises(ConfigError) as refused:
        site.load(tmp_path)
    assert [f.file for f in refused.value.findings] == [HYPERVISOR]
