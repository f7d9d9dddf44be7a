"""Names, addresses and paths that are well formed and cannot be what they are written for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.site_builder import LXC, VM, Declaration, minimal, problem

STACK = "stacks/shop/phoenix.json"
FILE = "environments.production.files[{}].destination_in_container"


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST", "ip6-localhost", "broadcasthost"])
def test_a_guest_is_not_called_what_every_machine_calls_itself(name: str, tmp_path: Path) -> None:
    declaration = minimal()
    declaration.vm["vms"][1]["name"] = name
    finding = problem(declaration.refused(tmp_path), VM, "vms[1].name")
    assert "is the name by which every machine calls itself (RFC 6761" in finding.message
    assert "use another name" in finding.fix


def test_the_hypervisor_is_not_either(tmp_path: Path) -> None:
    declaration = minimal()
    declaration.lxc["site"] = {"hypervisor": {"name": "localhost"}}
    problem(declaration.refused(tmp_path), LXC, "site.hypervisor.name")


@pytest.mark.parametrize("name", ["127", "0x7f", "1002"])
def test_a_guest_whose_name_is_a_number_is_told(name: str, tmp_path: Path) -> None:
    declaration = minimal()
    declaration.vm["vms"][1]["name"] = name
    finding = problem(declaration.load(tmp_path).warnings, VM, "vms[1].name")
    assert "take it for an IPv4 address" in finding.message
    assert finding.fix == f"put a letter in it, as n{name}"


@pytest.mark.parametrize("name", ["test", "example", "ca", "home", "n127", "0x7g", "local"])
def test_other_names_are_free(name: str, tmp_path: Path) -> None:
    """A host's full name is NAME.host.DOMAIN, so it clashes with no service."""
    declaration = minimal()
    declaration.vm["vms"][1]["name"] = name
    site = declaration.load(tmp_path)
    assert not site.warnings
    assert site.host(name).fqdn == f"{name}.host.{site.domain}"


@pytest.mark.parametrize(
    ("domain", "words"),
    [
        ("corp.localhost", "leads every machine to itself"),
        ("corp.invalid", "no such name everywhere"),
        ("corp.onion", "no name server is asked"),
        ("corp.alt", "outside DNS"),
        ("10.in-addr.arpa", "names of addresses"),
        ("8.b.d.ip6.arpa", "names of addresses"),
        ("192.168.1", "take it for an address"),
        ("corp.0x7f", "take it for an address"),
    ],
)
def test_a_domain_that_machines_do_not_ask_for(domain: str, words: str, tmp_path: Path) -> None:
    declaration = minimal()
    declaration.lxc["site"] = {"domain": domain}
    finding = problem(declaration.refused(tmp_path), LXC, "site.domain")
    assert words in finding.message
    assert "internal.example.com" in finding.fix


def test_a_domain_of_multicast_dns_is_told(tmp_path: Path) -> None:
    declaration = minimal()
    declaration.lxc["site"] = {"domain": "corp.local"}
    finding = problem(declaration.load(tmp_path).warnings, LXC, "site.domain")
    assert "RFC 6762" in finding.message


@pytest.mark.parametrize("domain", ["home.arpa", "corp.home.arpa", "corp.internal", "corp.test"])
def test_a_domain_of_one_s_own_is_silent(domain: str, tmp_path: Path) -> None:
    declaration = minimal()
    declaration.lxc["site"] = {"domain": domain}
    assert declaration.load(tmp_path).warnings == ()


@pytest.mark.parametrize(
    ("mac", "words"),
    [
        ("00:00:00:00:00:00", "is the address of no card"),
        ("ff:FF:ff:ff:ff:ff", "is the address of every card of a network"),
        ("01:00:5e:00:00:01", "is a multicast address"),
        ("33:33:00:00:00:01", "is a multicast address"),
    ],
)
def test_a_card_has_an_address_of_its_own(mac: str, words: str, tmp_path: Path) -> None:
    declaration = minimal()
    declaration.lxc["lxc_configs"]["101"]["mac_address"] = mac
    assert (
        words in problem(declaration.refused(tmp_path), LXC, "lxc_configs.101.mac_address").message
    )


def with_files(declaration: Declaration, folder: Path, *destinations: str) -> None:
    environment = declaration.stacks["shop"][0]["environments"]["production"]
    environment["files"] = [
        {"source": "phoenix.json", "destination_in_container": destination}
        for destination in destinations
    ]


@pytest.mark.parametrize(
    "path", ["/a/../x", "/a/./x", "/..", "/.", "/a/..", "etc/x", "./x", "../x", "/a//x", "/", "/a/"]
)
def test_the_place_of_a_file_is_the_whole_path(path: str, tmp_path: Path) -> None:
    declaration = minimal()
    with_files(declaration, tmp_path, path)
    finding = problem(declaration.refused(tmp_path), STACK, FILE.format(0))
    assert "is not an absolute path of a file in the container" in finding.message
    assert "without parts that are . or .." in finding.fix


@pytest.mark.parametrize("paths", [("/etc/app", "/etc/app/x"), ("/etc/app/x", "/etc/app")])
def test_no_file_lies_below_another(paths: tuple[str, str], tmp_path: Path) -> None:
    declaration = minimal()
    with_files(declaration, tmp_path, *paths)
    finding = problem(declaration.refused(tmp_path), STACK, FILE.format(1))
    assert finding.message.startswith("/etc/app/x lies below /etc/app, which is a file itself")


@pytest.mark.parametrize("mount", ["data:/etc/app/data", {"type": "tmpfs", "target": "/etc/app/t"}])
def test_no_mount_lies_below_a_file(mount: Any, tmp_path: Path) -> None:
    declaration = minimal()
    with_files(declaration, tmp_path, "/etc/app")
    content = declaration.stacks["shop"][1]
    content["volumes"] = {"data": {}}
    content["services"]["web"]["volumes"] = [mount]
    finding = problem(declaration.refused(tmp_path), STACK, FILE.format(0))
    assert "below this, which is a file" in finding.message


def test_dots_within_a_name_are_letters(tmp_path: Path) -> None:
    declaration = minimal()
    with_files(declaration, tmp_path, "/a/..x", "/a/.y", "/b/x..", "/b.d/e")
    assert declaration.load(tmp_path).warnings == ()


def test_what_differs_in_case_alone_is_what_was_meant(tmp_path: Path) -> None:
    declaration = minimal()
    declaration.vm["vms"][1]["docker_stacks"] = ["Shop"]
    finding = problem(declaration.refused(tmp_path / "a"), VM, "vms[1].docker_stacks[0]")
    assert finding.fix.startswith("did you mean 'shop'? else add stacks/Shop")
    declaration = minimal()
    declaration.lxc["lxc_configs"]["101"]["network_config"]["IP"] = "10.0.0.99/24"
    finding = problem(
        declaration.load(tmp_path / "b").warnings, LXC, "lxc_configs.101.network_config.IP"
    )
    assert finding.fix == "did you mean 'ip'? else remove it"
