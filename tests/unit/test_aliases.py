"""Further names of a service: wherever its own name is, they are; each has one owner."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from phoenix.components.traefik.traefik_yml import dynamic_config
from phoenix.derived.certificates import certificates
from phoenix.derived.dns import records
from phoenix.derived.find import find, names
from phoenix.derived.routes import gateway_names
from phoenix.explain.explanation import explain
from phoenix.explain.model import Explanation
from phoenix.graph.topology import topology
from phoenix.health.checks import checks
from phoenix.health.paths import paths, request_paths, select
from phoenix.site.model import Service, Site
from tests.unit.site_builder import VM, Declaration, lxc, minimal, problem

ZONE = "internal.thinkheads.ai"
SHOP, STORE, KIOSK = (f"{label}.{ZONE}" for label in ("shop", "store", "kiosk"))
MANIFEST = "stacks/shop/phoenix.json"
PLACE = "environments.production.services.web.traefik_service"


def declared(*aliases: Any) -> Declaration:
    result = minimal()
    service = result.stacks["shop"][0]["environments"]["production"]["services"]["web"]
    service["traefik_service"] |= {"aliases": list(aliases)}
    return result


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return declared("store", "kiosk").load(tmp_path_factory.mktemp("site"))


def test_dns_and_the_gateway_s_certificate_have_them(site: Site) -> None:
    assert site.warnings == ()
    addresses = {record.name: record.address for record in records(site)}
    gateway = site.host("gateway").address
    assert [addresses[name] for name in (SHOP, STORE, KIOSK)] == [gateway] * 3
    assert {SHOP, STORE, KIOSK} <= set(gateway_names(site))
    sans = next(
        certificate.sans for certificate in certificates(site) if certificate.name == "gateway"
    )
    assert {SHOP, STORE, KIOSK} <= set(sans)


def test_one_router_answers_to_all(site: Site) -> None:
    routers = yaml.safe_load(dynamic_config(site)[0])["http"]["routers"]
    assert routers["shop"]["rule"] == f"Host(`{SHOP}`) || Host(`{STORE}`) || Host(`{KIOSK}`)"
    assert routers["portainer"]["rule"] == f"Host(`portainer.{ZONE}`)"


def test_each_is_checked_from_the_name_to_the_whole_request(site: Site) -> None:
    path = request_paths(site)["shop"]
    for name in (SHOP, STORE, KIOSK):
        layers = {check.layer for check in path.checks if check.name == name}
        assert layers == {"dns", "tcp", "certificate", "tls", "http"} | (
            {"router"} if name == SHOP else set()
        )
    on_paths = {check for path in paths(site) for check in path.checks}
    assert set(checks(site)) == on_paths
    assert path in select(site, "kiosk")


@pytest.mark.parametrize("word", ["store", STORE, f"https://{STORE}/x", "service:store"])
def test_it_is_found_and_explained_by_them(site: Site, word: str) -> None:
    (service,) = find(site, word)
    assert isinstance(service, Service)
    assert service.name == "shop"
    assert {"store", STORE} <= set(names(site))
    explanation = explain(site, word)
    assert isinstance(explanation, Explanation)
    assert explanation.name == SHOP
    assert f"also called {STORE}, {KIOSK}" in explanation.facts
    assert {record.name for record in explanation.records} == {SHOP, STORE, KIOSK}


def test_the_picture_shows_them(site: Site) -> None:
    items = {item.name: item for box in topology(site).boxes for item in box.items}
    assert items["shop"].about == "also store, also kiosk"


def test_a_direct_service_proves_them_itself(tmp_path: Path) -> None:
    result = minimal()
    wiki = {"name": "wiki", "port": 8443, "scheme": "https", "exposure": "direct",
            "aliases": ["docs"], "health_path": "/up"}  # fmt: skip
    result.lxc["lxc_configs"]["104"] = lxc("pages", None, 25, traefik_service=wiki)
    site = result.load(tmp_path)
    address = site.host("pages").address
    assert {r.name: r.address for r in records(site)}[f"docs.{ZONE}"] == address
    (own,) = [certificate for certificate in certificates(site) if certificate.host.name == "pages"]
    assert {f"wiki.{ZONE}", f"docs.{ZONE}"} <= set(own.sans)
    verified = {
        c.name for c in checks(site) if c.function == "tls_verifies" and c.target == "pages"
    }
    assert verified == {f"wiki.{ZONE}", f"docs.{ZONE}"}
    assert f"docs.{ZONE}" not in gateway_names(site)
    asked = [c for c in checks(site) if c.function == "request_gives" and c.target == "pages"]
    assert [c.command[1:3] for c in asked] == [
        ("200", f"https://wiki.{ZONE}:8443/up"), ("200", f"https://docs.{ZONE}:8443/up"),
    ]  # fmt: skip
    (path,) = (candidate for candidate in paths(site) if candidate.service == "wiki")
    assert path.checks[-2:] == tuple(asked)


def test_a_direct_service_in_plain_text_is_asked_for_its_health(tmp_path: Path) -> None:
    result = minimal()
    wiki = {"name": "wiki", "port": 8080, "scheme": "http", "exposure": "direct"}
    result.lxc["lxc_configs"]["104"] = lxc("pages", None, 25, traefik_service=wiki)
    (asked,) = (
        check
        for check in checks(result.load(tmp_path))
        if check.function == "request_gives" and check.target == "pages"
    )
    assert asked.command[1:3] == ("200", "http://10.0.0.25:8080/")


@pytest.mark.parametrize(
    ("alias", "message"),
    [
        ("shop", "'shop' is the service's own name"),
        ("portainer", "'portainer' is a name of the service 'portainer', declared at "),
        ("ca", "'ca' is reserved: only the guest with role step_ca has it"),
        ("home", "'home' is reserved: it is the site's start page"),
        ("portainer-agent", "'portainer-agent' is reserved: "),
    ],
)
def test_a_name_of_another_is_refused(tmp_path: Path, alias: str, message: str) -> None:
    finding = problem(declared(alias).refused(tmp_path), MANIFEST, f"{PLACE}.aliases")
    assert finding.message.startswith(message), finding


def test_an_alias_of_two_services_is_refused(tmp_path: Path) -> None:
    result = declared("store")
    result.vm["vms"][0]["traefik_service"]["aliases"] = ["store"]
    finding = problem(result.refused(tmp_path), MANIFEST, f"{PLACE}.aliases")
    assert finding.message == (
        f"'store' is a name of the service 'portainer', declared at {VM}: vms[0].traefik_service"
    )


def test_a_record_of_its_own_with_the_same_name_is_refused(tmp_path: Path) -> None:
    result = declared("store")
    result.vm["vms"][1]["dns_records"] = [{"hostname": "store", "ip": "10.0.0.77"}]
    findings = result.refused(tmp_path)
    assert any("two owners claim store." in finding.message for finding in findings), findings


def test_the_ca_and_an_agent_have_one_name(tmp_path: Path) -> None:
    result = minimal()
    result.lxc["lxc_configs"]["103"]["traefik_service"] = {
        "name": "ca", "exposure": "direct", "aliases": ["pki"]}  # fmt: skip
    findings = result.refused(tmp_path)
    assert any(
        finding.path.endswith("traefik_service.aliases")
        and "the CA has a single name" in finding.message
        for finding in findings
    ), findings


@pytest.mark.parametrize("alias", ["Store", "a..b", ".a", "a.", "", 3])
def test_an_alias_is_a_label_or_a_dotted_name(tmp_path: Path, alias: Any) -> None:
    findings = declared(alias).refused(tmp_path)
    assert any(f"{PLACE}.aliases[0]" in finding.path for finding in findings), findings
