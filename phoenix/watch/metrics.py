"""What the watcher knows, for Prometheus and others: OpenMetrics 1.0. Pure.

The form: https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from phoenix.watch.causes import State
from phoenix.watch.judge import Known, Observed
from phoenix.watch.plan import Plan

CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_KIBIBYTE = 1024


class Family(NamedTuple):
    """Gauges of one name: labels in order, and values by the labels' values."""

    name: str
    help: str
    labels: tuple[str, ...]
    samples: Mapping[tuple[str, ...], float]


def text(
    plan: Plan, observed: Observed, *, states: Mapping[str, State], known: Iterable[Known],
    working: bool, waiting: int, now: float,
) -> str:  # fmt: skip
    """All metrics of a look.

    Args:
        plan: the site.
        observed: what the newest reports say.
        states: of each service, by its name; what is unknown has no sample.
        known: the causes that the watcher remembers.
        working: whether a run of the site is at work.
        waiting: how many messages a place did not take yet.
        now: seconds since 1970.
    """
    families = (
        Family(
            "phoenix_watcher_looked_timestamp_seconds", "When the watcher last looked.",
            (), {(): int(now)},
        ),
        *_hosts(plan, observed),
        Family(
            "phoenix_check_ok", "Whether a check of a host found all well.",
            ("host", "layer", "check"),
            {
                (outcome.check.host, outcome.check.layer, outcome.check.hop): float(
                    not outcome.fault
                )
                for outcome in observed.outcomes
            },
        ),
        Family(
            "phoenix_service_ok", "Whether a request for a service arrives as it should.",
            ("service",),
            {(name,): float(state == "ok") for name, state in states.items() if state != "unknown"},
        ),
        Family(
            "phoenix_fault", "A first cause that was told and is not over.",
            ("severity", "host", "layer", "check"),
            {
                (alarm.severity, alarm.host, alarm.layer, alarm.hop): 1.0
                for alarm in known
                if alarm.told
            },
        ),
        *_certificates(observed),
        *_runs(observed),
        Family(
            "phoenix_run_at_work", "Whether a run of Phoenix holds the site's lock.",
            (), {(): float(working)},
        ),
        Family(
            "phoenix_alarms_waiting", "Messages that a place did not take yet.",
            (), {(): waiting},
        ),
    )  # fmt: skip
    return "".join(f"{line}\n" for family in families for line in _lines(family)) + "# EOF\n"


def _hosts(plan: Plan, observed: Observed) -> Iterator[Family]:
    yield Family(
        "phoenix_host_silent", "Whether a host does not report.",
        ("host",), {(host,): float(host in observed.silent) for host in plan.hosts},
    )  # fmt: skip
    yield Family(
        "phoenix_host_reported_timestamp_seconds", "When a host's newest report came.",
        ("host",), {(host,): int(arrival.at) for host, arrival in observed.newest.items()},
    )  # fmt: skip
    rooms = {
        (host, path): room
        for host, arrival in observed.newest.items()
        for path, room in arrival.report.disks.items()
    }
    yield Family(
        "phoenix_filesystem_used_bytes", "What is used of a file system.",
        ("host", "path"), {place: room.used * _KIBIBYTE for place, room in rooms.items()},
    )  # fmt: skip
    yield Family(
        "phoenix_filesystem_available_bytes", "What may still be written to a file system.",
        ("host", "path"), {place: room.left * _KIBIBYTE for place, room in rooms.items()},
    )  # fmt: skip


def _certificates(observed: Observed) -> Iterator[Family]:
    dates = {
        (host, name): validity
        for host, held in observed.certificates.items()
        for name, validity in held.items()
    }
    labels = ("host", "certificate")
    yield Family(
        "phoenix_certificate_not_before_timestamp_seconds", "From when on it is valid.",
        labels, {key: pair.not_before for key, pair in dates.items()},
    )  # fmt: skip
    yield Family(
        "phoenix_certificate_not_after_timestamp_seconds", "Until when it is valid.",
        labels, {key: pair.not_after for key, pair in dates.items()},
    )  # fmt: skip


def _runs(observed: Observed) -> Iterator[Family]:
    runs = observed.runs
    yield Family(
        "phoenix_run_ok", "Whether the last run of this kind succeeded.",
        ("kind",), {(kind,): float(run.result == "ok") for kind, run in runs.items()},
    )  # fmt: skip
    yield Family(
        "phoenix_run_ended_timestamp_seconds", "When the last run of this kind ended.",
        ("kind",), {(kind,): run.ended for kind, run in runs.items()},
    )  # fmt: skip
    yield Family(
        "phoenix_run_succeeded_timestamp_seconds", "When one of this kind last succeeded.",
        ("kind",), {(kind,): run.succeeded for kind, run in runs.items() if run.succeeded},
    )  # fmt: skip


def _lines(family: Family) -> Iterator[str]:
    yield f"# TYPE {family.name} gauge"
    unit = family.name.rpartition("_")[2]
    if unit in ("seconds", "bytes"):
        yield f"# UNIT {family.name} {unit}"
    yield f"# HELP {family.name} {family.help}"
    for values, number in family.samples.items():
        pairs = ",".join(
            f'{label}="{_escaped(value)}"'
            for label, value in zip(family.labels, values, strict=True)
        )
        value = int(number) if number == int(number) else number
        yield f"{family.name}{{{pairs}}} {value}" if pairs else f"{family.name} {value}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
