"""Two gateways and the address that one of them holds: declared, named, let in, checked, told."""

from __future__ import annotations

import os
import re
import subprocess
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from phoenix.components.dnsmasq import dnsmasq_conf
from phoenix.components.dnsmasq.dnsmasq_conf import DnsmasqError
from phoenix.components.guard.ruleset import ruleset
from phoenix.components.keepalived import keepalived_conf as keepalived
from phoenix.components.nginx import nginx_conf
from phoenix.components.programs import LIBRARY
from phoenix.declaration.settings import ProxmoxSettings
from phoenix.derived import dns, firewall
from phoenix.derived.certificates import certificates, is_the_gateways
from phoenix.derived.components import component_hosts, trees_of
from phoenix.derived.virtual_addresses import (
    Holder,
    VirtualAddress,
    address_for_client,
    virtual_addresses,
)
from phoenix.explain.facts import gateway
from phoenix.graph.topology import topology
from phoenix.health.checks import checks
from phoenix.health.issued import AskedKeys, Issued, outcome
from phoenix.health.paths import paths
from phoenix.proxmox.firewall import scopes
from phoenix.site.model import Site
from phoenix.watch.causes import Findings, Outcome, causes, walk
from tests.unit.site_builder import LXC, VM, Declaration, lxc, minimal, problem
from tests.unit.test_check_faults import Guest

VIRTUAL = IPv4Address("10.0.0.9")
ONE, TWO = IPv4Address("10.0.0.20"), IPv4Address("10.0.0.30")
PATH = "site.virtual_address"
ROOT = Path(__file__).parents[2]


def with_two(virtual: Any = "10.0.0.9", **more: Any) -> Declaration:
    """The five guests, and a second gateway."""
    declaration = minimal()
    declaration.lxc["lxc_configs"]["105"] = lxc("gateway-two", "nginx", 30, boot_order=2, **more)
    if virtual is not None:
        declaration.lxc["site"] = {"virtual_address": virtual}
    return declaration


def in_two_networks(virtual: Any = ("10.0.0.9", "172.16.9.9")) -> Declaration:
    """Both gateways with an inner side as well."""
    declaration = with_two(list(virtual))
    guests = declaration.lxc["lxc_configs"]
    for vmid, part in (("101", 20), ("105", 30)):
        guests[vmid]["secondary_network_config"] = {"ip": f"172.16.9.{part}/24"}
    network = {"subnet": "172.16.9.0/24", "bridge": "vmbr9", "nat": True}
    declaration.hypervisor = {"networks": {"internal": network}}
    return declaration


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return with_two().load(tmp_path)


# -- what is declared ------------------------------------------------------------------------------


def test_it_may_be_held_by_both(site: Site) -> None:
    assert site.warnings == ()
    (virtual,) = virtual_addresses(site)
    assert (virtual.address, virtual.network) == (VIRTUAL, "lan")
    assert [(held.host.name, held.address) for held in virtual.holders] == [
        ("gateway", ONE), ("gateway-two", TWO)
    ]  # fmt: skip
    assert [host.name for host in component_hosts("keepalived", site)] == ["gateway", "gateway-two"]
    for name in ("gateway", "gateway-two"):
        assert {"keepalived", "nginx", "acme-gateway"} <= trees_of(site, site.host(name))


def test_a_site_with_one_gateway_has_none(tmp_path: Path) -> None:
    site = minimal().load(tmp_path)
    assert virtual_addresses(site) == ()
    assert component_hosts("keepalived", site) == ()
    assert address_for_client(site, site.hypervisor) is None
    assert not [path for path in paths(site) if path.kind == "gateway"]
    assert not [flow for flow in firewall.flows(site) if flow.proto == "vrrp"]


def test_it_moves_with_a_site_that_is_re_addressed(tmp_path: Path) -> None:
    site = with_two().load(tmp_path, subnet=IPv4Network("198.19.7.0/24"))
    assert site.virtual_addresses == (IPv4Address("198.19.7.9"),)


