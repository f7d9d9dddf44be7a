"""What page, status, doctor, explain and the watcher say of the same faults of a site."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

from phoenix.components.x509 import CertificateInfo
from phoenix.derived.endpoints import endpoints
from phoenix.explain.facts import checks_of_service
from phoenix.health import issued, observation, watch_plan
from phoenix.health.checks import checks, made_on
from phoenix.health.diagnosis import Diagnosis, diagnose
from phoenix.health.observation import Observed
from phoenix.health.page import Page, Stamp
from phoenix.health.page import build as build_page
from phoenix.health.paths import paths, request_paths
from phoenix.health.served import served
from phoenix.health.status import Drift, Status
from phoenix.health.status import build as build_status
from phoenix.runs.revision import NONE
from phoenix.site.memo import once_per_site
from phoenix.site.model import Service, Site
from phoenix.watch import judge, live
from phoenix.watch.causes import Check, Findings, Outcome, WalkedPath, walk
from phoenix.watch.history import History
from phoenix.watch.plan import Plan, from_json
from phoenix.watch.report import Report

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)

Place = tuple[str, str, str]
"""Layer, host and hop of a fault."""


@once_per_site
def plan_of(site: Site) -> Plan:
    """What the watcher knows of the site, as it reads it from its file."""
    return from_json(watch_plan.plan(site, 60, {}).to_json())


@once_per_site
def explained(site: Site) -> Mapping[str, frozenset[str]]:
    """By service, the titles of the checks that explain lists for it."""
    return {s.name: frozenset(checks_of_service(site, s)) for s in site.services}


def requested(site: Site) -> tuple[Service, ...]:
    """The services that a client asks for."""
    return tuple(s for s in site.services if s.name in request_paths(site))


@dataclass
class Told:
    """Faults of a site by the check that finds them, silent hosts, and what is said of both."""

    site: Site
    faults: Mapping[Check, str]
    silent: Collection[str] = ()

    @cached_property
    def _outcomes(self) -> tuple[tuple[Outcome, ...], dict[str, str]]:
        answers = {
            host.name: [self.faults.get(check, "") for check in made_on(self.site, host)]
            for host in self.site.hosts
            if host.name not in self.silent
        }
        seen = Observed({observation.CHECKS: answers}, dict.fromkeys(self.silent, "no route"))
        outcomes, silent = observation.outcomes(self.site, seen, [h.name for h in self.site.hosts])
        of_ca = issued.check(self.site)
        if of_ca.host not in self.silent:
            by_check = {outcome.check: outcome for outcome in outcomes}
            by_check[of_ca] = Outcome(of_ca, self.faults.get(of_ca, ""))
            outcomes = tuple(by_check[c] for c in checks(self.site) if c in by_check)
        return outcomes, silent

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """Of all checks, as a run and `phoenix status` have them."""
        return self._outcomes[0]

    @cached_property
    def doctor(self) -> Diagnosis:
        """Of the whole site."""
        return diagnose(self.site, paths(self.site), Findings(*self._outcomes))

    @cached_property
    def page(self) -> Page:
        """The start page of a run."""
        start, end = NOW - timedelta(hours=4), NOW + timedelta(hours=20)
        leaf = CertificateInfo("x", ("x",), (), "The CA", start, end, "ab12", "", "", is_ca=False)
        records = [served(endpoint, leaf, "") for endpoint in endpoints(self.site)]
        stamp = Stamp(at=NOW, by="ann@desk", old_at=NOW)
        return build_page(self.site, self.outcomes, self.doctor, records, NONE, stamp)

    @cached_property
    def status(self) -> Status:
        """`phoenix status`."""
        observed = Observed({}, self._outcomes[1])
        return build_status(self.site, "a site", observed, self.outcomes, self.doctor, Drift(), NOW)

    @cached_property
    def watcher(self) -> judge.Observed:
        """What the watcher makes of the newest reports."""
        plan, now = plan_of(self.site), NOW.timestamp()
        arrivals = {
            host: judge.Arrival(
                Report(
                    host,
                    plan.lists[host],
                    1,
                    tuple(self.faults.get(c, "") for c in made_on(self.site, self.site.host(host))),
                ),
                now - 600 if host in self.silent else now,
            )
            for host in plan.hosts
        }
        return judge.observe(plan, arrivals, judge.State(at=now - 15, began=now - 3600), now)

    @cached_property
    def watched(self) -> Mapping[str, WalkedPath]:
        """The paths as the watcher finds them, by name."""
        walked = walk(plan_of(self.site).paths, self.watcher.findings)
        return {report.path.name: report for report in walked}

    @cached_property
    def live_page(self) -> Page:
        """The start page that the watcher keeps."""
        with tempfile.TemporaryDirectory() as folder:
            data = live.page(
                plan_of(self.site), self.watcher, walked=tuple(self.watched.values()),
                history=History(Path(folder)), working=False, now=NOW.timestamp(),
            )  # fmt: skip
        return Page.model_validate(data)
