"""The measure of a lost gateway: what is read from a load, and the site that it declares."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from benchmarks import door
from benchmarks.door_load import Met, met
from phoenix.declaration.load import load_site
from phoenix.derived.routes import route_for_check


def test_silence_is_between_answers_and_what_failed_is_none() -> None:
    log = (
        "10.0 10.1 ok\n10.1 13.6 ok\n10.2 10.9 URLError refused: it\n10.3 13.7 ok\n10.2 11.1 502\n"
    )
    assert met(log) == Met(5, 2, {"URLError refused: it": 1, "502": 1}, gap=3500, slowest=3500)


def test_a_load_without_an_answer_measures_nothing() -> None:
    with pytest.raises(ValueError, match="no request was answered"):
        met("10.0 10.1 502\n")


def test_the_site_is_the_lab_s_with_a_second_gateway_alone(tmp_path: Path) -> None:
    inventory = door.declare(tmp_path)
    site = load_site(inventory.parent, tmp_path / "stacks")
    assert [host.name for host in site.gateways] == ["nginx-phoenix", door.SECOND]
    assert site.virtual_addresses == (IPv4Address("10.0.0.155"),)
    assert {host.kind for host in site.guests} == {"lxc"}
    assert route_for_check(site) is not None


def test_a_goal_that_is_missed_is_told() -> None:
    def reaches_the_goal(failed: int = 1, gap: int = 900) -> bool:
        measured = Met(100, failed, {}, gap, 950)
        rows: list[dict[str, Any]] = [{"fault": "f", "on": "o", "met": [measured._asdict()]}]
        return door.print_report({"times": 1, "faults": rows})

    assert reaches_the_goal()
    assert not reaches_the_goal(failed=door.MOST_FAILED + 1)
    assert not reaches_the_goal(gap=door.MOST_SILENCE + 1)
