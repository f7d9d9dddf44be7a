"""Named networks: a gateway by DHCP outside, an inner network behind the hypervisor, the LAN."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest

from phoenix.components.ca_rotation import permitted_next
from phoenix.components.dnsmasq import dnsmasq_conf
from phoenix.components.docker import daemon_json
from phoenix.components.guard.ruleset import ruleset
from phoenix.components.nginx.nginx_conf import nginx_config
from phoenix.components.portainer import tunnel
from phoenix.components.step_ca import authority
from phoenix.components.traefik import traefik_yml
from phoenix.declaration.settings import Settings
from phoenix.derived import control_plane, dns, firewall
from phoenix.derived.routes import routes
from phoenix.health.checks import checks_by_host
from phoenix.proxmox import connections
from phoenix.proxmox.desired import DesiredGuest, desired_guests
from phoenix.proxmox.diff import Observed, compare
from phoenix.proxmox.firewall import scopes
from phoenix.site.addressing import address_pair, static_routes, target_address
from phoenix.site.model import Host, Site
from tests.unit.site_builder import HYPERVISOR, LXC, VM, Declaration, minimal, problem

INNER = IPv4Network("172.16.9.0/24")
LAN = IPv4Network("10.0.0.0/24")


def two_networks() -> Declaration:
    """CA, Traefik and the gateway's inner side on an internal bridge, the VMs on the LAN."""
    declaration = minimal()
    guests = declaration.lxc["lxc_configs"]
    for vmid, host in (("102", 12), ("103", 11)):
        guests[vmid]["network_config"] = {
            "bridge": "vmbr9", "ip": f"172.16.9.{host}/24", "gw": "172.16.9.1",
            "nameservers": ["172.16.9.1"],
        }  # fmt: skip
    guests["101"] |= {
        "mac_address": "02:00:00:00:09:01",
        "network_config": {"bridge": "vmbr0.20", "ip": "dhcp", "hwaddr": "02:00:00:00:09:01"},
        "secondary_network_config": {
            "bridge": "vmbr9", "ip": "172.16.9.10/24", "hwaddr": "02:00:00:00:09:02",
        },
    }  # fmt: skip
    declaration.hypervisor = {
        "network": {
            "interfaces": {"name": "vmbr0", "address": "10.0.0.13/24", "gateway": "10.0.0.1"},
            "public_bridge": "vmbr0", "public_vlan_tag": 20,
            "internal_bridge": {"name": "vmbr9", "subnet": str(INNER)},
        }
    }  # fmt: skip
    return declaration


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return two_networks().load(tmp_path)


def at(site: Site, name: str) -> Host:
    return site.host(name)


def test_networks_and_interfaces(site: Site) -> None:
    assert [(n.name, n.place, n.address, n.dhcp, n.nat) for n in site.networks] == [
        ("lan", "vmbr0", IPv4Address("10.0.0.13"), False, False),
        ("public", "vmbr0.20", None, True, False),
        ("internal", "vmbr9", IPv4Address("172.16.9.1"), False, True),
    ]
    assert (site.network, site.subnets) == (LAN, (LAN, INNER))
    gateway = at(site, "gateway")
    assert gateway.address == IPv4Address("172.16.9.10")
    assert [(i.name, i.network, i.bridge, i.vlan, i.address, i.gateway, i.mac)
            for i in gateway.interfaces] == [
        ("eth0", "public", "vmbr0", 20, None, None, "02:00:00:00:09:01"),
        ("eth1", "internal", "vmbr9", None, IPv4Address("172.16.9.10"), None, "02:00:00:00:09:02"),
    ]  # fmt: skip
    assert gateway.nameservers == (IPv4Address("172.16.9.1"),)
    assert at(site, "worker").nameservers == (IPv4Address("10.0.0.13"),)
    assert [warning.path for warning in site.warnings] == [f"{FIRST}.ip"]


def with_public(network: dict[str, Any]) -> Declaration:
    declaration = two_networks()
    assert declaration.hypervisor is not None
    del declaration.hypervisor["network"]["public_vlan_tag"]
    declaration.hypervisor["networks"] = {"public": network}
    return declaration


