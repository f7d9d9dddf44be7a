"""Paths hold every check, begin where requests begin, and are found by what operators say."""

from __future__ import annotations

from pathlib import Path

import pytest

from phoenix.derived.find import UnknownNameError
from phoenix.derived.routes import routes
from phoenix.health import paths
from phoenix.health.checks import checks
from phoenix.site.model import Site
from phoenix.watch.causes import CheckedPath
from tests.unit.site_builder import minimal, stack


@pytest.fixture
def site(tmp_path: Path) -> Site:
    declared = minimal()
    declared.stacks["cart"] = stack("cart", 8001)  # a second service with the same server name
    declared.vm["vms"][1]["docker_stacks"] = ["shop", "cart"]
    return declared.load(tmp_path)


def path(site: Site, name: str) -> CheckedPath:
    (match,) = [path_ for path_ in paths.paths(site) if path_.name == name]
    return match


def names(checked: tuple[CheckedPath, ...]) -> set[str]:
    return {path_.name for path_ in checked}


def test_every_check_is_on_a_path_and_no_path_makes_its_own(site: Site) -> None:
    on_paths = {check for path_ in paths.paths(site) for check in path_.checks}
    assert on_paths == set(checks(site))


def test_names_are_unique_and_hops_have_checks(site: Site) -> None:
    all_paths = paths.paths(site)
    assert len(names(all_paths)) == len(all_paths)
    assert [(path_.name, hop) for path_ in all_paths for hop in path_.hops if not hop.checks] == []


def test_a_path_that_names_a_port_names_the_one_that_is_asked(site: Site) -> None:
    assert path(site, "proxy port 443 to gateway").checks[0].command[-1] == "443"
    assert [name for name in names(paths.paths(site)) if " port 0 " in name] == []


def test_request_goes_hop_by_hop(site: Site) -> None:
    client = site.hypervisor.name
    request_path = path(site, f"https://shop.{site.domain}")
    assert [(hop.source, hop.target) for hop in request_path.hops] == [
        (client, client),
        (client, "gateway"),
        ("gateway", "proxy"),
        ("proxy", "proxy"),
        ("proxy", "worker"),
        (client, "gateway"),
    ]


def test_each_route_has_its_path_and_only_its_own_checks(site: Site) -> None:
    fqdns = {route.fqdn for route in routes(site)}
    assert names(tuple(path_ for path_ in paths.paths(site) if path_.kind == "request")) == {
        f"https://{fqdn}" for fqdn in fqdns
    }
    words = " ".join(
        word for c in path(site, f"https://shop.{site.domain}").checks for word in c.command
    )
    assert "8000" in words
    assert "8001" not in words, "another service's port"
    for other in fqdns - {f"shop.{site.domain}"}:
        assert f"{other}=" not in words, "another service's record"
        assert f"https://{other}" not in words


def test_wrong_record_of_one_service_is_on_no_other_request(site: Site) -> None:
    record = f"shop.{site.domain}="
    holding = [
        path_.name
        for path_ in paths.paths(site)
        if any(word.startswith(record) for check in path_.checks for word in check.command)
    ]
    assert f"https://shop.{site.domain}" in holding
    assert all(name.endswith("asks DNS") for name in holding[1:]), holding


@pytest.mark.parametrize("name", ["shop", "SHOP", "shop-production", "stack:shop"])
def test_service_and_stack(site: Site, name: str) -> None:
    chosen = names(paths.select(site, name))
    assert {f"https://shop.{site.domain}", "stack shop-production on worker"} <= chosen
    assert f"https://cart.{site.domain}" not in chosen


@pytest.mark.parametrize("name", ["worker", "1002", "worker.host.internal.test"])
def test_guest_by_name_id_or_full_name(site: Site, name: str) -> None:
    chosen = paths.select(site, name.replace("internal.test", site.domain))
    assert {f"https://shop.{site.domain}", "worker asks DNS", "Portainer reaches worker"} <= names(
        chosen
    )
    assert all("worker" in path_.hosts or "worker" in path_.about for path_ in chosen)


def test_every_request_concerns_the_gateway(site: Site) -> None:
    chosen = paths.select(site, "gateway")
    assert {f"https://{route.fqdn}" for route in routes(site)} <= names(chosen)


def test_unknown_name_is_refused_with_near_ones(site: Site) -> None:
    with pytest.raises(UnknownNameError, match=r"'shp'.*Did you mean 'shop'"):
        paths.select(site, "shp")
    with pytest.raises(UnknownNameError, match=r"There are: .*worker"):
        paths.select(site, "zzzzzz")