@pytest.mark.parametrize(
    ("virtual", "message", "fix"),
    [
        (None, "have no address in the network lan (10.0.0.0/24)", '"virtual_address": "10.0.0.2"'),
        ("10.0.0.999", "10.0.0.999 is not an IPv4 address", 'write an address, as "10.0.0.9"'),
        ("10.0.1.9, 10.0.0.9", "10.0.1.9 is in no network of the site", "of 10.0.0.0/24"),
        ("10.0.0.255", "10.0.0.255 is not a host address of 10.0.0.0/24", "a free address"),
        ("10.0.0.24", "10.0.0.24 is an address of worker", "a free address of 10.0.0.0/24"),
        ("10.0.0.20", "10.0.0.20 is an address of gateway", "a free address of 10.0.0.0/24"),
        ("10.0.0.13", "10.0.0.13 is an address of phoenix", "a free address of 10.0.0.0/24"),
        ("10.0.0.1", "10.0.0.1 is the network's router", "a free address of 10.0.0.0/24"),
        ("10.0.0.8 10.0.0.9", "10.0.0.8 and 10.0.0.9 are both in the network lan", "keep one"),
    ],
)
def test_what_cannot_move_is_refused(
    tmp_path: Path, virtual: str | None, message: str, fix: str
) -> None:
    finding = problem(with_two(virtual).refused(tmp_path), LXC, PATH)
    assert message in finding.message
    assert fix in finding.fix


def test_the_router_of_a_guest_has_its_address_already(tmp_path: Path) -> None:
    declaration = with_two()
    declaration.vm["vms"][1]["network_config"]["gw"] = "10.0.0.9"
    finding = problem(declaration.refused(tmp_path), LXC, PATH)
    assert "10.0.0.9 is the router of worker" in finding.message


def test_a_scraper_never_asks_from_it(tmp_path: Path) -> None:
    declaration = with_two()
    declaration.lxc["site"] |= {"watcher": "hypervisor", "scraper": "10.0.0.9"}
    finding = problem(declaration.refused(tmp_path), LXC, PATH)
    assert "10.0.0.9 is that of the scraper (site.scraper)" in finding.message


CLIENTS = {"type": "in", "action": "ACCEPT", "proto": "tcp", "port": "443",
           "source": "203.0.113.0/28"}  # fmt: skip


@pytest.mark.parametrize(("with_rule", "lacks"), [("101", "105"), ("105", "101")])
def test_clients_that_one_gateway_alone_lets_in_are_told(
    tmp_path: Path, with_rule: str, lacks: str
) -> None:
    declaration = with_two()
    guests = declaration.lxc["lxc_configs"]
    guests[with_rule]["firewall"] = {"rules": [CLIENTS]}
    warnings = declaration.load(tmp_path).warnings
    finding = problem(warnings, LXC, f"lxc_configs.{lacks}.firewall.rules")
    names = [guests[vmid]["name"] for vmid in (with_rule, lacks)]
    assert f"{names[0]} lets in 203.0.113.0/28 on port 443" in finding.message
    assert f"in firewall.rules of both {names[0]} and {names[1]}" in finding.fix

    guests[lacks]["firewall"] = {"rules": [CLIENTS | {"source": "203.0.113.0/24"}]}
    (wider,) = [
        finding for finding in declaration.load(tmp_path).warnings if "lets in" in finding.message
    ]
    assert wider.path == f"lxc_configs.{with_rule}.firewall.rules", "it has a part of them alone"

    guests[lacks]["firewall"] = {"rules": [CLIENTS]}
    both = declaration.load(tmp_path).warnings
    assert not [finding for finding in both if "lets in" in finding.message]


