"""What stays out: ports that only their own host reaches, and names that are not the site's."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pytest

from phoenix.derived import dns
from phoenix.derived.certificates import certificates
from phoenix.derived.endpoints import endpoints
from phoenix.site.findings import ConfigError
from phoenix.site.names import in_zone
from tests.unit.site_builder import VM, Declaration, lxc, minimal, problem, stack

MANIFEST = "stacks/shop/phoenix.json"
SERVICE = "environments.production.services.web"


def labelled(declared: Declaration) -> None:
    """The route in the form of Traefik labels."""
    manifest, _ = declared.stacks["shop"]
    web = manifest["environments"]["production"]["services"]["web"]
    del web["traefik_service"]
    web["traefik_labels"] = [
        "traefik.http.routers.shop.rule=Host(`shop.internal.thinkheads.ai`)",
        "traefik.http.services.shop.loadbalancer.server.port=8000",
    ]


ELSEWHERE = [
    *("127.0.0.1", "127.8.8.8", "[::1]", "[0:0:0:0:0:0:0:1]"),
    *("[::]", "[fd00::24]"),  # Traefik asks the guest's IPv4 address
    *("10.0.0.25", "172.17.0.1"),
]


@pytest.mark.parametrize("address", ELSEWHERE)
@pytest.mark.parametrize("form", ["traefik_service", "traefik_labels"])
def test_port_that_is_published_elsewhere_is_no_backend(
    tmp_path: Path, address: str, form: str
) -> None:
    declared = minimal()
    declared.stacks["shop"] = stack("shop", 8000, published=f"{address}:8000:8000")
    if form == "traefik_labels":
        labelled(declared)
    findings = declared.refused(tmp_path)
    place = f"{SERVICE}.{form}" + (".port" if form == "traefik_service" else "")
    assert "a route without a backend" in problem(findings, MANIFEST, place).message


@pytest.mark.parametrize("form", ["traefik_service", "traefik_labels"])
def test_port_of_udp_is_no_backend(tmp_path: Path, form: str) -> None:
    declared = minimal()
    declared.stacks["shop"] = stack("shop", 8000, published="8000:8000/udp")
    if form == "traefik_labels":
        labelled(declared)
    place = f"{SERVICE}.{form}" + (".port" if form == "traefik_service" else "")
    finding = problem(declared.refused(tmp_path), MANIFEST, place)
    assert "a route without a backend" in finding.message


def test_port_of_another_service_of_the_stack_is_no_backend(tmp_path: Path) -> None:
    """Its certificate would be asked of a container that has another name."""
    declared = minimal()
    services = declared.stacks["shop"][1]["services"]
    services["other"] = services["web"]
    services["web"] = {"image": "example/web:1.0", "ports": ["8001:8001"]}
    finding = problem(declared.refused(tmp_path), MANIFEST, f"{SERVICE}.traefik_service.port")
    assert "a route without a backend" in finding.message


@pytest.mark.parametrize("published", ["0.0.0.0:8000:8000", "10.0.0.24:8000:8000", "8000:8000/TCP"])
def test_port_that_is_published_to_all_is_a_backend(tmp_path: Path, published: str) -> None:
    """So that the refusals above are for the address alone."""
    declared = minimal()
    declared.stacks["shop"] = stack("shop", 8000, published=published)
    assert {s.port for s in declared.load(tmp_path).services if s.name == "shop"} == {8000}


@pytest.mark.parametrize(("address", "faults"), [("127.0.0.1", 1), ("[::]", 1), ("10.0.0.77", 0)])
def test_stack_that_no_guest_deploys_may_publish_on_any_guest_s_address(
    tmp_path: Path, address: str, faults: int
) -> None:
    declared = minimal()
    declared.stacks["other"] = stack("other", 8000, published=f"{address}:8000:8000")
    try:
        findings = declared.load(tmp_path).warnings
    except ConfigError as error:
        findings = error.findings
    assert sum("a route without a backend" in finding.message for finding in findings) == faults


@pytest.mark.parametrize("published", ["999.1.1.1:8000:8000", "\uff18000:8000", "8000:8000/foo"])
def test_port_that_compose_refuses_is_refused(tmp_path: Path, published: str) -> None:
    declared = minimal()
    declared.stacks["shop"] = stack("shop", 8000, published=published)
    finding = problem(declared.refused(tmp_path), "stacks/shop/docker-compose.yml",
                    "services.web.ports[0]")  # fmt: skip
    assert "is not a port mapping" in finding.message


@pytest.mark.parametrize(
    "keys",
    [
        *(
            {"profiles": ["debug"]},
            {"scale": 0},
            {"deploy": {"replicas": 0}},
            {"scale": "0"},
            {"scale": "${NONE:-0}"},
        ),
        *({"network_mode": "none"}, {"network_mode": "service:db"}),
    ],
    ids=repr,
)
def test_service_that_does_not_run_or_has_no_ports_is_no_backend(
    tmp_path: Path, keys: dict[str, object]
) -> None:
    declared = minimal()
    declared.stacks["shop"][1]["services"]["web"] |= keys
    findings = [f for f in declared.refused(tmp_path) if f.file == MANIFEST]
    assert len(findings) == 1
    assert "a route without a backend" in findings[0].message
    assert findings[0].path.startswith(SERVICE)


@pytest.mark.parametrize("port", [True, False])
def test_a_port_is_no_truth(tmp_path: Path, port: bool) -> None:
    declared = minimal()
    manifest, _ = declared.stacks["shop"]
    manifest["environments"]["production"]["services"]["web"]["traefik_service"]["port"] = port
    finding = problem(declared.refused(tmp_path), MANIFEST, f"{SERVICE}.traefik_service.port")
    assert "is not a whole number" in finding.message


@pytest.mark.parametrize("of", ["stack", "portainer"])
@pytest.mark.parametrize("below", ["a.b", "a.b.host"])
def test_name_that_the_ca_s_policy_refuses_is_refused(tmp_path: Path, of: str, below: str) -> None:
    declared = minimal()
    manifest, _ = declared.stacks["shop"]
    services = manifest["environments"]["production"]["services"]
    file, path, route = {
        "stack": (MANIFEST, f"{SERVICE}.traefik_service", services["web"]["traefik_service"]),
        "portainer": (VM, "vms[0].traefik_service", declared.vm["vms"][0]["traefik_service"]),
    }[of]
    route["server_name"] = f"{below}.internal.thinkheads.ai"
    finding = problem(declared.refused(tmp_path), file, f"{path}.server_name")
    assert "the CA's policy refuses" in finding.message


def test_service_is_of_its_own_environment(tmp_path: Path) -> None:
    """One environment's name begins with the other's."""
    declared = minimal()
    manifest, compose = declared.stacks["shop"]
    compose["services"]["web"]["ports"] = ["${PORT}:8000"]
    first = manifest["environments"]["production"]
    first["variables"] = [{"name": "PORT", "value": "8000"}]
    second = manifest["environments"]["production.eu"] = deepcopy(first)
    second["variables"][0]["value"] = "8001"
    second["services"]["web"]["traefik_service"] |= {"name": "shop-eu", "port": 8001}
    refs = ["shop", {"name": "shop", "environment": "production.eu"}]
    declared.vm["vms"][1]["docker_stacks"] = refs
    site = declared.load(tmp_path)
    deployments = {s.name: s.deployment.environment for s in site.services if s.deployment}
    assert deployments == {"shop": "production", "shop-eu": "production.eu"}


FOREIGN = "worker.example.org"


def with_foreign_name() -> Declaration:
    declared = minimal()
    manifest, _ = declared.stacks["shop"]
    route = manifest["environments"]["production"]["services"]["web"]["traefik_service"]
    route["server_name"] = FOREIGN
    return declared


def test_name_outside_the_zone_is_in_no_record(tmp_path: Path) -> None:
    site = with_foreign_name().load(tmp_path)
    assert FOREIGN in {service.server_name for service in site.services}, "nothing is tested"
    assert [r for r in dns.records(site) if not in_zone(r.name, site.domain)] == []


def test_name_outside_the_zone_is_in_no_certificate(tmp_path: Path) -> None:
    site = with_foreign_name().load(tmp_path)
    names = {name for certificate in certificates(site) for name in certificate.sans}
    assert {name for name in names if not in_zone(name, site.domain)} == set()
    assert FOREIGN not in {name for end in endpoints(site) for name in end.names}


@pytest.mark.parametrize("name", ["pages.example.org", "internal.thinkheads.ai.example.org"])
def test_name_outside_the_zone_is_in_no_certificate_of_a_guest_that_serves_tls_itself(
    tmp_path: Path, name: str
) -> None:
    declared = minimal()
    declared.lxc["lxc_configs"]["104"] = lxc(
        "pages", None, 25,
        traefik_service={"name": "wiki", "port": 8443, "scheme": "https", "server_name": name},
    )  # fmt: skip
    site = declared.load(tmp_path)
    assert name in {service.server_name for service in site.services}, "nothing is tested"
    held = {certificate.host.name: certificate.sans for certificate in certificates(site)}
    assert held["pages"] == ("pages.host.internal.thinkheads.ai",)
    assert name not in {record.name for record in dns.records(site)}


def test_no_guest_has_a_name_in_its_certificate_that_leads_to_another(tmp_path: Path) -> None:
    declared = minimal()
    for vmid, name, host in (("104", "pages", 25), ("105", "notes", 26)):
        declared.lxc["lxc_configs"][vmid] = lxc(
            name, None, host,
            traefik_service={"name": f"{name}-web", "port": 8443, "scheme": "https",
                             "server_name": f"own-{name}.internal.thinkheads.ai"},
        )  # fmt: skip
    site = declared.load(tmp_path)
    leads_to = {record.name: record.address for record in dns.records(site)}
    for certificate in certificates(site):
        assert {leads_to[name] for name in certificate.sans} == {certificate.host.address}


@pytest.mark.parametrize("hostname", ["printer.example.org", "internal.thinkheads.ai", "a.b.c"])
def test_extra_record_outside_the_zone_is_refused(tmp_path: Path, hostname: str) -> None:
    declared = minimal()
    declared.vm["vms"][1]["dns_records"] = [{"hostname": hostname, "ip": "10.0.0.77"}]
    finding = problem(declared.refused(tmp_path), "phoenix_vm_configs.json",
                    "vms[1].dns_records[0].hostname")  # fmt: skip
    assert "is not a name in internal.thinkheads.ai" in finding.message
