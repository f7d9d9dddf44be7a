"""Declarations that contradict themselves, or that nothing would carry out, are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from phoenix.derived.firewall import flows
from phoenix.site.findings import Finding
from tests.unit.site_builder import HYPERVISOR, LXC, VM, Declaration, minimal, problem, vm

CONTAINER, MACHINE = "lxc_configs.101", "vms[1]"


def container(**keys: Any) -> Declaration:
    result = minimal()
    result.lxc["lxc_configs"]["101"].update(keys)
    return result


def machine(**keys: Any) -> Declaration:
    result = minimal()
    result.vm["vms"][1].update(keys)
    return result


def hypervisor(**keys: Any) -> Declaration:
    result = minimal()
    result.hypervisor = keys
    return result


def networks(**declared: Any) -> Declaration:
    return hypervisor(networks=declared)


INTERNAL = {"subnet": "172.16.100.0/24", "bridge": "vmbr100", "nat": True}


@pytest.mark.parametrize("subnet", ["10.7.0.0/31", "10.7.0.0/32"])
def test_the_smallest_networks_have_a_router(tmp_path: Path, subnet: str) -> None:
    """Of these Python gives the hosts as a list, and not one after the other."""
    site = networks(a={"subnet": subnet, "bridge": "vmbr7", "nat": True}).load(tmp_path)
    assert str(site.networks[1].address) == "10.7.0.0"


@pytest.mark.parametrize("subnet", ["127.0.0.0/8", "224.0.0.0/8", "169.254.0.0/16", "240.0.0.0/8"])
def test_a_network_without_hosts_is_refused(tmp_path: Path, subnet: str) -> None:
    findings = networks(a={"subnet": subnet, "bridge": "vmbr7"}).refused(tmp_path)
    assert "no network of hosts" in problem(findings, HYPERVISOR, "networks.a.subnet").message


@pytest.mark.parametrize(
    ("ip", "gateway"), [("127.0.0.13/24", "127.0.0.1"), ("0.0.0.13/24", "0.0.0.1")]
)
def test_a_site_has_a_network_of_hosts(tmp_path: Path, ip: str, gateway: str) -> None:
    declaration = minimal()
    declaration.lxc["site"] = {"hypervisor": {"ip": ip, "gateway": gateway}}
    findings = declaration.refused(tmp_path)
    assert "no network of hosts" in problem(findings, LXC, "site.hypervisor.ip").message


def test_one_wrong_network_hides_no_other(tmp_path: Path) -> None:
    faulty: dict[str, Any] = {"B_c": INTERNAL, "e": {"vlan": 0}}
    for folder, more in (("names", {}), ("whole", {"domain_name": "Foo"})):
        findings = hypervisor(networks=faulty, **more).refused(tmp_path / folder)
        assert "host name label" in problem(findings, HYPERVISOR, "networks.B_c").message
        problem(findings, HYPERVISOR, "networks.e.vlan")


def test_two_networks_with_leases_on_one_bridge_are_refused(tmp_path: Path) -> None:
    findings = networks(
        a={"bridge": "vmbr0", "vlan": 30, "dhcp": True}, b={"bridge": "vmbr0.30", "dhcp": True}
    ).refused(tmp_path)
    assert "has DHCP on vmbr0.30" in problem(findings, HYPERVISOR, "networks.b.dhcp").message


def test_a_network_that_nothing_uses_is_told(tmp_path: Path) -> None:
    declaration = networks(iot={"bridge": "vmbr0", "vlan": 30, "dhcp": True}, internal=INTERNAL)
    (warning,) = declaration.load(tmp_path / "alone").warnings
    assert (warning.file, warning.path) == (HYPERVISOR, "networks.iot")
    declaration.lxc["lxc_configs"]["101"]["secondary_network_config"] = {
        "ip": "dhcp", "bridge": "vmbr0.30"
    }  # fmt: skip
    paths = [warning.path for warning in declaration.load(tmp_path / "used").warnings]
    assert "networks.iot" not in paths


def two_cards(second: dict[str, Any]) -> Declaration:
    result = networks(internal=INTERNAL)
    result.lxc["lxc_configs"]["101"]["secondary_network_config"] = second
    return result


@pytest.mark.parametrize(
    ("second", "key", "message"),
    [
        ({"ip": "10.0.0.99/24"}, "ip", "both in the network lan"),
        ({"ip": "172.16.100.9/24", "name": "eth0"}, "name", "both interfaces are called eth0"),
    ],
)
def test_a_second_interface_that_cannot_be_is_refused(
    tmp_path: Path, second: dict[str, Any], key: str, message: str
) -> None:
    place = f"{CONTAINER}.secondary_network_config.{key}"
    assert message in problem(two_cards(second).refused(tmp_path), LXC, place).message


def test_an_address_of_the_lan_on_another_vlan_is_told(tmp_path: Path) -> None:
    declaration = minimal()
    declaration.lxc["lxc_configs"]["101"]["network_config"]["bridge"] = "vmbr0.55"
    (warning,) = declaration.load(tmp_path).warnings
    assert "lan, which is on vmbr0, not vmbr0.55" in warning.message


def test_two_lists_of_name_servers_are_refused(tmp_path: Path) -> None:
    declaration = minimal()
    declaration.lxc["lxc_configs"]["101"]["network_config"].update(
        nameservers="10.0.0.13", nameserver="9.9.9.9"
    )
    place = f"{CONTAINER}.network_config.nameserver"
    assert "differs from nameservers" in problem(declaration.refused(tmp_path), LXC, place).message


@pytest.mark.parametrize(
    ("keys", "key", "message"),
    [
        ({"features": ["nesting=1", "nesting=0"]}, "features[1]", "contradicts nesting=1"),
        ({"mount_points": [{"host_path": "/a", "container_path": "/etc"}]},
         "mount_points[0].container_path", "hidden by the mount"),
        ({"zfs_volumes": [{"pool": "tank", "size_gb": 1, "mount_point": "/usr"}]},
         "zfs_volumes[0].mount_point", "hidden by the mount"),
        ({"id_maps": [{"type": "uid", "host_id": 1000, "container_id": 10},
                      {"type": "uid", "host_id": 1000, "container_id": 20}]},
         "id_maps[0]", "are other ids of it"),
        ({"id_maps": [{"type": "gid", "host_id": 99_999, "container_id": 10, "size": 2}]},
         "id_maps[0]", "are other ids of it"),
        ({"login": {"jump": "-oProxyCommand=x"}}, "login.jump", "not a host as ssh(1) takes it"),
    ],
)  # fmt: skip
def test_what_a_container_cannot_have_is_refused(
    tmp_path: Path, keys: dict[str, Any], key: str, message: str
) -> None:
    findings = container(**keys).refused(tmp_path)
    assert message in problem(findings, LXC, f"{CONTAINER}.{key}").message


def test_roots_own_id_in_a_container_is_told(tmp_path: Path) -> None:
    same = {"type": "gid", "host_id": 1000, "container_id": 1000}
    root = {"type": "uid", "host_id": 0, "container_id": 0}
    (warning,) = container(id_maps=[same, root]).load(tmp_path).warnings
    assert (warning.path, "root's on the hypervisor" in warning.message) == (
        f"{CONTAINER}.id_maps[1]", True
    )  # fmt: skip


def test_an_image_that_a_clone_does_not_use_is_told(tmp_path: Path) -> None:
    declaration = container(template="a.tar.zst", clone_from_ctid=102)
    declaration.vm["vms"][1].update(template_image="a.img", clone_from_vmid=1001)
    places = [(warning.file, warning.path) for warning in declaration.load(tmp_path).warnings]
    assert (LXC, f"{CONTAINER}.template") in places
    assert (VM, f"{MACHINE}.template_image") in places


def folder(**keys: Any) -> dict[str, Any]:
    return {"type": "nfs", "path": "/tank/a", "mount_point": "/mnt/a", **keys}


def test_nobody_mounts_over_his_own_system_or_from_himself(tmp_path: Path) -> None:
    findings = machine(volumes=[folder(mount_point="/var/lib/docker")]).refused(tmp_path / "own")
    problem(findings, VM, f"{MACHINE}.volumes[0].mount_point")
    findings = machine(volumes=[folder(server="10.0.0.24")]).refused(tmp_path / "himself")
    assert "is worker itself" in problem(findings, VM, f"{MACHINE}.volumes[0].server").message


def test_a_guest_reaches_the_guest_whose_folder_it_mounts(tmp_path: Path) -> None:
    declaration = machine(volumes=[folder(server="10.0.0.31")])
    declaration.vm["vms"].append(vm(1003, "nas", None, 31))
    ends = [
        (flow.source, flow.destination)
        for flow in flows(declaration.load(tmp_path))
        if flow.port == 2049
    ]
    assert [(getattr(a, "name", a), getattr(b, "name", b)) for a, b in ends] == [("worker", "nas")]


def test_a_folder_for_the_whole_world_is_refused(tmp_path: Path) -> None:
    share = {"path": "/tank", "clients": ["0.0.0.0/0"]}
    findings = hypervisor(nfs={"exports": [share]}).refused(tmp_path)
    assert "whole world" in problem(findings, HYPERVISOR, "nfs.exports[0].clients").message


@pytest.mark.parametrize(
    ("options", "pair"),
    [
        ("rw,sync,ro", ("rw", "ro")), ("no_wdelay,wdelay", ("no_wdelay", "wdelay")),
        ("async,no_subtree_check,sync", ("async", "sync")), ("nohide,hide", ("nohide", "hide")),
        ("insecure,secure", ("insecure", "secure")), ("fsid=1,fsid=2", ("fsid=1", "fsid=2")),
    ],
)  # fmt: skip
def test_export_options_of_which_the_last_would_hold_are_refused(
    tmp_path: Path, options: str, pair: tuple[str, str]
) -> None:
    share = {"path": "/tank/media", "clients": ["10.0.0.24"], "options": options}
    finding = problem(
        hypervisor(nfs={"exports": [share]}).refused(tmp_path), HYPERVISOR, "nfs.exports[0].options"
    )
    assert finding.message == f"{pair[0]} and {pair[1]} contradict each other"


def test_a_client_that_is_written_twice_is_one(tmp_path: Path) -> None:
    share = {"path": "/tank", "clients": ["10.0.0.24", "10.0.0.24/32"]}
    (export,) = hypervisor(nfs={"exports": [share]}).load(tmp_path).hypervisor.exports
    assert len(export.clients) == 1


def test_a_shared_folder_that_nobody_has_is_told(tmp_path: Path) -> None:
    (warning,) = hypervisor(shared_volumes={"m": {"host_path": "/t"}}).load(tmp_path).warnings
    assert warning.path == "shared_volumes.m"


def test_rules_of_a_firewall_that_is_off_are_told(tmp_path: Path) -> None:
    rule = {"type": "in", "action": "DROP", "proto": "tcp", "port": "443"}
    (warning,) = container(firewall={"enabled": False, "rules": [rule]}).load(tmp_path).warnings
    assert (warning.path, "is off" in warning.message) == (f"{CONTAINER}.firewall.rules", True)


@pytest.mark.parametrize(
    ("rule", "shut"),
    [
        ({"type": "in"}, "operator, by SSH"),
        ({"type": "in", "proto": "tcp", "port": "22"}, "operator, by SSH"),
        ({"type": "in", "proto": "tcp", "port": "400:500", "source": "10.0.0.0/24"},
         "clients to the gateway"),
        ({"type": "out", "proto": "udp"}, "names from internal DNS"),
        ({"type": "in", "proto": "tcp", "port": "443", "source": "10.0.0.77"}, ""),
        ({"type": "in", "proto": "tcp", "port": "9999"}, ""),
        ({"type": "out", "proto": "tcp", "port": "443", "dest": "192.0.2.1"}, ""),
    ],
)  # fmt: skip
def test_a_rule_that_shuts_what_the_site_needs_is_told(
    tmp_path: Path, rule: dict[str, Any], shut: str
) -> None:
    site = container(firewall={"rules": [{"action": "DROP", **rule}]}).load(tmp_path)
    messages = [
        warning.message
        for warning in site.warnings
        if "blocks a connection that the site needs" in warning.message
    ]
    assert len(messages) == bool(shut)
    assert all(shut in message for message in messages)


def test_a_stack_on_two_guests_is_told_as_such(tmp_path: Path) -> None:
    declaration = minimal()
    declaration.vm["vms"].append(
        vm(1003, "other", "docker", 31, portainer_role="agent", docker_stacks=["shop"],
           portainer_agent_hostname="other-agent.internal.thinkheads.ai")
    )  # fmt: skip
    place = "environments.production.services.web.traefik_service"
    finding = problem(declaration.refused(tmp_path), "stacks/shop/phoenix.json", place)
    assert "deployed on other and on worker" in finding.message


def manifest(folder: Path, text: str) -> tuple[Finding, ...]:
    (folder / "certificate-manifest.json").write_text(text)
    return minimal().refused(folder)


def test_the_list_of_certificates_is_told_in_words(tmp_path: Path) -> None:
    file = "certificate-manifest.json"
    entry = {"common_name": 5, "sans": "shop", "guest_id": "x"}
    findings = manifest(tmp_path, json.dumps([entry, 7]))
    messages = {finding.path: finding.message for finding in findings if finding.file == file}
    assert messages["[0].common_name"] == "should be text"
    assert messages["[0].sans"] == "should be a list"
    assert messages["[1]"] == "should be an object"
    assert "[0].guest_id" in messages
    assert "nested too deeply" in problem(manifest(tmp_path, "[" * 5000), file, "").message


def test_a_number_where_text_is_meant_is_put_in_quotes(tmp_path: Path) -> None:
    service = {"name": "a", "port": 1, "scheme": "https", "read_timeout": 30}
    finding = problem(
        container(traefik_services=[service]).refused(tmp_path),
        *(LXC, f"{CONTAINER}.traefik_services[0].read_timeout"),
    )
    assert (finding.message, finding.fix) == ("should be text", 'write it in quotes, as "30"')


@pytest.mark.parametrize(
    ("keys", "key", "message", "fix"),
    [
        (
            {"scheme": "htps"},
            "scheme",
            "not one of the allowed",
            "did you mean 'https'? else write",
        ),
        ({"check": "off"}, "check", "not one of the allowed values", "write 'full' or 'none'"),
        ({"port": 0}, "port", "is too small", "write a number from 1 up"),
        ({"port": 70000}, "port", "is too large", "write a number up to 65535"),
        (
            {"name": None},
            "name",
            "should be text",
            'write text in quotes, as "wiki", in place of null',
        ),
        ({"strip_path": "maybe"}, "strip_path", "should be true or false", "maybe"),
    ],
)
def test_a_wrong_value_is_told_in_plain_words(
    tmp_path: Path, keys: dict[str, Any], key: str, message: str, fix: str
) -> None:
    service = {"name": "a", "port": 1, "scheme": "https", **keys}
    finding = problem(
        container(traefik_services=[service]).refused(tmp_path),
        *(LXC, f"{CONTAINER}.traefik_services[0].{key}"),
    )
    assert message in finding.message
    assert fix in finding.fix


@pytest.mark.parametrize(("name", "is_told"), [
    ("wiki.thinkheads.ai", True), ("wiki.example.com", True), ("wiki.lan", True),
    ("wiki.internal.thinkheads.ai", False), ("docs.team", False), ("lan", False), ("ai", False),
])  # fmt: skip
def test_a_whole_name_of_another_domain_is_told(tmp_path: Path, name: str, is_told: bool) -> None:
    by_name = {"name": name, "port": 1, "scheme": "https"}
    by_alias = {"name": "other", "port": 2, "scheme": "https", "aliases": [name]}
    for key, service in (("name", by_name), ("aliases", by_alias)):
        declaration = minimal()
        declaration.vm["vms"].append(vm(1003, "extra", None, 30, traefik_service=service))
        warnings = declaration.load(tmp_path / key).warnings
        paths = [f"vms[2].traefik_service.{key}"] if is_told else []
        assert [warning.path for warning in warnings] == paths


def test_an_option_that_no_nfs_server_knows_is_refused(tmp_path: Path) -> None:
    options = "rw,no_root_sqash,fsid=0,sec=krb5p,sync=1"
    share = {"path": "/tank", "clients": ["10.0.0.24"], "options": options}
    findings = hypervisor(nfs={"exports": [share]}).refused(tmp_path)
    place = "nfs.exports[0].options"
    assert "did you mean 'no_root_squash'?" in problem(findings, HYPERVISOR, f"{place}[1]").fix
    assert {finding.path for finding in findings} == {f"{place}[1]", f"{place}[4]"}


def test_a_key_of_the_other_kind_of_guest_is_told_as_such(tmp_path: Path) -> None:
    declaration = container(disk_size_gb=9)
    declaration.vm["vms"][1].update(mount_points=[], ports=["1:2"], port=5)
    advice = {
        warning.path: (warning.message, warning.fix)
        for warning in declaration.load(tmp_path).warnings
    }
    assert advice[f"{MACHINE}.mount_points"][0] == "a key of containers, ignored"
    assert "write volumes" in advice[f"{MACHINE}.mount_points"][1]
    assert "cores" not in advice[f"{MACHINE}.ports"][1]
    assert advice[f"{CONTAINER}.disk_size_gb"] == ("a key of VMs, ignored", "write storage_size_gb")
    assert advice[f"{MACHINE}.port"][0] == "unknown key: nothing reads it"


def test_a_rule_for_every_address_admits_anyone(tmp_path: Path) -> None:
    rule = {"type": "in", "action": "ACCEPT", "proto": "tcp", "source": "0.0.0.0/0"}
    (warning,) = container(firewall={"rules": [rule]}).load(tmp_path).warnings
    assert "admits anyone" in warning.message


def test_a_name_of_a_variable_is_told_in_words(tmp_path: Path) -> None:
    declaration = minimal()
    environment = declaration.stacks["shop"][0]["environments"]["production"]
    environment["variables"] = [{"name": "A B", "value": "x"}]
    place = "environments.production.variables[0].name"
    finding = problem(declaration.refused(tmp_path), "stacks/shop/phoenix.json", place)
    assert finding.message == "'A B' is not the name of a variable"


def test_an_address_in_no_network_is_told_once(tmp_path: Path) -> None:
    declaration = minimal()
    declaration.vm["vms"][1]["network_config"] = {"ip": "192.168.9.9/24"}
    findings = declaration.refused(tmp_path)
    assert [finding.path for finding in findings] == [f"{MACHINE}.network_config.ip"]


def test_what_a_template_would_serve_is_told(tmp_path: Path) -> None:
    declaration = minimal()
    service = {"name": "a", "port": 1, "scheme": "https"}
    records = [{"hostname": "printer", "ip": "10.0.0.60"}]
    declaration.lxc["lxc_configs"]["900"] = {
        "name": "base", "is_template": True, "network_config": {"ip": "dhcp"},
        "traefik_service": service, "dns_records": records,
    }  # fmt: skip
    paths = [warning.path for warning in declaration.load(tmp_path).warnings]
    assert paths == ["lxc_configs.900.traefik_service", "lxc_configs.900.dns_records"]


def test_a_user_that_no_container_gets_is_told(tmp_path: Path) -> None:
    (warning,) = container(user_config={"username": "anna"}).load(tmp_path).warnings
    assert warning.path == f"{CONTAINER}.user_config"


@pytest.mark.parametrize("bridge", ["vmbr0.5000", "vmbr0.0", "vmbr0.020"])
def test_a_suffix_that_is_no_vlan_is_refused(tmp_path: Path, bridge: str) -> None:
    declared = {"subnet": "10.20.0.0/24", "bridge": bridge, "nat": True}
    findings = networks(a=declared).refused(tmp_path / "network")
    assert "no VLAN tag" in problem(findings, HYPERVISOR, "networks.a.bridge").message
    declaration = minimal()
    declaration.lxc["lxc_configs"]["101"]["network_config"]["bridge"] = bridge
    findings = declaration.refused(tmp_path / "guest")
    assert "no VLAN tag" in problem(findings, LXC, f"{CONTAINER}.network_config.bridge").message


def test_the_router_with_nat_is_the_hypervisor(tmp_path: Path) -> None:
    declared = {**INTERNAL, "gateway": "172.16.100.9", "address": "172.16.100.1"}
    (warning,) = networks(a=declared).load(tmp_path).warnings
    assert (warning.file, warning.path) == (HYPERVISOR, "networks.a.gateway")
    assert "the hypervisor is the router, at 172.16.100.1" in warning.message


def test_a_guest_in_a_refused_network_is_not_told_to_leave_it(tmp_path: Path) -> None:
    declaration = networks(a={**INTERNAL, "vlan": 0})
    declaration.lxc["lxc_configs"]["102"]["network_config"] = {"ip": "172.16.100.11/24"}
    findings = declaration.refused(tmp_path)
    assert [finding.path for finding in findings] == ["networks.a.vlan"]


def test_a_password_that_no_sudo_asks_for_is_told(tmp_path: Path) -> None:
    login = {"user": "anna", "sudo_password": "of_anna"}
    (warning,) = container(login=login).load(tmp_path / "own").warnings
    assert (warning.path, "by sudo" in warning.message) == (
        f"{CONTAINER}.login.sudo_password", True
    )  # fmt: skip
    assert not container(login={**login, "sudo": True}).load(tmp_path / "asked").warnings


def test_network_bridge_is_of_the_hypervisors_own_network(tmp_path: Path) -> None:
    declaration = networks(internal=INTERNAL)
    declaration.vm["vms"][1].update(
        network_bridge="vmbr7", secondary_network_config={"ip": "172.16.100.24/24"}
    )
    cards = declaration.load(tmp_path).host("worker").interfaces
    assert [card.bridge for card in cards] == ["vmbr7", "vmbr100"]
