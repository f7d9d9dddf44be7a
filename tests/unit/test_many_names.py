"""A gateway with more names than one certificate holds."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks import synthetic
from phoenix.components.nginx.nginx_conf import nginx_config
from phoenix.components.step_ca.authority import UNIT as CA_UNIT
from phoenix.declaration.load import load_site
from phoenix.derived import certificates
from phoenix.derived.certificates import HostCertificate, of_the_gateway
from phoenix.derived.components import trees_of
from phoenix.derived.routes import gateway_names
from phoenix.health.advice import component_of
from phoenix.health.checks import checks
from phoenix.site.model import Site
from tests.unit.site_builder import lxc, minimal

LIMIT = 12


@pytest.fixture(autouse=True)
def limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "MAX_NAMES", LIMIT)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    synthetic.write(tmp_path, 40)
    return load_site(tmp_path)


def split(number: int) -> dict[str, tuple[str, ...]]:
    return dict(certificates._split([f"app{each}.example.com" for each in range(number)]))


def test_up_to_the_limit_there_is_one_certificate_with_all_names_in_their_order() -> None:
    names = tuple(f"app{each}.example.com" for each in range(LIMIT))
    assert split(0) == {}
    assert split(LIMIT) == {"gateway": names}


def test_beyond_it_each_name_is_in_one_certificate_and_none_has_too_many() -> None:
    for number in (LIMIT + 1, 40, 200):
        parts = split(number)
        assert sorted(name for names in parts.values() for name in names) == sorted(
            f"app{each}.example.com" for each in range(number)
        )
        assert max(map(len, parts.values())) <= LIMIT
        assert "gateway" in parts


def test_one_more_name_concerns_one_certificate_or_moves_names_to_new_ones() -> None:
    """What serves a name goes on to have it until the new certificate is there."""
    for fewer, more in pairwise(map(split, range(1, 60))):
        if fewer.keys() == more.keys():
            assert len([name for name in more if fewer[name] != more[name]]) == 1
            continue
        added = {name for names in more.values() for name in names}
        added -= {name for names in fewer.values() for name in names}
        for name, names in fewer.items():
            assert {*more.get(name, ())} <= {*names} | added


def assert_each_server_has_the_certificate_with_its_names(site: Site) -> None:
    text, _ = nginx_config(
        site, client_certificate="ab" * 32, hsts_seconds=60, max_body="1m", read_timeout="9s"
    )
    directories: dict[str, str] = {}
    (usual,) = re.findall(r"^    ssl_certificate (\S+)/fullchain.pem;", text, re.M)
    for server in text.split("    server {\n")[1:]:
        names = re.search(r"server_name ([^;]+);", server)
        if "listen 443" not in server or names is None or names[1] == "_":
            continue
        own = re.search(r"^        ssl_certificate (\S+)/fullchain.pem;", server, re.M)
        key = re.search(r"^        ssl_certificate_key (\S+)/privkey.pem;", server, re.M)
        assert (own and own[1]) == (key and key[1])
        directories |= dict.fromkeys(names[1].split(), own[1] if own else usual)
    assert directories == {
        name: issued.directory for issued in of_the_gateway(site) for name in issued.sans
    }
    assert {*directories} == {*gateway_names(site)}
    assert len({*directories.values()}) > 2


def test_each_server_of_nginx_has_the_certificate_with_its_names(site: Site) -> None:
    assert_each_server_has_the_certificate_with_its_names(site)


def test_so_has_the_server_of_a_name_that_asks_for_more(tmp_path: Path) -> None:
    declared = minimal()
    services = [
        {"name": f"app{n}", "port": 8000 + n, "scheme": "https", "max_body": f"{n}m"}
        for n in range(1, 30)
    ]
    declared.lxc["lxc_configs"]["104"] = lxc("apps", None, 25, traefik_services=services)
    assert_each_server_has_the_certificate_with_its_names(declared.load(tmp_path))


def test_all_that_is_known_of_a_certificate_is_known_of_each(site: Site) -> None:
    issued: tuple[HostCertificate, ...] = of_the_gateway(site)
    assert site.gateway is not None
    assert {f"acme-{certificate.name}" for certificate in issued} <= trees_of(site, site.gateway)
    for certificate in issued:
        timer = f"phoenix-acme@{certificate.name}.timer"
        assert component_of(timer) == "nginx"
        own = [check for check in checks(site) if check.certificate == certificate.name]
        assert {check.function for check in own} >= {"pair_fits", "pair_is_served"}
        assert any(timer in check.command for check in checks(site)), timer
    assert component_of(CA_UNIT) == "step_ca"