def test_an_outer_address_that_no_record_can_have_is_told(tmp_path: Path) -> None:
    finding = problem(two_networks().load(tmp_path).warnings, LXC, f"{FIRST}.ip")
    assert "DNS answers clients in the network public with 172.16.9.10" in finding.message
    assert (
        '"own_dns": true at networks.public, in the place of network.public_vlan_tag' in finding.fix
    )
    outer = {"bridge": "vmbr0", "vlan": 20, "dhcp": True}
    for name, settled in {
        "elsewhere": {**outer, "own_dns": True},
        "static": {**outer, "subnet": "192.168.20.0/24", "gateway": "192.168.20.1"},
    }.items():
        declaration = with_public(settled)
        if name == "static":
            declaration.lxc["lxc_configs"]["101"]["network_config"]["ip"] = "192.168.20.10/24"
        site = declaration.load(tmp_path / name)
        assert site.warnings == ()


def test_a_client_in_neither_network_of_a_name_gets_all_its_addresses(tmp_path: Path) -> None:
    """So dnsmasq answers, and the checks expect it: the order is its own."""
    declaration = with_public({"vlan": 20, "subnet": "192.168.20.0/24", "gateway": "192.168.20.1"})
    declaration.lxc["lxc_configs"]["101"]["network_config"]["ip"] = "192.168.20.10/24"
    site = declaration.load(tmp_path)
    (record,) = [
        candidate for candidate in dns.records(site) if candidate.name == at(site, "gateway").fqdn
    ]
    inner, outer = IPv4Address("172.16.9.10"), IPv4Address("192.168.20.10")
    assert set(dns.answers(site, record, at(site, "worker"))) == {inner, outer}
    assert dns.answers(site, record, at(site, "proxy")) == (inner,)
    words = {
        word
        for check in checks_by_host(site)["worker"]
        for word in check.command
        if word.startswith(f"{record.name}=")
    }
    assert words == {f"{record.name}={outer},{inner}"}


def test_one_network_is_as_it_was(tmp_path: Path) -> None:
    site = minimal().load(tmp_path)
    assert [n.name for n in site.networks] == ["lan"]
    assert site.subnets == (site.network,)
    assert all(len(h.interfaces) == 1 for h in site.hosts)
    for host in site.hosts:
        assert list(static_routes(site, host)) == []
        for other in site.hosts:
            assert address_pair(host, other)[:2] == (host.address, other.address)
    text = dnsmasq_conf.config(site, dns.records(site), ["9.9.9.9"])
    assert "localise-queries" not in text
    assert "ptr-record" not in text
    assert "bind-interfaces\nlisten-address=10.0.0.13\n" in text
    named = two_networks()
    named.lxc, named.hypervisor = minimal().lxc, {"networks": {"home": {"subnet": str(LAN)}}}
    again = named.load(tmp_path / "named")
    assert [(n.name, n.address) for n in again.networks] == [("home", IPv4Address("10.0.0.13"))]
    assert firewall.rules(again) == firewall.rules(site)
    assert dnsmasq_conf.config(again, dns.records(again), ["9.9.9.9"]) == text
    keys = [guest.keys for guest in desired_guests(site, Settings().proxmox)]
    assert [guest.keys for guest in desired_guests(again, Settings().proxmox)] == keys


def test_each_connection_has_the_addresses_of_its_network(site: Site) -> None:
    gateway, proxy, ca = (at(site, name) for name in ("gateway", "proxy", "authority"))
    worker, node = at(site, "worker"), site.hypervisor
    assert address_pair(gateway, proxy) == (gateway.address, proxy.address, "internal")
    assert address_pair(proxy, node)[:2] == (proxy.address, IPv4Address("172.16.9.1"))
    assert address_pair(node, ca)[:2] == (IPv4Address("172.16.9.1"), ca.address)
    assert address_pair(worker, node)[:2] == (worker.address, IPv4Address("10.0.0.13"))
    assert address_pair(worker, ca) == (worker.address, ca.address, "")  # forwarded
    assert target_address(ca, worker) == worker.address
    assert list(static_routes(site, worker)) == [(INNER, IPv4Address("10.0.0.13"), "internal")]
    assert list(static_routes(site, gateway)) == [(LAN, IPv4Address("172.16.9.1"), "lan")]
    assert list(static_routes(site, node)) == []


