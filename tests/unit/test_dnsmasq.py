from __future__ import annotations

import pytest

from phoenix.components.dnsmasq import dnsmasq_conf as dnsmasq
from phoenix.derived.dns import records
from phoenix.site.model import Site
from tests.unit.site_builder import minimal


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return minimal().load(tmp_path_factory.mktemp("site"))


def test_exact_records_and_explicit_upstreams(site: Site) -> None:
    lines = dnsmasq.config(site, records(site), ["9.9.9.9", "1.1.1.1"]).splitlines()
    host_records = {
        line.removeprefix("host-record=") for line in lines if line.startswith("host-record")
    }
    assert host_records == {f"{record.name},{record.address}" for record in records(site)}
    for expected in ("no-resolv", "no-hosts", "no-ident", "bind-interfaces",
                 "listen-address=10.0.0.13",
                 "local=/internal.thinkheads.ai/", "stop-dns-rebind",
                 "domain-needed", "bogus-priv"):  # fmt: skip
        assert expected in lines, lines
    assert [line for line in lines if line.startswith("server=")] == [
        "server=9.9.9.9",
        "server=1.1.1.1",
    ]
    assert not [line for line in lines if line.startswith("address=")], "a wildcard"


def test_rebinding_guard_can_be_turned_off(site: Site) -> None:
    assert "rebind" not in dnsmasq.config(site, (), ["9.9.9.9"], stop_rebind=False)


@pytest.mark.parametrize(
    ("upstreams", "message"),
    [
        ([], "setting dns_upstreams is empty"),
        (["dns.example.org"], "'dns.example.org' is not an IPv4 address"),
        (["9.9.9.9\nserver=/evil/6.6.6.6"], "is not an IPv4 address"),
        (["9.9.9.9", "10.0.0.13"], "10.0.0.13 is this server: a loop"),
    ],
)
def test_upstreams_that_cannot_work_are_refused(
    site: Site, upstreams: list[str], message: str
) -> None:
    with pytest.raises(dnsmasq.DnsmasqError) as caught:
        dnsmasq.config(site, records(site), upstreams)
    assert message in str(caught.value)