def test_clients_named_by_it_are_told(tmp_path: Path) -> None:
    declaration = with_two()
    guests = declaration.lxc["lxc_configs"]
    guests["102"]["firewall"] = {"rules": [CLIENTS | {"source": "10.0.0.9"}]}
    service = declaration.vm["vms"][0]["traefik_service"]
    service["allowed_networks"] = ["10.0.0.9", "10.0.0.8/31", "site"]
    share = {"path": "/srv/share", "clients": ["10.0.0.9", "10.0.0.24"]}
    declaration.hypervisor = {"nfs": {"exports": [share]}}
    places = {
        (finding.file, finding.path)
        for finding in declaration.load(tmp_path).warnings
        if finding.message.startswith("nothing comes from 10.0.0.9")
        and finding.fix.startswith("write 10.0.0.20 and 10.0.0.30 where")
    }
    assert places == {
        (LXC, "lxc_configs.102.firewall.rules[0].source"),
        (VM, "vms[0].traefik_service.allowed_networks"),
        ("phoenix_hypervisor_config.json", "nfs.exports[0].clients"),
    }


@pytest.mark.parametrize("jump", ["10.0.0.9", "root@10.0.0.9:2222", "root@bastion,ops@10.0.0.9"])
def test_no_log_in_goes_through_it(tmp_path: Path, jump: str) -> None:
    declaration = with_two()
    declaration.vm["vms"][1]["login"] = {"jump": jump}
    finding = problem(declaration.refused(tmp_path), LXC, PATH)
    assert "10.0.0.9 is that of a jump host of worker" in finding.message


def test_one_gateway_has_nobody_to_take_it_over(tmp_path: Path) -> None:
    declaration = minimal()
    declaration.lxc["site"] = {"virtual_address": "10.0.0.9"}
    finding = problem(declaration.refused(tmp_path), LXC, PATH)
    assert "there is one gateway" in finding.message
    assert "or remove the key" in finding.fix


def test_a_third_gateway_is_refused(tmp_path: Path) -> None:
    declaration = with_two()
    declaration.lxc["lxc_configs"]["106"] = lxc("gateway-three", "nginx", 31, boot_order=2)
    finding = problem(declaration.refused(tmp_path), LXC, "lxc_configs.106.role")
    assert "too many gateways: a site has 2 at most" in finding.message


def test_a_gateway_elsewhere_could_not_hold_it(tmp_path: Path) -> None:
    declaration = with_two(["10.0.0.9", "172.16.9.9"])
    declaration.lxc["lxc_configs"]["101"]["secondary_network_config"] = {"ip": "172.16.9.20/24"}
    network = {"subnet": "172.16.9.0/24", "bridge": "vmbr9", "nat": True}
    declaration.hypervisor = {"networks": {"internal": network}}
    finding = problem(declaration.refused(tmp_path), LXC, "lxc_configs.105")
    assert "gateway-two has no address of its own in the network internal" in finding.message


def test_each_network_of_the_gateways_needs_one(tmp_path: Path) -> None:
    finding = problem(in_two_networks(["10.0.0.9"]).refused(tmp_path), LXC, PATH)
    assert "no address in the network internal (172.16.9.0/24)" in finding.message


# -- names -----------------------------------------------------------------------------------------


def test_names_of_services_lead_there_and_those_of_hosts_to_themselves(site: Site) -> None:
    records = {
        record.name.partition(".")[0]: record.addresses
        for record in dns.records(site)
        if ".stack." not in record.name
    }
    assert {records[name] for name in ("home", "shop", "portainer", "traefik")} == {(VIRTUAL,)}
    assert (records["gateway"], records["gateway-two"]) == ((ONE,), (TWO,))
    assert address_for_client(site, site.hypervisor) == VIRTUAL


def test_in_two_networks_each_client_gets_its_own(tmp_path: Path) -> None:
    site = in_two_networks().load(tmp_path)
    (record,) = [
        candidate for candidate in dns.records(site) if candidate.name.startswith("shop.internal")
    ]
    assert record.addresses == (VIRTUAL, IPv4Address("172.16.9.9"))
    assert dns.answers_in(site, record, "internal") == (IPv4Address("172.16.9.9"),)
    assert dns.answers_in(site, record, "lan") == (VIRTUAL,)