def test_a_host_in_two_networks_is_reached_in_that_of_who_asks(tmp_path: Path) -> None:
    declaration = two_networks()
    declaration.vm["vms"][1]["secondary_network_config"] = {"ip": "172.16.9.24/24"}
    site = declaration.load(tmp_path)
    worker, proxy, control = (at(site, name) for name in ("worker", "proxy", "control"))
    assert worker.address == IPv4Address("10.0.0.24")
    inner = IPv4Address("172.16.9.24")
    assert address_pair(proxy, worker)[:2] == (proxy.address, inner)
    assert address_pair(control, worker)[:2] == (control.address, worker.address)
    shop = next(route for route in routes(site) if route.service.name == "shop")
    assert shop.url == f"https://{inner}:8000"
    (record,) = [candidate for candidate in dns.records(site) if candidate.name == worker.fqdn]
    assert record.addresses == (worker.address, inner)
    assert dns.answer(site, record, proxy) == inner
    assert dns.answer(site, record, control) == worker.address
    text = dnsmasq_conf.config(site, dns.records(site), ["9.9.9.9"])
    assert f"host-record={worker.fqdn},{worker.address}\n" in text
    assert f"host-record={worker.fqdn},{inner}\n" in text
    assert f"ptr-record=24.9.16.172.in-addr.arpa,{worker.fqdn}\n" in text
    ends = tunnel.at_the_agent(control_plane.agent(site, worker), control)
    assert f"accept = {worker.address}:" in ends
    (desired,) = [guest for guest in desired_guests(site, Settings().proxmox) if guest.vmid == 1002]
    assert desired.keys["ipconfig1"].written(None) == "ip=172.16.9.24/24"
    assert desired.keys["ipconfig0"].written(None) == "ip=10.0.0.24/24,gw=10.0.0.1"
    scope = next(
        candidate for candidate in scopes(site, Settings().proxmox) if candidate.vmid == 1002
    )
    assert scope.options["ipfilter"] == "0"


def test_dns_listens_in_each_network_and_answers_by_it(site: Site) -> None:
    text = dnsmasq_conf.config(site, dns.records(site), ["9.9.9.9"])
    assert "listen-address=10.0.0.13,172.16.9.1\n" in text
    assert "bind-dynamic\n" in text
    assert "localise-queries\n" in text
    assert "ptr-record=1.9.16.172.in-addr.arpa,phoenix.host." in text
    with pytest.raises(dnsmasq_conf.DnsmasqError):
        dnsmasq_conf.config(site, dns.records(site), ["172.16.9.1"])


def test_what_each_host_serves_names_the_address_that_it_is_asked_by(site: Site) -> None:
    conf = nginx_config(site, client_certificate="ab" * 32, hsts_seconds=0,
                        max_body="1m", read_timeout="30s")[0]  # fmt: skip
    assert "172.16.9.12" in conf
    assert "172.16.9.10/32" in traefik_yml.static_config(site, metrics=False)
    assert "172.16.9.10/32" in traefik_yml.dynamic_config(site)[0]
    assert '"172.16.9.11"' in authority.config(site, authority.claims(Settings()))
    assert permitted_next(site, authority.CaState()).networks == (LAN, INNER)


def sources(site: Site, host: str, port: int) -> set[str]:
    rules = firewall.rules(site)[host]
    return {str(rule.peer) for rule in rules if rule.direction == "in" and rule.ports == str(port)}


def test_rules_at_both_ends_have_the_address_that_each_sees(site: Site) -> None:
    ca = sources(site, "authority", 9000)
    assert {"172.16.9.1/32", "172.16.9.10/32", "172.16.9.12/32", "10.0.0.24/32"} <= ca
    assert "10.0.0.13/32" not in ca
    assert sources(site, "phoenix", 53) >= {"10.0.0.0/24", "172.16.9.0/24", "172.16.9.12/32"}
    # Clients of the gateway come from a network whose addresses nobody declares.
    assert sources(site, "gateway", 443) == {"None"}
    out = {str(rule.peer) for rule in firewall.rules(site)["proxy"]
           if rule.direction == "out" and rule.ports == "53"}  # fmt: skip
    assert out == {"172.16.9.1/32"}
    text = ruleset(site, at(site, "authority"))
    assert "ip saddr 172.16.9.1 tcp dport 9000 accept" in text
    assert "ip saddr 10.0.0.24 tcp dport 9000 accept" in text
    assert connections.refused(site, scopes(site, Settings().proxmox)) == ()


