"""What proves what a run touched: checks of it, and no fault of anything else."""

from __future__ import annotations

import pytest

from phoenix.derived.components import COMPONENTS
from phoenix.health.checks import checks
from phoenix.health.paths import service_checks
from phoenix.health.proof import proof, provers
from phoenix.site.findings import NameLookupError
from phoenix.site.model import Site
from tests.unit.site_builder import minimal


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return minimal().load(tmp_path_factory.mktemp("site"))


def titles(site: Site, *words: str) -> set[str]:
    return {check.title for check in proof(site, words)}


def test_every_component_has_checks_of_its_own(site: Site) -> None:
    """But Proxmox's: its guests and rules are read back by its own deploy."""
    unproven = {
        part.name
        for part in COMPONENTS
        if part.hosts(site) and not proof(site, [f"component:{part.name}"])
    }
    assert unproven == {"proxmox"}


def test_every_check_proves_a_component_or_a_service_or_a_guest(site: Site) -> None:
    words = [f"component:{part.name}" for part in COMPONENTS if part.name != "verify"]
    words += [f"service:{service.name}" for service in site.services]
    words += [f"guest:{host.name}" for host in site.hosts]
    assert proof(site, words) == checks(site)
    assert proof(site, ["component:verify"]) == checks(site)


def test_a_component_does_not_answer_for_what_stands_behind_it(site: Site) -> None:
    """Otherwise a broken application would make each sync of the gateway fail."""
    nginx = titles(site, "component:nginx")
    assert "service on gateway: Nginx (nginx.service)" in nginx
    assert "tls on phoenix: a client to the gateway for shop.internal.thinkheads.ai" in nginx
    for check in proof(site, ["component:nginx", "component:traefik", "component:dns"]):
        assert check.host in ("gateway", "proxy", "phoenix"), check.title
        assert check.function not in ("request_gives", "containers_are_well"), check.title


def test_a_stack_is_proven_by_its_containers_and_a_request_for_each_service(site: Site) -> None:
    all_titles = titles(site, "stack:shop")
    assert "service on worker: containers of shop-production" in all_titles
    assert "http on control: the stack shop-production on worker in Portainer" in all_titles
    shop = next(service for service in site.services if service.name == "shop")
    assert {check.title for check in service_checks(site, shop)} <= all_titles
    assert any(title.startswith("http on phoenix: https://shop.") for title in all_titles)
    assert not any("portainer.internal.thinkheads.ai" in title for title in all_titles), all_titles


def test_a_guest_is_proven_by_its_own_checks_and_its_services(site: Site) -> None:
    all_titles = titles(site, "guest:worker")
    assert {check.title for check in checks(site) if check.host == "worker"} <= all_titles
    assert titles(site, "service:shop") <= all_titles
    assert "tcp on phoenix: ports of worker that are not for phoenix" in all_titles


def test_who_makes_the_checks_is_in_the_site_s_order(site: Site) -> None:
    assert provers(site, ["component:traefik"]) == ("proxy",)
    assert provers(site, ["component:nginx"]) == ("phoenix", "gateway")
    assert provers(site, ["stack:shop"]) == ("phoenix", "gateway", "proxy", "control", "worker")


def test_what_means_nothing_is_an_error(site: Site) -> None:
    with pytest.raises(NameLookupError, match="nothing to prove is called 'stack:shpo'"):
        proof(site, ["stack:shpo"])