def test_each_gateway_has_a_certificate_of_its_own_with_all_names(site: Site) -> None:
    held = [certificate for certificate in certificates(site) if is_the_gateways(certificate.name)]
    assert [certificate.host.name for certificate in held] == ["gateway", "gateway-two"]
    assert held[0].sans == held[1].sans


def test_no_name_server_answers_at_it(site: Site) -> None:
    with pytest.raises(DnsmasqError, match=r"10\.0\.0\.9 is a virtual address of the gateways"):
        dnsmasq_conf.config(site, dns.records(site), ["9.9.9.9", "10.0.0.9"])


# -- who is let in ---------------------------------------------------------------------------------


def test_vrrp_is_for_the_two_alone(site: Site) -> None:
    vrrp = [flow for flow in firewall.flows(site) if flow.proto == "vrrp"]
    ends = {(getattr(f.source, "name", ""), getattr(f.destination, "name", "")) for f in vrrp}
    assert ends == {("gateway", "gateway-two"), ("gateway-two", "gateway")}
    for name, peer in (("gateway", TWO), ("gateway-two", ONE)):
        (line,) = [x for x in ruleset(site, site.host(name)).splitlines() if "l4proto 112" in x]
        assert line.strip().startswith(f"ip saddr {peer} meta l4proto 112 accept")
    for host in site.hosts:
        if host not in site.gateways:
            assert "l4proto 112" not in ruleset(site, host)


def test_vrrp_goes_by_each_network_that_has_an_address(tmp_path: Path) -> None:
    site = in_two_networks().load(tmp_path)
    rules = ruleset(site, site.host("gateway"))
    admitted = {line.split()[2] for line in rules.splitlines() if "l4proto 112" in line}
    assert admitted == {str(TWO), "172.16.9.30"}
    out = [rule for rule in firewall.rules(site)["gateway"] if rule.proto == "vrrp"]
    sent = {str(rule.peer) for rule in out if rule.direction == "out"}
    assert sent == {f"{TWO}/32", "172.16.9.30/32"}


def test_clients_whose_own_end_is_filtered_may_ask_it(site: Site) -> None:
    out = firewall.outbound(site, site.host("worker"))
    to_it = {rule.ports for rule in out if rule.peer == IPv4Network(VIRTUAL)}
    assert to_it == {"80", "443"}


def test_proxmox_lets_both_send_from_it(site: Site) -> None:
    known = {scope.name: scope for scope in scopes(site, ProxmoxSettings(ipfilter=True))}
    for name in ("gateway", "gateway-two"):
        assert known[name].options["ipfilter"] == "1"
        assert str(VIRTUAL) in known[name].addresses
    assert known["proxy"].addresses == ()


def test_of_a_second_card_the_filter_would_drop_it(tmp_path: Path) -> None:
    site = in_two_networks().load(tmp_path)
    known = {scope.name: scope for scope in scopes(site, ProxmoxSettings(ipfilter=True))}
    assert known["gateway"].options["ipfilter"] == "0"


# -- keepalived ------------------------------------------------------------------------------------


def test_each_has_the_other_as_its_peer(site: Site) -> None:
    texts = {}
    for host, own, peer in (("gateway", ONE, TWO), ("gateway-two", TWO, ONE)):
        (instance,) = keepalived.instances(site, site.host(host), {own: "ens18"})
        assert (instance.device, instance.own, instance.peers) == ("ens18", own, (peer,))
        texts[host] = keepalived.config(site.host(host), (instance,))
        assert f"unicast_src_ip {own}\n" in texts[host]
        assert f"{VIRTUAL}/32\n" in texts[host]
        drop_in = keepalived.killed((instance,))
        assert f"address del {VIRTUAL}/32 dev ens18" in drop_in
        assert f"[ -e {keepalived.ENDED} ] || echo 0 >{keepalived.ENDED}" in drop_in
        assert keepalived.ENDED in texts[host]
        assert keepalived.ENDED in keepalived.of_nginx()
    routers = {line for text in texts.values() for line in text.splitlines() if "router_id" in line}
    assert len([line for line in routers if "virtual" in line]) == 1, "they speak of one address"