def test_checks_go_where_the_connection_goes(site: Site) -> None:
    commands = [check.command for check in checks_by_host(site)["proxy"]]
    names = next(command for command in commands
                 if command[:1] == ("names_resolve",) and len(command) > 5)  # fmt: skip
    assert any(word.endswith("=172.16.9.1") for word in names)
    lan = [check.command for check in checks_by_host(site)["worker"]]
    other = next(c for c in lan if c[:1] == ("names_resolve",) and len(c) > 5)
    assert any(word.endswith("=10.0.0.13") for word in other)
    assert not any(word.endswith("=172.16.9.1") for word in other)


def test_containers_ask_the_name_server_in_their_host_s_network(tmp_path: Path) -> None:
    """At another address the answers would be for another network."""
    declaration = two_networks()
    declaration.vm["vms"][1]["network_config"] = {"ip": "172.16.9.24/24"}
    site = declaration.load(tmp_path)
    for name, server in {"worker": "172.16.9.1", "control": "10.0.0.13"}.items():
        declared = daemon_json.declared(site, at(site, name), Settings())
        text = daemon_json.merge(declared, daemon_json.DaemonState()).daemon
        assert json.loads(text)["dns"] == [server]


def step_ca_guest(site: Site) -> DesiredGuest:
    (guest,) = [guest for guest in desired_guests(site, Settings().proxmox) if guest.vmid == 101]
    return guest


def test_proxmox_has_each_card_and_takes_one_that_left(tmp_path: Path) -> None:
    site = two_networks().load(tmp_path)
    guest = step_ca_guest(site)
    net0, net1 = (guest.keys[key].written(None) for key in ("net0", "net1"))
    assert dict(part.split("=", 1) for part in net0.split(",")) == {
        "name": "eth0", "bridge": "vmbr0", "firewall": "1", "hwaddr": "02:00:00:00:09:01",
        "tag": "20", "ip": "dhcp",
    }  # fmt: skip
    assert dict(part.split("=", 1) for part in net1.split(",")) == {
        "name": "eth1", "bridge": "vmbr9", "firewall": "1", "hwaddr": "02:00:00:00:09:02",
        "ip": "172.16.9.10/24",
    }  # fmt: skip
    scope = next(
        candidate for candidate in scopes(site, Settings().proxmox) if candidate.vmid == 101
    )
    assert scope.options["ipfilter"] == "0"  # nobody here knows what the lease gives
    config = {key: want.written(None) for key, want in guest.keys.items()}
    there = Observed(vmid=101, kind="lxc", node="phoenix", name="gateway", running=True,
                     template=False, lock=None, config=config | {"unprivileged": "1"})  # fmt: skip
    assert not compare(guest, there).changes
    single = two_networks()
    del single.lxc["lxc_configs"]["101"]["secondary_network_config"]
    single.lxc["lxc_configs"]["101"]["network_config"] = {
        "ip": "172.16.9.10/24",
        "hwaddr": "02:00:00:00:09:01",
    }
    changes = {c.key: c for c in compare(step_ca_guest(single.load(tmp_path / "b")), there).changes}
    assert changes["net1"].after is None
    assert str(changes["net1"]).endswith(" -> (absent)")
    assert "tag=" not in (changes["net0"].after or "")
    # A card that a person added stays.
    theirs = replace(there, config=config | {"net2": "bridge=vmbr5,name=eth2"})
    assert not compare(guest, theirs).changes


def change(declaration: Declaration, path: str, value: Any) -> None:
    inner: Any = {
        "lxc": declaration.lxc["lxc_configs"],
        "host": declaration.hypervisor,
        "vm": declaration.vm["vms"],
    }
    *steps, last = path.split(".")
    for step in steps:
        inner = inner[int(step)] if isinstance(inner, list) else inner[step]
    inner[last] = value


FIRST, SECOND = "lxc_configs.101.network_config", "lxc_configs.101.secondary_network_config"


