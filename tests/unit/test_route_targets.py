"""Routes that cannot answer are refused, and what a route would do silently is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from phoenix.components.nginx.nginx_conf import nginx_config
from phoenix.components.traefik.traefik_yml import dynamic_config
from phoenix.site.model import Site
from tests.unit.site_builder import LXC, VM, Declaration, minimal, problem, vm

ZONE = "internal.thinkheads.ai"
AT = "vms[2].traefik_services"


def extra(*services: dict[str, Any]) -> Declaration:
    """A further guest with these services, by https where they say nothing else."""
    result = minimal()
    own = [
        service if "redirect_to" in service else {"scheme": "https", **service}
        for service in services
    ]
    result.vm["vms"].append(vm(1003, "extra", None, 30, traefik_services=own))
    return result


def far(**keys: Any) -> Declaration:
    result = minimal()
    result.lxc["external_services"] = [{"name": "nas", "port": 443, **keys}]
    return result


def nginx(site: Site) -> str:
    return nginx_config(
        site, client_certificate="ab", hsts_seconds=0, max_body="1m",
        read_timeout="300s",
    )[0]  # fmt: skip


def go(name: str, to: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "redirect_to": to, **more}


def test_redirects_in_a_circle_are_refused(tmp_path: Path) -> None:
    findings = extra(
        go("a", f"https://a.{ZONE}"),
        go("b", f"http://c.{ZONE}/x"),
        go("c", f"https://b.{ZONE}"),
        go("d", f"https://d.{ZONE}/new", redirect_keep_path=True),
        go("e", f"https://c.{ZONE}"),
    ).refused(tmp_path)
    paths = [finding.path for finding in findings]
    assert paths == [f"{AT}[{number}].redirect_to" for number in range(4)]
    assert "b -> c -> b" in findings[1].message


def test_more_redirects_than_clients_follow_are_refused(tmp_path: Path) -> None:
    chain = [go(f"r{n}", f"https://r{n + 1}.{ZONE}") for n in range(20)]
    end = go("r20", "https://a.example.com")
    (finding,) = extra(*chain, end).refused(tmp_path / "long")
    assert (finding.path, "at r20, which" in finding.message) == (f"{AT}[0].redirect_to", True)
    extra(*chain[1:], end).load(tmp_path / "short")


@pytest.mark.parametrize(
    "to",
    [
        f"https://a.{ZONE}/new",  # another service has that path
        f"https://a.{ZONE}:8443/",
        f"https://shop.{ZONE}",
        "https://a.example.com",
        f"https://worker.host.{ZONE}:8000",
    ],
)
def test_a_redirect_that_ends_is_taken(tmp_path: Path, to: str) -> None:
    extra(go("a", to), {"name": "a", "path": "/new", "port": 8443}).load(tmp_path)


def test_a_redirect_to_a_name_that_nobody_has_is_refused(tmp_path: Path) -> None:
    findings = extra(go("a", f"https://wikki.{ZONE}/x")).refused(tmp_path)
    assert f"is called wikki.{ZONE}" in problem(findings, VM, f"{AT}[0].redirect_to").message


def test_headers_of_a_redirect_reach_the_client(tmp_path: Path) -> None:
    """A middleware behind the one that answers would never see an answer."""
    headers = {"X-Robots-Tag": "noindex"}
    site = extra(go("a", f"https://shop.{ZONE}", response_headers=headers)).load(tmp_path)
    router = yaml.safe_load(dynamic_config(site)[0])["http"]["routers"]["a"]
    assert router["middlewares"] == ["a_headers", "a_redirect"]


def test_a_redirect_has_no_request_to_set_headers_in(tmp_path: Path) -> None:
    findings = extra(go("a", f"https://shop.{ZONE}", request_headers={"X-A": "1"})).refused(
        tmp_path
    )
    assert "no backend" in problem(findings, VM, f"{AT}[0].request_headers").message


JUDGE = {"name": "auth", "port": 9091}


@pytest.mark.parametrize(
    ("url", "judge", "message"),
    [
        (f"https://wiki.{ZONE}/verify", {}, "and so without end"),
        (f"https://nobody.{ZONE}/verify", {}, f"is called nobody.{ZONE}"),
        (f"http://auth.{ZONE}/verify", {}, "with a redirect"),
        (f"https://auth.{ZONE}/verify",
         {"basic_auth": [{"user": "a", "secret": "b"}]}, "basic_auth"),
        (f"https://auth.{ZONE}/verify", {"allowed_networks": ["10.0.0.99"]}, "admits no requests"),
        (f"https://auth.{ZONE}/verify",
         {"forward_auth": {"url": f"https://wiki.{ZONE}"}}, "without end"),
    ],
)  # fmt: skip
def test_who_cannot_decide_is_refused(
    tmp_path: Path, url: str, judge: dict[str, Any], message: str
) -> None:
    findings = extra(
        {"name": "wiki", "port": 8443, "forward_auth": {"url": url}}, {**JUDGE, **judge}
    ).refused(tmp_path)
    assert message in problem(findings, VM, f"{AT}[0].forward_auth.url").message


def test_who_can_decide_is_taken_and_plain_text_is_told(tmp_path: Path) -> None:
    judge = {**JUDGE, "allowed_networks": ["10.0.0.21"]}
    site = extra(
        {"name": "wiki", "port": 8443, "forward_auth": {"url": f"https://auth.{ZONE}/verify"}},
        {"name": "docs", "port": 8444, "forward_auth": {"url": "http://10.0.0.99:9091/verify"}},
        judge,
    ).load(tmp_path)
    (warning,) = site.warnings
    assert (warning.path, "in plain text" in warning.message) == (f"{AT}[1].forward_auth.url", True)


@pytest.mark.parametrize(
    ("address", "keys", "message"),
    [
        (f"nas.{ZONE}", {}, "leads to the gateway"),
        ("nas", {}, "leads to the gateway"),
        (f"files.{ZONE}", {"aliases": ["files"]}, "leads to the gateway"),
        (f"shop.{ZONE}", {}, "leads to the gateway"),
        (f"nobody.{ZONE}", {}, f"is called nobody.{ZONE}"),
        ("10.0.0.20", {}, "leads to the gateway"),
        ("10.0.0.21", {}, "leads to Traefik"),
        ("127.0.0.1", {"port": 8081, "scheme": "http"}, "Traefik's own guest"),
        ("localhost", {}, "Traefik's own guest"),
        ("0.0.0.0", {}, "not the address of a single machine"),  # noqa: S104
        ("255.255.255.255", {}, "not the address of a single machine"),
        ("999.1.2.3", {}, "not an IPv4 address"),
        ("10.0.0", {}, "not an IPv4 address"),
        ("10.0.0.024", {}, "not an IPv4 address"),
    ],
)
def test_an_external_service_that_leads_back_or_nowhere_is_refused(
    tmp_path: Path, address: str, keys: dict[str, Any], message: str
) -> None:
    findings = far(address=address, **keys).refused(tmp_path)
    assert message in problem(findings, LXC, "external_services[0].address").message


@pytest.mark.parametrize("address", ["nas.example.com", "box", "10.0.0.24", "10-0-0.x", "1e5.lan"])
def test_an_external_service_elsewhere_is_taken(tmp_path: Path, address: str) -> None:
    far(address=address, port=8443).load(tmp_path)


def test_a_check_that_another_service_answers_is_refused(tmp_path: Path) -> None:
    findings = extra(
        {"name": "wiki", "port": 8443, "health_path": "/api/health?x=1"},
        {"name": "wiki", "path": "/api", "port": 8444},
    ).refused(tmp_path)
    assert "answered by wiki/api" in problem(findings, VM, f"{AT}[0].health_path").message


def test_a_path_with_dots_is_refused(tmp_path: Path) -> None:
    findings = extra({"name": "wiki", "path": "/a", "port": 1, "health_path": "/a/../b"}).refused(
        tmp_path
    )
    assert "not a path" in problem(findings, VM, f"{AT}[0].health_path").message


def test_no_service_stands_below_a_name_of_portainer(tmp_path: Path) -> None:
    for name in ("portainer", "docks"):
        declaration = extra({"name": name, "path": "/wiki", "port": 8443})
        declaration.vm["vms"][0]["traefik_service"]["aliases"] = ["docks"]
        findings = declaration.refused(tmp_path / name)
        assert "Portainer's" in problem(findings, VM, f"{AT}[0].path").message


def test_every_name_of_portainer_slows_down_who_guesses(tmp_path: Path) -> None:
    declaration = minimal()
    declaration.vm["vms"][0]["traefik_service"]["aliases"] = ["docks"]
    site = declaration.load(tmp_path)
    assert r"(portainer\.internal\.thinkheads\.ai|docks\.internal\.thinkheads\.ai) /api/" in nginx(
        site
    )


def test_an_empty_list_of_who_may_enter_is_refused(tmp_path: Path) -> None:
    findings = extra({"name": "a", "port": 1, "allowed_networks": [], "basic_auth": []}).refused(
        tmp_path
    )
    for key in ("allowed_networks", "basic_auth"):
        assert "would admit everybody" in problem(findings, VM, f"{AT}[0].{key}").message


def test_an_address_is_no_whole_network(tmp_path: Path) -> None:
    findings = extra({"name": "a", "port": 1, "allowed_networks": ["10.0.0.5/24"]}).refused(
        tmp_path
    )
    finding = problem(findings, VM, f"{AT}[0].allowed_networks[0]")
    assert 'write "10.0.0.5" for that address alone, or "10.0.0.0/24"' in finding.fix


def test_clients_that_no_rule_lets_in_are_told(tmp_path: Path) -> None:
    asked = {"name": "a", "port": 1, "allowed_networks": ["site", "192.168.7.0/24"]}
    git = {**asked, "name": "git", "scheme": "tcp", "gateway_port": 2222}
    declaration = extra(asked, git)
    (web, ssh) = declaration.load(tmp_path / "shut").warnings
    assert (web.path, ssh.path) == (f"{AT}[0].allowed_networks", f"{AT}[1].allowed_networks")
    assert '"port": "443", "source": "192.168.7.0/24"' in web.fix
    assert '"port": "2222"' in ssh.fix
    declaration.lxc["lxc_configs"]["101"]["firewall"] = {
        "rules": [
            {"type": "in", "action": "ACCEPT", "proto": "tcp", "port": "443,2222",
             "source": "192.168.7.0/24"}
        ]
    }  # fmt: skip
    warnings = declaration.load(tmp_path / "open").warnings
    assert [warning.path for warning in warnings] == ["lxc_configs.101.firewall.rules[0].source"]


RULE = "traefik.http.routers.r.rule=Host(`other.internal.thinkheads.ai`)"
ASKED = "traefik.http.routers.r.middlewares=m"
WHERE = "environments.production.services.web.traefik_labels"


def labelled(*labels: str, beside: bool) -> Declaration:
    result = minimal()
    port = "traefik.http.services.s.loadbalancer.server.port=8000"
    scheme = "traefik.http.services.s.loadbalancer.server.scheme=https"
    web = result.stacks["shop"][0]["environments"]["production"]["services"]["web"]
    if not beside:
        web.clear()
    web["traefik_labels"] = [RULE, port, scheme, *labels]
    return result


def test_a_middleware_without_networks_opens_nothing(tmp_path: Path) -> None:
    empty = "traefik.http.middlewares.m.ipallowlist.sourcerange="
    findings = labelled(ASKED, empty, beside=False).refused(tmp_path)
    (finding,) = findings
    assert "names no network" in finding.message


def test_labels_beside_a_traefik_service_are_told(tmp_path: Path) -> None:
    (warning,) = labelled(beside=True).load(tmp_path / "plain").warnings
    assert (warning.path, "not read beside" in warning.message) == (WHERE, True)
    networks = "traefik.http.middlewares.m.ipallowlist.sourcerange=10.0.0.0/24"
    findings = labelled(ASKED, networks, beside=True).refused(tmp_path / "guarded")
    assert "keep somebody out" in problem(findings, "stacks/shop/phoenix.json", WHERE).message


def test_the_question_of_the_ca_goes_by_the_network_that_both_share(tmp_path: Path) -> None:
    """As the firewall's rule does: both follow the same connection."""
    declaration = extra({"name": "db", "port": 5432, "scheme": "tls"})
    declaration.hypervisor = {
        "networks": {"internal": {"subnet": "172.16.100.0/24", "bridge": "vmbr100", "nat": True}}
    }
    declaration.lxc["lxc_configs"]["101"]["network_config"] = {"ip": "172.16.100.10/24"}
    declaration.vm["vms"][2]["secondary_network_config"] = {"ip": "172.16.100.30/24"}
    text = nginx(declaration.load(tmp_path))
    assert "proxy_pass http://172.16.100.30:80;" in text
    assert "10.0.0.30:80" not in text