def blocks(text: str) -> dict[str, Any]:
    """keepalived.conf by its form: each keyword's words, and each block's by its heading."""
    top: dict[str, Any] = {}
    above: list[dict[str, Any]] = []
    for line in text.splitlines():
        words = re.sub(r"[#!].*", "", line).strip()
        if words.endswith("{"):
            above.append(top)
            top = top.setdefault(words[:-1].strip(), {})
        elif words == "}":
            top = above.pop()
        elif words:
            keyword, _, value = words.partition(" ")
            assert keyword not in top, f"{keyword} twice"
            top[keyword] = value.strip()
    assert not above, "a block has no end"
    return top


@pytest.fixture
def configured(tmp_path: Path) -> dict[str, dict[str, Any]]:
    """Both gateways' keepalived.conf on a site with two networks, read."""
    site = in_two_networks().load(tmp_path)
    return {
        host.name: blocks(keepalived.config(host, keepalived.instances(site, host, {})))
        for host in site.gateways
    }


def test_each_takes_vrrp_from_the_other_s_address_alone(
    configured: dict[str, dict[str, Any]],
) -> None:
    """Without the check, what any sender of the network says counts; it may take the address."""
    for name, other in (("gateway", 30), ("gateway-two", 20)):
        defaults = configured[name]["global_defs"]
        assert "vrrp_check_unicast_src" in defaults
        assert defaults["vrrp_version"] == "3", "version 2 sends passwords in clear"
        for network, prefix in (("lan", "10.0.0"), ("internal", "172.16.9")):
            instance = configured[name][f"vrrp_instance {network}"]
            assert set(instance["unicast_peer"]) == {f"{prefix}.{other}"}, "multicast without one"


def test_one_that_starts_takes_nothing_from_the_one_that_holds_the_address(
    configured: dict[str, dict[str, Any]],
) -> None:
    """A start as MASTER moves the address, and cuts each connection through the other gateway."""
    instances = [
        (keyword, instance)
        for config in configured.values()
        for keyword, instance in config.items()
        if keyword.startswith("vrrp_instance ")
    ]
    assert len(instances) == 4
    assert {instance["state"] for _, instance in instances} == {"BACKUP"}
    assert len({instance["priority"] for _, instance in instances}) == 1, "no one goes back"
    for network in ("lan", "internal"):
        of_network = [one for keyword, one in instances if keyword == f"vrrp_instance {network}"]
        assert len({one["virtual_router_id"] for one in of_network}) == 1
    for config in configured.values():
        # Until Nginx has answered, it counts as down: one that just starts is no better.
        assert "init_fail" in config["vrrp_script nginx"]
        assert int(config["vrrp_script nginx"]["weight"]) > 0


def test_its_scripts_run_as_nobody_and_only_where_root_alone_may_write(
    configured: dict[str, dict[str, Any]],
) -> None:
    for config in configured.values():
        defaults = config["global_defs"]
        assert defaults["script_user"].split() == ["nobody", "nogroup"]
        assert "enable_script_security" in defaults
        scripts = {key: one for key, one in config.items() if key.startswith("vrrp_script ")}
        assert set(scripts) == {"vrrp_script nginx", "vrrp_script way_to_traefik"}
        for script in scripts.values():
            assert "user" not in script, "a user of its own goes before script_user"
            program = script["script"].strip('"').split()[0]
            assert Path(program).parent == Path(LIBRARY)
        notified = [word for one in config.values() for word in one if word.startswith("notify")]
        assert not notified, "would be run as well"


def test_an_interface_that_the_host_does_not_tell_is_called_as_declared(site: Site) -> None:
    (instance,) = keepalived.instances(site, site.host("gateway"), {})
    assert instance.device == "eth0"


