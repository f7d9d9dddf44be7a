"""The start page's data as the watcher sees the site now. Pure.

It has the form of `phoenix.health.page.Page`, which names the fields. The page is open to whoever
reaches it, so what the checks heard (log lines, answers) stays here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from phoenix.watch.causes import Check, Outcome, State, WalkedPath, lowest, without_spared
from phoenix.watch.history import History
from phoenix.watch.judge import Observed
from phoenix.watch.plan import Plan

OLD_SECONDS = 90
"""A page that is older than this says so: the watcher looks each 15 seconds at most."""
EVERYTHING = "everything"


def service_states(plan: Plan, walked: Iterable[WalkedPath]) -> dict[str, State]:
    """How each service of the page is, by its name."""
    by_path = {report.path.name: report for report in walked}
    return {
        service["name"]: by_path[service["path"]].state if service["path"] in by_path else "unknown"
        for service in plan.services
    }


def page(
    plan: Plan, observed: Observed, *, walked: Sequence[WalkedPath], history: History,
    working: bool, now: float,
) -> dict[str, Any]:  # fmt: skip
    """What the page tells now.

    Args:
        plan: the site.
        observed: what the newest reports say.
        walked: the plan's paths with these outcomes.
        history: of the services.
        working: whether a run of the site is at work.
        now: seconds since 1970.
    """
    outcomes = {outcome.check: outcome for outcome in observed.outcomes}
    paths = {report.path.name: report for report in walked}
    first = observed.causes[0].outcome if observed.causes else None
    services = []
    for service in plan.services:
        path = paths.get(service["path"])
        health = _health(
            path.path.checks if path else (), outcomes,
            cause=path.cause if path else None, state=path.state if path else "unknown",
        )  # fmt: skip
        row = {key: value for key, value in service.items() if key != "path"}
        row |= {
            "health": health,
            "certificate_until": None,
            "history": history.of(service["name"], now),
        }
        services.append(row)
    last = observed.runs.get("deploy")
    data = {
        "domain": plan.domain,
        "environment": plan.environment,
        "health": _health(plan.checks, outcomes, cause=first),
        "services": services,
        "certificates": [],
        "hosts": [
            {**host, "health": _of_host(plan.made_on(host["name"]), outcomes)}
            for host in plan.machines
        ],
        "revision": {"commit": None, "dirty": False},
        "stamp": {"at": utc(now), "by": "", "old_at": utc(now + OLD_SECONDS)},
        "warnings": [
            {"host": outcome.check.host, "hop": outcome.check.hop} for outcome in observed.warned
        ],
        "seen_by": "watch",
        "working": working,
        "held": [
            {"holder": host, "name": name, "not_after": utc(dates.not_after)}
            for host, held in observed.certificates.items()
            for name, dates in held.items()
        ],
        "last_deploy": last
        and {
            "ended": utc(last.ended), "by": last.by, "result": last.result, "commit": last.commit,
        },
    }  # fmt: skip
    return data if plan.tells == EVERYTHING else for_strangers(data)


def for_strangers(page: Mapping[str, Any]) -> dict[str, Any]:
    """What is left of a page for readers who are not to learn how the site is made.

    Services, how they are and when that was seen; no host, address, certificate, operator or
    revision.
    """

    def without_cause(health: Mapping[str, Any]) -> dict[str, Any]:
        return {**health, "first_cause": None}

    return {
        **page,
        "health": without_cause(page["health"]),
        "services": [
            {
                **service,
                "owner": "",
                "stack": None,
                "health": without_cause(service["health"]),
                "certificate_until": None,
            }
            for service in page["services"]
        ],
        "certificates": [],
        "held": [],
        "hosts": [],
        "revision": {"commit": None, "dirty": False},
        "stamp": {**page["stamp"], "by": ""},
        "warnings": [],
        "last_deploy": None,
    }


def utc(seconds: float) -> str:
    """A time for people and programs (ISO 8601)."""
    return datetime.fromtimestamp(int(seconds), UTC).isoformat()


def _of_host(checks: Sequence[Check], outcomes: Mapping[Check, Outcome]) -> dict[str, Any]:
    return _health(
        checks, outcomes, cause=lowest(outcomes[check] for check in checks if check in outcomes)
    )


def _health(
    checks: Sequence[Check], outcomes: Mapping[Check, Outcome], *, cause: Outcome | None,
    state: State | None = None,
) -> dict[str, Any]:  # fmt: skip
    checks = without_spared(checks, outcomes)
    run = [outcomes[check] for check in checks if check in outcomes]
    failed = sum(1 for outcome in run if outcome.fault)
    not_run = len(checks) - len(run)
    health = state or ("broken" if failed else "unknown" if not_run else "ok")
    check = cause.check if cause else None
    return {
        "state": health,
        "checks": len(checks),
        "failed": failed,
        "not_run": not_run,
        "first_cause": check and {"host": check.host, "layer": check.layer, "hop": check.hop},
    }
