"""What `phoenix status` tells of the watcher's last look."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pyinfra.api.exceptions import FactProcessError

from facts.watch import WatchersLook
from phoenix.cli.reports.status import watch_lines
from phoenix.health import observation
from phoenix.health.diagnosis import diagnose
from phoenix.health.observation import Observed
from phoenix.health.paths import paths
from phoenix.health.status import Drift, Status, build
from phoenix.site.model import Site
from phoenix.watch.causes import Findings
from tests.unit.site_builder import minimal

NOW = datetime(2026, 11, 26, 4, 10, tzinfo=UTC)


def ago(**time: float) -> str:
    return (NOW - timedelta(**time)).isoformat()


LOOK = {
    "at": ago(minutes=2),
    "working": False,
    "hosts": [
        {"name": "phoenix", "seen": ago(minutes=3)},
        {"name": "gateway", "seen": None},
    ],
    "causes": [
        {
            "severity": "fault", "host": "gateway", "hop": "Nginx", "text": "is inactive",
            "since": ago(hours=1),
        }
    ],
    "places": 1,
    "waiting": 0,
}  # fmt: skip


@pytest.fixture
def site(tmp_path: Path) -> Site:
    declared = minimal()
    declared.lxc.setdefault("site", {})["watcher"] = "hypervisor"
    return declared.load(tmp_path)


def status(site: Site, answer: object) -> Status:
    observed = Observed({observation.WATCH: {site.watched_by: answer}}, {})
    diagnosis = diagnose(site, paths(site), Findings([]))
    return build(site, "site", observed, [], diagnosis, Drift(), NOW)


def test_the_watcher_alone_is_asked_and_none_without_one(site: Site, tmp_path: Path) -> None:
    asked = [host.name for host in site.hosts if observation.request(site, host).watch]
    assert asked == [site.hypervisor.name]
    off = minimal().load(tmp_path / "off")
    assert not [host for host in off.hosts if observation.request(off, host).watch]
    assert watch_lines(status(off, None)) == []


def test_the_last_look_and_the_last_reports_are_shown(site: Site) -> None:
    assert watch_lines(status(site, LOOK)) == [
        "watched: the last look was 2 min ago",
        "  last reports: phoenix 3 min ago, gateway never",
        "  fault since 2026-11-26 03:10 UTC: gateway: Nginx: is inactive",
        "",
    ]
    assert "while a run was at work" in watch_lines(status(site, LOOK | {"working": True}))[0]


def test_alarms_that_reach_nobody_are_told(site: Site) -> None:
    assert "alarms go nowhere" in "".join(watch_lines(status(site, LOOK | {"places": 0})))
    assert "2 messages not delivered yet" in "".join(
        watch_lines(status(site, LOOK | {"waiting": 2}))
    )


def test_a_watcher_that_never_looked_or_does_not_tell_is_no_error(site: Site) -> None:
    assert WatchersLook().parse([]) is None
    assert watch_lines(status(site, None)) == []
    looked = WatchersLook().parse([json.dumps(LOOK)])
    assert looked is not None
    assert looked.model_dump(mode="json")["hosts"][1] == {"name": "gateway", "seen": None}
    for torn in ('{"at": ', '{"at": "2026-11-26T04:10:00Z"}'):
        with pytest.raises(FactProcessError, match="cannot be read"):
            WatchersLook().parse([torn])
