"""The hypervisor's file: rules for several hosts, resolvers, NFS, and what is only compared."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest

from phoenix.declaration.hypervisor_file import upstream_findings, upstreams
from phoenix.declaration.settings import Settings
from phoenix.derived.firewall import flows
from phoenix.site.findings import Finding
from phoenix.site.model import Site
from tests.unit.site_builder import VM, minimal, problem

HYPERVISOR = "phoenix_hypervisor_config.json"
RULES = "firewall.global_firewall_rules"


def rule(**more: Any) -> dict[str, Any]:
    return {"type": "in", "action": "ACCEPT", "proto": "tcp", "port": "9100", **more}


def site(folder: Path, **hypervisor: Any) -> Site:
    declaration = minimal()
    declaration.hypervisor = hypervisor
    return declaration.load(folder)


def ruled(folder: Path, *rules: dict[str, Any], **more: Any) -> Site:
    return site(folder, firewall={"global_firewall_rules": list(rules), **more})


def warnings_of(site: Site) -> list[Finding]:
    return [warning for warning in site.warnings if warning.file == HYPERVISOR]


def holders(site: Site) -> list[str]:
    return [host.name for host in site.hosts if host.firewall_rules]


@pytest.mark.parametrize(
    ("own", "names"),
    [({"dest": "10.0.0.24"}, ["worker"]), ({}, ["phoenix"]), ({"dest": "10.0.0.13"}, ["phoenix"]),
     ({"dest": "10.0.0.22/31"}, None), ({"type": "out", "source": "10.0.0.24"}, ["worker"])],
)  # fmt: skip
def test_a_rule_holds_on_the_hosts_that_its_own_end_names(
    tmp_path: Path, own: dict[str, Any], names: list[str] | None
) -> None:
    other = {"dest" if own.get("type") == "out" else "source": "10.0.0.21"}
    loaded = ruled(tmp_path, rule(**other, **own))
    network = IPv4Network("10.0.0.22/31")
    assert holders(loaded) == (
        names or [host.name for host in loaded.hosts if host.address in network]
    )
    (held,) = {firewall_rule for host in loaded.hosts for firewall_rule in host.firewall_rules}
    peer = IPv4Network("10.0.0.21")
    assert (held.source, held.destination) in ((peer, None), (None, peer))
    assert warnings_of(loaded) == []


def test_it_lets_in_as_a_rule_of_the_guest_s_own_does(tmp_path: Path) -> None:
    loaded = ruled(tmp_path, rule(source="10.0.0.21", dest="10.0.0.24", comment="metrics"))
    (flow,) = (candidate for candidate in flows(loaded) if candidate.port == 9100)
    assert (flow.source, flow.destination) == (loaded.traefik, loaded.host("worker"))
    assert flow.why == "metrics"


def test_what_is_wrong_with_a_rule_is_told_where_it_stands(tmp_path: Path) -> None:
    declaration = minimal()
    declaration.vm["vms"][1]["firewall"] = {"rules": [rule(source="10.0.0.21")]}
    again = rule(source="10.0.0.21", dest="10.0.0.24")
    declaration.hypervisor = {
        "firewall": {"global_firewall_rules": [again, rule(), rule(dest="10.0.0.99")]}
    }
    warnings = declaration.load(tmp_path).warnings
    assert f"same rule as {VM}" in problem(warnings, HYPERVISOR, f"{RULES}[0]").message
    assert "admits anyone to phoenix" in problem(warnings, HYPERVISOR, f"{RULES}[1]").message
    assert "holds nowhere" in problem(warnings, HYPERVISOR, f"{RULES}[2].dest").message
    declaration.hypervisor["firewall"]["global_firewall_rules"] = [rule(proto="icmp")]
    assert (
        "no protocol with ports"
        in problem(declaration.refused(tmp_path), HYPERVISOR, f"{RULES}[0]").message
    )


def test_a_guest_whose_firewall_is_off_is_told_once_and_its_rules_are_not_judged(
    tmp_path: Path,
) -> None:
    declaration = minimal()
    declaration.vm["vms"][1]["firewall"] = {
        "enabled": False,
        "rules": [rule(), rule(), rule(port="1")],
    }
    declaration.hypervisor = {"firewall": {"global_firewall_rules": [rule(dest="10.0.0.24")]}}
    warnings = [
        warning for warning in declaration.load(tmp_path).warnings if "firewall" in warning.path
    ]
    assert {warning.message for warning in warnings} == {
        "the guest's firewall is off, so this holds nowhere on it"
    }
    assert [warning.path for warning in warnings] == ["vms[1].firewall.rules", f"{RULES}[0]"]


@pytest.mark.parametrize(
    ("key", "value", "fix"),
    [("enabled", False, "proxmox_firewall = False"),
     ("default_input_policy", "ACCEPT", "keep DROP"),
     ("default_output_policy", "DROP", 'proxmox_firewall_out = "DROP"')],
)  # fmt: skip
def test_another_policy_than_ours_is_told(
    tmp_path: Path, key: str, value: object, fix: str
) -> None:
    assert (
        fix in problem(ruled(tmp_path, **{key: value}).warnings, HYPERVISOR, f"firewall.{key}").fix
    )
    own_policies = {
        "enabled": True,
        "default_input_policy": "DROP",
        "default_output_policy": "ACCEPT",
    }
    assert warnings_of(ruled(tmp_path / "ours", **own_policies)) == []


def test_the_file_names_resolvers_where_no_setting_does(tmp_path: Path) -> None:
    own_site = site(tmp_path, dns_server={"enabled": True, "upstream_servers": ["192.0.2.1"]})
    assert upstreams(own_site, Settings()) == ("192.0.2.1",)
    assert [*upstream_findings(own_site, Settings()), *warnings_of(own_site)] == []
    written = Settings(dns_upstreams=("192.0.2.9",))
    assert upstreams(own_site, written) == ("192.0.2.9",)
    (finding,) = upstream_findings(own_site, written)
    assert "says 192.0.2.9" in finding.message
    assert upstreams(site(tmp_path / "none"), Settings()) == Settings().dns_upstreams
    off = site(tmp_path / "off", dns_server={"enabled": False})
    assert "runs all the same" in problem(off.warnings, HYPERVISOR, "dns_server.enabled").message


@pytest.mark.parametrize(("server", "expected"), [("10.0.0.99", "10.0.0.99"),
                                               ("10.0.0.13", "10.0.0.13"),
                                               (None, "10.0.0.13")])  # fmt: skip
def test_volumes_without_a_server_are_the_nfs_server_s(
    tmp_path: Path, server: str | None, expected: str
) -> None:
    declaration = minimal()
    declaration.vm["vms"][1]["volumes"] = [
        {"type": "nfs", "path": "/tank/a", "mount_point": "/mnt/a"},
        {"type": "nfs", "path": "/tank/b", "mount_point": "/mnt/b", "server": "10.0.0.98"},
    ]
    declaration.hypervisor = {"network": {"nfs_server": server} if server else {}}
    servers = [mount.server for mount in declaration.load(tmp_path).host("worker").mounts]
    assert servers == [IPv4Address(expected), IPv4Address("10.0.0.98")]


@pytest.mark.parametrize(
    ("part", "key", "value", "other"),
    [("network", "portainer_server_ip", "10.0.0.23", "10.0.0.99"),
     ("network", "portainer_server_port", 9443, 9444),
     ("network", "portainer_agent_port", 9001, 9002),
     ("portainer_api", "portainer_hostname", "portainer.internal.thinkheads.ai", "p.example.com"),
     ("step_ca", "dns_name", "ca.internal.thinkheads.ai", "ca.example.com")],
)  # fmt: skip
def test_what_the_guests_say_is_compared_and_told_where_it_differs(
    tmp_path: Path, part: str, key: str, value: object, other: object
) -> None:
    assert warnings_of(site(tmp_path, **{part: {key: value}})) == []
    finding = problem(
        site(tmp_path / "other", **{part: {key: other}}).warnings, HYPERVISOR, f"{part}.{key}"
    )
    assert f"{other} is not used: the site has {value}" in finding.message


def test_a_password_in_the_file_is_told_and_not_shown(tmp_path: Path) -> None:
    own_site = site(tmp_path, portainer_api={"admin_password": "hunter-2-hunter"})
    finding = problem(own_site.warnings, HYPERVISOR, "portainer_api.admin_password")
    assert "plain text" in finding.fix
    assert "hunter" not in str(finding)


def test_a_moved_site_moves_its_rules_and_servers(tmp_path: Path) -> None:
    declaration = minimal()
    declaration.vm["vms"][1]["volumes"] = [
        {"type": "nfs", "path": "/tank/a", "mount_point": "/mnt/a"}
    ]
    declaration.hypervisor = {
        "network": {"nfs_server": "10.0.0.99", "portainer_server_ip": "10.0.0.23"},
        "firewall": {"global_firewall_rules": [rule(source="10.0.0.21", dest="10.0.0.24")]},
    }
    moved = declaration.load(tmp_path, subnet=IPv4Network("198.19.9.0/24"))
    assert holders(moved) == ["worker"]
    assert moved.host("worker").firewall_rules[0].source == IPv4Network("198.19.9.21")
    assert str(moved.host("worker").mounts[0].server) == "198.19.9.99"
    assert not [
        warning for warning in moved.warnings if warning.path == "network.portainer_server_ip"
    ]