@pytest.mark.parametrize(
    ("changes", "file", "path", "word"),
    [
        ({"lxc.101.secondary_network_config.ip": "172.16.8.10/24"}, LXC, f"{SECOND}.ip",
         "outside the site's networks: lan 10.0.0.0/24, internal 172.16.9.0/24"),
        ({"lxc.101.network_config.bridge": "vmbr0.30"}, LXC, f"{FIRST}.ip",
         "no network with DHCP is declared on vmbr0, VLAN 30"),
        ({"lxc.101.network_config.hwaddr": "02:00:00:00:09:07"}, LXC, f"{FIRST}.hwaddr",
         "differs from mac_address"),
        ({"lxc.101.secondary_network_config.hwaddr": "02:00:00:00:09:01"}, LXC,
         f"{SECOND}.hwaddr", "duplicate MAC address"),
        ({"lxc.101.secondary_network_config.hwaddr": "52:54:00:00:00:16"}, LXC,
         "lxc_configs.103.mac_address", "duplicate MAC address"),
        ({"lxc.101.secondary_network_config.ip": "172.16.9.11/24"}, LXC,
         "lxc_configs.103.network_config.ip", "duplicate IP address"),
        ({"lxc.101.secondary_network_config.ip": "172.16.9.1/24"}, LXC, f"{SECOND}.ip",
         "the network's gateway"),
        ({"lxc.101.secondary_network_config.bridge": "vmbr8"}, LXC, f"{SECOND}.bridge",
         "on vmbr9, not vmbr8"),
        ({"lxc.103.network_config.ip": "dhcp"}, LXC, "lxc_configs.103.network_config.ip",
         "needs a fixed address"),
        ({"lxc.101.network_config.ip": "10.0.0.20/24", "lxc.101.network_config.gw": "10.0.0.1",
          "lxc.101.network_config.bridge": "vmbr0",
          "lxc.101.secondary_network_config.gw": "172.16.9.1"}, LXC, f"{SECOND}.gw",
         "a second default gateway"),
        ({"host.networks": {"more": {"subnet": "172.16.8.0/23", "bridge": "vmbr7"}}}, HYPERVISOR,
         "network.internal_bridge.subnet", "overlaps 172.16.8.0/23"),
        ({"host.networks": {"more": {"bridge": "vmbr7"}}}, HYPERVISOR, "networks.more.subnet",
         "without DHCP"),
        ({"host.networks": {"more": {"subnet": "10.7.0.0/24", "nat": True}}}, HYPERVISOR,
         "networks.more.bridge", "cannot be the router"),
        ({"host.networks": {"more": {"subnet": "10.7.0.0/24", "bridge": "vmbr7",
                                     "gateway": "10.8.0.1"}}}, HYPERVISOR,
         "networks.more.gateway", "not a host address of 10.7.0.0/24"),
        ({"host.networks": {"more": {"subnet": "10.7.0.0/24", "bridge": "vmbr7.5", "vlan": 6}}},
         HYPERVISOR, "networks.more.vlan", "differs from the tag"),
        ({"host.networks": {"home": {"subnet": "10.0.0.0/24", "gateway": "10.0.0.9"}}},
         HYPERVISOR, "networks.home.gateway", "differs from the hypervisor's"),
        ({"host.networks": {"apart": {"subnet": "10.7.0.0/24", "bridge": "vmbr7"}},
          "vm.1.network_config": {"ip": "10.7.0.24/24"}}, VM, "vms[1].network_config",
         "the hypervisor has no address in apart"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_named_by_file_and_path_with_its_fix(
    changes: dict[str, Any], file: str, path: str, word: str, tmp_path: Path
) -> None:
    declaration = two_networks()
    for key, value in changes.items():
        change(declaration, key, value)
    finding = problem(declaration.refused(tmp_path), file, path)
    assert word in finding.message
    assert finding.fix


def test_a_lease_and_a_gateway_beside_it_are_told(tmp_path: Path) -> None:
    declaration = two_networks()
    change(declaration, "lxc.101.secondary_network_config.gw", "172.16.9.1")
    site = declaration.load(tmp_path)
    finding = problem(site.warnings, LXC, f"{SECOND}.gw")
    assert "default gateway" in finding.message
    assert at(site, "gateway").gateway == IPv4Address("172.16.9.1")


def test_nameservers_are_text_or_a_list(tmp_path: Path) -> None:
    forms: tuple[Any, ...] = ("172.16.9.1, 10.0.0.13", "172.16.9.1 10.0.0.13",
                              ["172.16.9.1", "10.0.0.13"])  # fmt: skip
    for number, form in enumerate(forms):
        declaration = two_networks()
        change(declaration, "lxc.103.network_config.nameservers", form)
        site = declaration.load(tmp_path / str(number))
        expected = (IPv4Address("172.16.9.1"), IPv4Address("10.0.0.13"))
        assert at(site, "authority").nameservers == expected
        assert [warning.path for warning in site.warnings] == [f"{FIRST}.ip"]
