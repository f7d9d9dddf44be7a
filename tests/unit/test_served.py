"""What an endpoint serves is one record, asked by a host whose connection leads there."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from phoenix.components.x509 import CertificateInfo
from phoenix.derived import firewall
from phoenix.derived.endpoints import Endpoint, endpoints
from phoenix.health.checks import checks
from phoenix.health.observation import CERTIFICATES, Observed, request
from phoenix.health.observation import served as observed_records
from phoenix.health.served import Served, askers, served
from phoenix.site.model import Site
from tests.unit.site_builder import minimal
from tests.unit.test_virtual_addresses import with_two

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
LEAF = CertificateInfo(
    "shop", ("shop.test", "cart.test"), ("10.0.0.9",), "The CA", NOW, NOW + timedelta(hours=1),
    "ab12", "", "", is_ca=False,
)  # fmt: skip


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return minimal().load(tmp_path)


def test_record_of_a_leaf_has_its_names_and_times(site: Site) -> None:
    gateway = endpoints(site)[0]
    record = served(gateway, LEAF, "")
    assert (record.holder, record.address, record.port) == ("gateway", "10.0.0.20", 443)
    assert record.server_name == f"home.{site.domain}"
    assert record.names == ("10.0.0.9", "cart.test", "shop.test")
    assert (record.issuer, record.serial, record.fault) == ("The CA", "ab12", "")
    assert (record.not_before, record.not_after) == (NOW, NOW + timedelta(hours=1))
    assert Served.model_validate_json(record.model_dump_json()) == record


def test_record_without_a_session_has_a_fault(site: Site) -> None:
    gateway = endpoints(site)[0]
    assert served(gateway, None, "Connection refused").fault == "Connection refused"
    assert served(gateway, None, "").fault == "no certificate"
    assert served(gateway, None, "").not_after is None


def test_each_endpoint_is_asked_once_by_a_host_that_the_firewall_lets_through(site: Site) -> None:
    requests = [(end, host.name) for host in site.hosts for end in request(site, host).endpoints]
    assert dict(requests) == {end: names[0] for end, names in askers(site).items()}
    assert len(requests) == len(endpoints(site))
    flows = {(getattr(f.source, "name", ""), f.destination, f.port) for f in firewall.flows(site)}
    for end, names in askers(site).items():
        assert end.host.name not in names[:-1], "what it sees of itself no firewall stops"
        for name in set(names) - {end.host.name}:
            assert {(name, end.host, end.port), ("", end.host, end.port)} & flows, (name, end)


def test_every_endpoint_is_checked_for_its_name(site: Site) -> None:
    asked = [check for check in checks(site) if check.function == "tls_verifies"]
    checked = {(check.target, check.port, check.command[3]) for check in asked}
    for end in endpoints(site):
        assert {(end.host.name, end.port, name) for name in end.names} <= checked


def without_answer(site: Site, *out: str) -> dict[Endpoint, Served | None]:
    """What is known of each endpoint where these hosts are out when a run begins."""
    answering = {host.name for host in site.hosts} - set(out)
    answers = {
        host.name: [
            served(e, LEAF, "").model_dump(mode="json")
            for e in request(site, host, answering=answering).endpoints
        ]
        for host in site.hosts
        if host.name in answering
    }
    asked = sum(map(len, answers.values()))
    records = observed_records(site, Observed({CERTIFICATES: answers}, {}))
    assert list(records) == list(endpoints(site))
    assert asked == len([record for record in records.values() if record]), "each is asked once"
    return records


def test_host_that_gave_no_answer_leaves_the_others_known(site: Site) -> None:
    records = without_answer(site, "proxy")
    assert {end for end, record in records.items() if record is None} == {
        end for end, names in askers(site).items() if names == ("proxy",)
    }


@pytest.mark.parametrize("out", ["gateway", "gateway-two"])
def test_of_two_gateways_the_one_that_answers_asks(tmp_path: Path, out: str) -> None:
    site = with_two().load(tmp_path)
    proxy = next(end for end in endpoints(site) if end.host.name == "proxy")
    assert askers(site)[proxy] == ("gateway", "gateway-two")
    assert None not in without_answer(site, out).values()
    assert without_answer(site, "gateway", "gateway-two")[proxy] is None