@pytest.mark.parametrize(
    ("answers", "keeps"),
    [
        ({"own": "200"}, True),
        ({"own": "404"}, True),  # a backend's own answer
        ({"own": "502", "other": "200"}, False),
        ({"own": "403", "other": "401"}, False),  # Traefik knows the other gateway alone
        ({"own": "000", "other": "000", "inner": "200"}, False),
        ({"own": "502", "other": "502", "inner": "000"}, True),  # what is behind is out for both
        ({"own": "502", "other": "000", "inner": "403"}, True),  # the other gateway is out
    ],
)
def test_one_that_alone_hands_nothing_on_gives_the_address_up(
    tmp_path: Path, answers: dict[str, str], *, keeps: bool
) -> None:
    """One whose certificate Traefik refused, or whose way to it was cut, kept the address."""
    cases = "".join(f'*"//{where}/") echo {code}\n[ {code} != 000 ] ;;\n' for where, code in
                    answers.items())  # fmt: skip
    curl = tmp_path / "curl"
    curl.write_text(f'#!/bin/sh\ncase "$*" in\n{cases}*) exit 99 ;;\nesac\n')
    curl.chmod(0o755)
    program = ROOT / "phoenix/components/keepalived/forwards.sh"
    done = subprocess.run(
        ["/bin/sh", str(program), "alive.invalid", "own", "other", "inner"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"}, capture_output=True, check=False,
    )  # fmt: skip
    assert done.stderr == b""
    assert (done.returncode == 0) is keeps


@pytest.mark.parametrize(
    ("error_text", "code", "answers"),
    [
        ("", 0, True),
        (
            "curl: (35) TLS connect error: error:0A000458:SSL routines::tlsv1 unrecognized name",
            35,
            True,
        ),
        ("curl: (35) TLS connect error: error:0A000410:SSL routines::handshake failure", 35, False),
        ("curl: (7) Failed to connect to 127.0.0.1 port 443", 7, False),
        ("curl: (28) Connection timed out after 2001 milliseconds", 28, False),
    ],
)
def test_a_gateway_that_was_alone_counts_as_well_before_it_is_changed(
    tmp_path: Path, error_text: str, code: int, *, answers: bool
) -> None:
    """Until its turn it was taken for broken, and the address stayed where nobody got an answer."""
    curl = tmp_path / "curl"
    curl.write_text(f"#!/bin/sh\necho '{error_text}' >&2\nexit {code}\n")
    curl.chmod(0o755)
    program = (ROOT / "phoenix/components/keepalived/nginx.sh").read_text()
    assert "/usr/bin/curl" in program, "no other one in the way"
    done = subprocess.run(
        ["/bin/sh", "-c", program.replace("/usr/bin/curl", str(curl)), "sh", "a.invalid", "::1"],
        capture_output=True, check=False,
    )  # fmt: skip
    assert (done.returncode == 0) is answers


def asked_of_curl(folder: Path, program: str, *words: str, says: str) -> list[list[str]]:
    """The words of each request that a program of keepalived makes of curl, which says `says`."""
    curl, noted = folder / "curl", folder / "asked"
    curl.write_text(f'#!/bin/sh\nprintf "%s\\t" "$@" >>{noted}\necho >>{noted}\necho {says}\n')
    curl.chmod(0o755)
    text = (ROOT / f"phoenix/components/keepalived/{program}").read_text()
    subprocess.run(
        ["/bin/sh", "-c", text.replace("/usr/bin/curl", "curl"), "sh", *words],
        env={"PATH": f"{folder}:{os.environ['PATH']}"}, check=False,
    )  # fmt: skip
    return [line.split("\t")[:-1] for line in noted.read_text().splitlines()]


def seconds(config: str, script: str) -> int:
    """How long keepalived waits for a script."""
    body = config.split(f"vrrp_script {script} {{")[1].split("}")[0]
    return int(body.split("timeout ")[1].split()[0])


def test_what_keepalived_asks_names_the_name_and_ends_in_its_time(
    tmp_path: Path, site: Site
) -> None:
    """Traefik answers by the name. A script that keepalived ends counts as failed: of a way that
    hangs for both gateways each would think itself the worse one."""
    config = keepalived.config(
        site.host("gateway"), keepalived.instances(site, site.host("gateway"), {})
    )
    words = ("alive.invalid", "127.0.0.1", "10.0.0.30", "172.16.9.30")  # in two networks
    requests = asked_of_curl(tmp_path, "forwards.sh", *words, says="502")
    assert [request[-1] for request in requests] == [f"http://{where}/" for where in words[1:]]
    for request in requests:
        assert request[request.index("-H") + 1] == "Host: alive.invalid"
    waits = [int(request[request.index("--max-time") + 1]) for request in requests]
    assert sum(waits) <= seconds(config, "way_to_traefik")
    (tmp_path / "asked").unlink()
    (request,) = asked_of_curl(tmp_path, "nginx.sh", "alive.invalid", "127.0.0.1", says="")
    assert request[-1] == "https://alive.invalid/"
    assert request[request.index("--connect-to") + 1] == "::127.0.0.1:"
    assert int(request[request.index("--max-time") + 1]) < seconds(config, "nginx")


@pytest.mark.parametrize("last", range(244, 256))
def test_a_virtual_router_s_id_is_one_byte_and_not_0(tmp_path: Path, last: int) -> None:
    """RFC 5798, section 5.2.3: keepalived refuses another one."""
    site = minimal().load(tmp_path)
    virtual = VirtualAddress(
        IPv4Address(f"10.0.0.{last}"), "lan", (Holder(site.host("gateway"), ONE),)
    )
    with patch.object(keepalived, "of_host", lambda *_: (virtual,)):
        (instance,) = keepalived.instances(site, site.host("gateway"), {})
    assert 1 <= instance.router <= 255


def test_each_compares_its_way_to_traefik_with_the_other_s(site: Site) -> None:
    for host, own, peer in (("gateway", ONE, TWO), ("gateway-two", TWO, ONE)):
        known = keepalived.instances(site, site.host(host), {own: "ens18"})
        text = keepalived.config(site.host(host), known)
        assert f'"{keepalived.WAY} alive.invalid 127.0.0.1 {peer}"' in text
        assert "weight -10\n" in text, "less than what Nginx itself weighs"
        asked, _ = nginx_conf.nginx_config(
            site, on=site.host(host), client_certificate="0" * 64, hsts_seconds=0, max_body="1m",
            read_timeout="60s",
        )  # fmt: skip
        compared = asked.split("upstream traefik_compared {")[1].split("proxy_next_upstream")[0]
        assert f"allow 127.0.0.1;\n            allow {peer};\n            deny all;" in compared
        assert "listen 80;" in compared
        assert "access_log off;" in compared
        assert "proxy_ssl_verify on;" in compared


# -- checks ----------------------------------------------------------------------------------------


def test_a_gateway_that_is_down_is_told_and_breaks_no_request(site: Site) -> None:
    down = {"nginx.service", "keepalived.service"}
    outcomes = [
        Outcome(check, "is inactive" if check.host == "gateway" and check.unit in down else "")
        for check in checks(site)
    ]
    walked = walk(paths(site), Findings(outcomes))
    broken = {(state.path.kind, state.path.name) for state in walked if state.state == "broken"}
    assert ("gateway", "gateway takes requests") in broken
    assert not [name for kind, name in broken if kind == "request"]
    assert ("gateway", "gateway-two takes requests") not in broken


def test_each_gateway_is_asked_by_itself(site: Site) -> None:
    own = [check for check in checks(site) if check.hop.endswith("itself")]
    assert [(check.target, check.command[-1]) for check in own] == [
        ("gateway", str(ONE)), ("gateway-two", str(TWO))
    ]  # fmt: skip
    held = [check for check in checks(site) if check.function == "address_is_held"]
    assert [(check.host, check.command[1:]) for check in held] == [
        ("gateway", (str(VIRTUAL), str(ONE))), ("gateway-two", (str(VIRTUAL), str(TWO)))
    ]  # fmt: skip


def test_nobody_has_it_is_one_cause(site: Site) -> None:
    outcomes = [
        Outcome(check, f"no host has {VIRTUAL}" if check.function == "address_is_held" else "")
        for check in checks(site)
    ]
    places = {check: number for number, check in enumerate(checks(site))}
    (cause,) = causes(walk(paths(site), Findings(outcomes)), {}, places)
    assert cause.seen_by == ("gateway", "gateway-two")


IP = """case "$*" in
*" to {own}/32") echo "2: eth0    inet {own}/24 scope global eth0" ;;
*" to {virtual}/32") {held} ;;
esac"""
HELD = "echo '2: eth0    inet 10.0.0.9/32 scope global eth0'"
REPLY = "echo 'Unicast reply from 10.0.0.9 [02:42:AC:11:00:03]  0.5ms'; exit 0"


@pytest.mark.parametrize(
    ("held", "arping", "fault"),
    [
        (HELD, "exit 1", ""),
        (":", REPLY, ""),
        (":", "exit 1", "no host has 10.0.0.9"),
        (HELD, REPLY, "two hosts have 10.0.0.9: this one and 02:42:AC:11:00:03"),
        (":", "echo 'arping: socket: denied'; exit 2", "arping cannot ask for 10.0.0.9: arping: "),
    ],
)
def test_who_has_it(tmp_path: Path, held: str, arping: str, fault: str) -> None:
    (tmp_path / "bin").mkdir()
    guest = Guest(tmp_path)
    guest.program("sleep", "")
    guest.program("ip", IP.format(own=ONE, virtual=VIRTUAL, held=held))
    guest.program("arping", arping)
    (message,) = guest.run_checks(f"address_is_held {VIRTUAL} {ONE}")
    assert message.startswith(fault)
    assert bool(message) == bool(fault)


# -- what the CA has issued ------------------------------------------------------------------------


def test_a_certificate_of_either_is_nobody_else_s(site: Site) -> None:
    start, end = datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 3, tzinfo=UTC)
    names = certificates(site)[0].sans
    known = AskedKeys(certificate="gateway", since=datetime(2026, 1, 1, tzinfo=UTC))
    notes = {
        "gateway": (replaced(known, "aa"),),
        "gateway-two": (replaced(known, "bb"),),
    }

    def warning(key: str, **hosts: tuple[AskedKeys, ...]) -> str:
        certificate = Issued(serial="1", names=names, not_before=start, not_after=end, key=key)
        asked = {name.replace("_", "-"): held for name, held in hosts.items()}
        return outcome(site, [certificate], asked or notes).warning

    assert warning("aa") == warning("bb") == ""
    assert "to a key that gateway never made" in warning("cc")
    # The other may have asked for it, and tells nothing.
    assert warning("cc", gateway=notes["gateway"]) == ""


