"""The site that `benchmarks.whole` brings up: everything twice, declared soundly."""

from __future__ import annotations

from pathlib import Path

from benchmarks import whole
from benchmarks.door_load import Met
from phoenix.declaration.load import load_site


def test_the_site_has_everything_twice(tmp_path: Path) -> None:
    whole.declare(tmp_path)
    whole.write_stack(tmp_path, "shop:1")
    site = load_site(tmp_path / "inventories", tmp_path / "stacks", environment="production")
    twice = (site.gateways, site.traefiks, site.name_servers)
    assert [len(hosts) for hosts in twice] == [2, 2, 2]
    assert [host.is_manager for host in site.swarm_nodes] == [True] * 3


def test_the_goal_is_for_the_route_that_no_guest_serves_alone() -> None:
    def report(route: int, swarm: int) -> bool:
        rows = [
            {
                "guest": "gateway",
                "fault": "killed",
                "load": load,
                **Met(100, failed, {}, 20, 20)._asdict(),
            }
            for load, failed in (("a route", route), ("the swarm's service", swarm))
        ]
        return whole.print_report({"times": 1, "faults": rows})

    assert report(whole.MOST_FAILED, 50)
    assert not report(whole.MOST_FAILED + 1, 0)