def test_several_ports_of_one_name_are_proven_once(tmp_path: Path) -> None:
    """Of two servers with one name Nginx ignores the second, with a warning at each test."""
    ports = [{"name": "mail", "port": port, "scheme": "tls"} for port in (465, 993)]
    aliased = {"name": "imap", "port": 994, "scheme": "tls", "aliases": ["mail"]}
    text = nginx(extra(*ports, aliased).load(tmp_path))
    for name in ("mail", "imap"):
        assert text.count(f"server_name {name}.{ZONE};") == 1
    assert text.count("proxy_pass http://10.0.0.30:80;") == 2


@pytest.mark.parametrize(
    ("other", "key"), [({"name": "mail"}, "name"), ({"name": "m", "aliases": ["mail"]}, "aliases")]
)
def test_a_name_that_two_guests_would_prove_is_refused(
    tmp_path: Path, other: dict[str, Any], key: str
) -> None:
    declaration = extra({"name": "mail", "port": 465, "scheme": "tls"})
    second = [{"port": 993, "scheme": "tls", **other}]
    declaration.vm["vms"].append(vm(1004, "second", None, 31, traefik_services=second))
    findings = declaration.refused(tmp_path)
    finding = problem(findings, VM, f"vms[3].traefik_services[0].{key}")
    assert "is proven by extra, for mail:465" in finding.message