def replaced(known: AskedKeys, key: str) -> AskedKeys:
    return known.model_copy(update={"keys": frozenset({key})})


def test_of_two_traefiks_one_that_is_down_is_no_gateway_s_fault(tmp_path: Path) -> None:
    declaration = with_two()
    declaration.lxc["lxc_configs"]["107"] = lxc("proxy-two", "traefik", 32, boot_order=3)
    site = declaration.load(tmp_path)
    outcomes = [
        Outcome(
            check,
            "is down"
            if (check.target, check.function) == ("proxy-two", "tls_verifies")
            or (check.host, check.unit) == ("proxy-two", "traefik.service")
            else "",
        )
        for check in checks(site)
    ]
    walked = walk(paths(site), Findings(outcomes))
    broken = {(state.path.kind, state.path.name) for state in walked if state.state == "broken"}
    assert ("proxy", "proxy-two routes requests") in broken
    assert not {kind for kind, _ in broken} & {"gateway", "request"}


def test_whoever_asks_is_told_that_it_moves(site: Site) -> None:
    explained = gateway(site)
    assert explained is not None
    assert f"one of them has {VIRTUAL}, where names lead" in explained.further
    boxes = {box.name: box.about for box in topology(site).boxes}
    for name in ("gateway", "gateway-two"):
        assert f"may have {VIRTUAL}" in boxes[name]
