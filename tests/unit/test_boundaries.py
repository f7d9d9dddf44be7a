"""What stays out: ports that only their own host reaches, and names that are not the site's."""

from __future__ import annotations

from pathlib import Path

import pytest

from phoenix.derived import dns
from phoenix.derived.certificates import certificates
from phoenix.derived.endpoints import endpoints
from phoenix.site.names import in_zone
from tests.unit.site_builder import Declaration, minimal, problem, stack

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


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "[::1]"])
@pytest.mark.parametrize("form", ["traefik_service", "traefik_labels"])
def test_port_that_is_published_on_loopback_is_no_backend(
    tmp_path: Path, address: str, form: str
) -> None:
    declared = minimal()
    declared.stacks["shop"] = stack("shop", 8000, published=f"{address}:8000:8000")
    if form == "traefik_labels":
        labelled(declared)
    findings = declared.refused(tmp_path)
    place = f"{SERVICE}.{form}" + (".port" if form == "traefik_service" else "")
    assert "a route without a backend" in problem(findings, MANIFEST, place).message


def test_port_that_is_published_to_all_is_a_backend(tmp_path: Path) -> None:
    """So that the refusals above are for the loopback alone."""
    declared = minimal()
    declared.stacks["shop"] = stack("shop", 8000, published="0.0.0.0:8000:8000")
    assert {s.port for s in declared.load(tmp_path).services if s.name == "shop"} == {8000}


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


@pytest.mark.parametrize("hostname", ["printer.example.org", "internal.thinkheads.ai", "a.b.c"])
def test_extra_record_outside_the_zone_is_refused(tmp_path: Path, hostname: str) -> None:
    declared = minimal()
    declared.vm["vms"][1]["dns_records"] = [{"hostname": hostname, "ip": "10.0.0.77"}]
    finding = problem(declared.refused(tmp_path), "phoenix_vm_configs.json",
                    "vms[1].dns_records[0].hostname")  # fmt: skip
    assert "is not a name in internal.thinkheads.ai" in finding.message
