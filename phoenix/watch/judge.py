"""Which faults are real, when each began and ended, and what is told of it. Pure.

A fault counts after a second look of every host that reports: by then the first cause is known,
whichever host noticed first. It is over when its own check is well and all have looked again. A
fault that comes and goes is reported three times an hour.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from phoenix.watch import disks
from phoenix.watch.causes import (
    Check,
    Findings,
    Outcome,
    RootCause,
    causes,
    left_out,
    outcome_of,
    walk,
    warnings,
)
from phoenix.watch.issued import foreign
from phoenix.watch.plan import Fix, Plan
from phoenix.watch.report import Report, Run, Validity

SILENT_INTERVALS, SILENT_MORE, SILENT_LEAST = 2.5, 10, 90
"""A host is silent after so many intervals and seconds without a report, and not before so many
seconds: a round of checks waits where another host does not answer at all."""
FIRST_SECONDS = 300
"""For a host that was never heard: the run that sets up the watcher comes to the host later."""
MAINTENANCE_SECONDS = 7200
"""A run that holds the site's lock for longer hides no fault any more."""
HOUR = 3600
FLAPS, QUIET_SECONDS = 3, 900
"""A fault that began so often within an hour is over when it was well for so many seconds."""
REPORTS_CHECK = Check("the watcher", "reach", "reports of the site's hosts", ())
"""The check that fails when most hosts are silent at once."""
ISSUED = "certificates that the CA issued"
"""What a warning of one that nobody asked for is about."""
ISSUED_SECONDS = 2 * 86_400
"""Of certificates that are older, hosts no longer report the keys (`phoenix-watch`)."""
_SHOWN = 5
_LONGEST = 300

Severity = Literal["fault", "warning"]
Kind = Literal["failure", "warning", "success", "info"]
"""Of a message, as Apprise calls it."""


@dataclass(frozen=True)
class Arrival:
    """A report, and when it came: seconds since 1970 by the watcher's clock."""

    report: Report
    at: float

    @property
    def began(self) -> float:
        """The earliest moment that it tells of, by the watcher's clock."""
        return self.at - (self.report.took or 0) - 1


@dataclass(frozen=True)
class Message:
    """What people are told."""

    kind: Kind
    title: str
    body: str


@dataclass
class Known:
    """A cause that was seen. Times are seconds since 1970, by the watcher's clock.

    Attributes:
        severity: a warning breaks nothing yet.
        host: the one that found it.
        layer: of its check.
        hop: what was checked.
        text: what was seen.
        breaks: names of the paths that it stops.
        since: when it was first seen; in a sync, when it was last seen.
        told: whether people know of it.
        well_since: since when its check is well; None while it is not.
        begins: when it began, within the last hour.
    """

    severity: Severity
    host: str
    layer: str
    hop: str
    text: str
    breaks: list[str]
    since: float
    told: bool = False
    well_since: float | None = None
    begins: list[float] = field(default_factory=list)

    @property
    def title(self) -> str:
        """The title of the check that found it."""
        return f"{self.layer} on {self.host}: {self.hop}"


@dataclass
class State:
    """What the watcher remembers.

    Attributes:
        at: when it last looked; None: never.
        began: since when it has looked without a break.
        locked_since: since when a run of the site is at work; None where none is.
        known: causes, by severity and title.
        past: when causes began that are over, by the same key.
        disks: by host and place, how full file systems were.
        held: hosts whose reports it had then.
    """

    at: float | None = None
    began: float = 0
    locked_since: float | None = None
    known: dict[str, Known] = field(default_factory=dict)
    past: dict[str, list[float]] = field(default_factory=dict)
    disks: dict[str, dict[str, disks.Samples]] = field(default_factory=dict)
    held: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """As `from_json` reads it."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> State:
        """The state that `to_json` wrote.

        Raises:
            TypeError: it is of another form.
        """
        known = {key: Known(**entry) for key, entry in data.get("known", {}).items()}
        return cls(**{**data, "known": known})


@dataclass(frozen=True)
class Observed:
    """What the newest reports say of the site now.

    Attributes:
        newest: the reports of hosts that are watched.
        silent: hosts that do not report, and since when in words.
        outcomes: of all checks that were made.
        causes: faults that no other explains, the first one to fix first.
        warned: outcomes with a warning.
    """

    newest: Mapping[str, Arrival]
    silent: Mapping[str, str]
    outcomes: tuple[Outcome, ...]
    causes: tuple[RootCause, ...]
    warned: tuple[Outcome, ...]

    @property
    def findings(self) -> Findings:
        """For `phoenix.watch.causes.walk`."""
        return Findings(self.outcomes, self.silent)

    @property
    def certificates(self) -> dict[str, Mapping[str, Validity]]:
        """What each host holds, by its name and that of the certificate."""
        return {host: arrival.report.certificates for host, arrival in self.newest.items()}

    @property
    def runs(self) -> dict[str, Run]:
        """The last run of each kind, as the host tells that remembers them."""
        return {
            kind: run
            for arrival in self.newest.values()
            for kind, run in arrival.report.runs.items()
        }


def silence_limit(interval: int) -> float:
    """Seconds without a report after which a host is silent.

    Args:
        interval: seconds between two reports.
    """
    return max(SILENT_INTERVALS * interval + SILENT_MORE, SILENT_LEAST)


def observe(plan: Plan, arrivals: Mapping[str, Arrival], state: State, now: float) -> Observed:
    """What the newest reports say; `state` learns when this was, and how full disks are.

    Args:
        plan: the site.
        arrivals: the newest report of each host that ever reported.
        state: what was known before; it is changed.
        now: seconds since 1970.
    """
    longest = silence_limit(plan.interval)
    newest = {
        host: Arrival(arrival.report, min(arrival.at, now))
        for host, arrival in arrivals.items()
        if host in plan.lists
    }
    off = state.at is None or not 0 <= now - state.at <= longest  # or its clock was set
    booted = any(host in plan.lists and host not in newest for host in state.held)
    if off or booted:  # reports are kept in memory: nobody counts as heard from before
        state.began = now
    state.at, state.held = now, sorted(newest)
    unheard = {
        host: now - max(newest[host].at if host in newest else 0, state.began)
        for host in plan.hosts
    }
    silent = {
        host: f"has not reported for {_words(seconds)}"
        for host, seconds in unheard.items()
        if seconds > (longest if host in newest else max(longest, FIRST_SECONDS))
    }
    # Hosts report at moments of their own: of those that went silent together, each has been
    # unheard for so long at least when the first of them is silent.
    together = longest - plan.interval - SILENT_MORE
    late = [
        host
        for host, seconds in unheard.items()
        if host in silent or (host in newest and seconds > together)
    ]
    reported = tuple(
        outcome
        for host, arrival in newest.items()
        if host not in silent
        for outcome in _outcomes(plan, arrival.report)
    )
    by_check = {outcome.check: outcome for outcome in reported}
    unneeded = left_out(by_check[check] for check in plan.checks if check in by_check)
    outcomes = tuple(outcome for outcome in reported if outcome.check not in unneeded)
    _remember_disks(plan, state, newest, now)
    return Observed(
        newest,
        silent,
        outcomes,
        tuple(_faults(plan, outcomes, silent, late)),
        (*_warnings(plan, outcomes, state, newest), *_foreign(plan, newest, now)),
    )


def messages_of(plan: Plan, observed: Observed, state: State, now: float) -> list[Message]:
    """What is to be told of it; `state` goes on.

    Args:
        plan: the site.
        observed: what the newest reports say.
        state: what was known before; it is changed.
        now: seconds since 1970.
    """
    newest, silent, outcomes = observed.newest, observed.silent, observed.outcomes
    now_wrong = {
        **{_key("fault", cause.outcome.check): ("fault", cause) for cause in observed.causes},
        **{
            _key("warning", warning.check): (
                "warning",
                RootCause(warning, (warning.check.host,), ()),
            )
            for warning in observed.warned
        },
    }
    looked = min(
        # A host without a report has not looked yet.
        (newest[host].began if host in newest else 0 for host in plan.hosts if host not in silent),
        default=now,
    )
    well = {
        key
        for outcome in outcomes
        if not outcome.fault  # earlier releases remembered all of them by title
        for key in (_key("fault", outcome.check), f"fault: {outcome.check.title}")
    }
    # A warning that became a fault is not over.
    well |= {
        _key("warning", outcome.check)
        for outcome in outcomes
        if not (outcome.warning or outcome.fault)
    }
    known_checks = {check.title for check in plan.checks}
    locked = _locked(state, newest, silent, now)
    messages = list(_begun(plan, state, now_wrong, looked, locked=locked, now=now))
    for key, alarm in list(state.known.items()):
        if key in now_wrong:
            continue
        if not alarm.told:
            del state.known[key]
        elif alarm.host not in (*plan.hosts, REPORTS_CHECK.host) or _is_well(
            alarm, key, well, known_checks, newest, silent, plan.hosts
        ):  # a host that left the site tells nothing more
            messages += _over(plan, state, key, looked, now)
        else:  # it is hidden behind another cause, or nobody tells
            alarm.well_since = None
    state.past = {key: _recent(times, now) for key, times in state.past.items()}
    state.past = {key: times for key, times in state.past.items() if times}
    return messages


def _outcomes(plan: Plan, report: Report) -> Iterator[Outcome]:
    own_checks = plan.made_on(report.host)
    whole = Check(report.host, "service", "its report", ("report_is_whole",), target=report.host)
    if report.plan != plan.lists[report.host]:
        yield Outcome(whole, "it makes other checks than the watcher knows: phoenix sync watch")
    elif report.took is None or len(report.outcomes) != len(own_checks):
        yield Outcome(whole, f"{len(report.outcomes)} of {len(own_checks)} checks were made")
    else:
        yield Outcome(whole, "")
        yield from map(outcome_of, own_checks, report.outcomes)


def _faults(
    plan: Plan, outcomes: Sequence[Outcome], silent: Mapping[str, str], late: Sequence[str]
) -> Iterator[RootCause]:
    """The first cause of each fault; most hosts silent at once are one cause.

    Args:
        plan: the site.
        outcomes: of the hosts that report.
        silent: those that do not, and since when in words.
        late: those, and others that should have reported meanwhile.
    """
    walked = walk(plan.paths, Findings(outcomes, silent))
    places = {check: number for number, check in enumerate(plan.checks)}
    first_causes = causes(walked, silent, places)
    most = bool(silent) and len(late) > 2 and 2 * len(late) > len(plan.hosts)
    if most:
        text = f"{len(late)} of {len(plan.hosts)} hosts do not report: {', '.join(late)}"
        yield RootCause(Outcome(REPORTS_CHECK, text), (REPORTS_CHECK.host,), ())
    for cause in first_causes:
        if not (most and cause.outcome.check.layer == "reach"):
            yield cause
    on_paths = {check for path in plan.paths for check in path.checks}
    for outcome in outcomes:
        if outcome.fault and outcome.check not in on_paths:
            yield RootCause(outcome, (outcome.check.host,), ())


def _warnings(
    plan: Plan, outcomes: Sequence[Outcome], state: State, newest: Mapping[str, Arrival]
) -> Iterator[Outcome]:
    yield from warnings(walk(plan.paths, Findings(outcomes)), outcomes)
    for host, arrival in newest.items():
        for place, text in disks.warnings(state.disks.get(host, {}), arrival.report.disks).items():
            yield _beside(host, f"how {place} fills", text)
        for subject, text in arrival.report.warnings.items():
            yield _beside(host, subject, text)


def _foreign(plan: Plan, newest: Mapping[str, Arrival], now: float) -> Iterator[Outcome]:
    """What the CA has issued in the last days to a key that no guest has made.

    A host that reports no notes is not judged: `phoenix.watch.issued`.
    """
    notes = {
        (host, name): asked
        for host, arrival in newest.items()
        for name, asked in arrival.report.asked.items()
    }
    for host, arrival in newest.items():
        recent = [
            certificate
            for certificate in arrival.report.issued
            if certificate.not_after.timestamp() > now
            and certificate.not_before.timestamp() >= now - ISSUED_SECONDS
        ]
        if text := foreign(plan.owners, recent, notes):
            yield _beside(host, ISSUED, text)


def _beside(host: str, subject: str, text: str) -> Outcome:
    """A warning that no check gives."""
    return Outcome(Check(host, "service", subject, ("told",), target=host), "", text)


def _key(severity: Severity, check: Check) -> str:
    """What a cause is remembered by: one that several hosts tell is one, whoever tells it."""
    return f"{severity}: {check.question or check.title}"


def _locked(
    state: State, newest: Mapping[str, Arrival], silent: Mapping[str, str], now: float
) -> bool:
    locked = any(arrival.report.locked for host, arrival in newest.items() if host not in silent)
    state.locked_since = (state.locked_since or now) if locked else None
    return state.locked_since is not None and now - state.locked_since <= MAINTENANCE_SECONDS


def _begun(
    plan: Plan, state: State, now_wrong: Mapping[str, tuple[str, RootCause]], looked: float, *,
    locked: bool, now: float,
) -> Iterator[Message]:  # fmt: skip
    for key, (severity, cause) in now_wrong.items():
        check = cause.outcome.check
        text = cause.outcome.fault or cause.outcome.warning
        known = state.known.get(key)
        if known is None:
            known = Known(
                "fault" if severity == "fault" else "warning",
                *(check.host, check.layer, check.hop, text, list(cause.breaks), now),
            )
            state.known[key] = known
        known.well_since = None
        if known.told:
            continue
        known.text, known.breaks = text, list(cause.breaks)
        # Hosts that were silent together come back one after the other.
        returns = (
            check.layer == "reach"
            and check != REPORTS_CHECK
            and _key("fault", REPORTS_CHECK) in state.known
        )
        if locked or returns:  # a sync stops and starts what it changes: it counts from its end on
            known.since = now
        elif looked > known.since or check.layer == "reach":  # silence has lasted for long already
            known.told = True
            known.begins = [*_recent(state.past.pop(key, []), now), now]
            yield _alarm(plan, known)


def _is_well(
    alarm: Known, key: str, well: set[str], known_checks: set[str],
    newest: Mapping[str, Arrival], silent: Mapping[str, str], hosts: Sequence[str],
) -> bool:  # fmt: skip
    """Whether a cause that no look finds any more is over: its own check says so.

    A way in, a disk's trend, and what left the declaration have no check. For them a whole report
    without the cause says so; for certificates, together with the notes of all hosts.
    """
    if alarm.hop == ISSUED and any(host not in newest for host in hosts):
        return False
    if alarm.layer == "reach" or alarm.title not in known_checks:
        reports_whole = alarm.host in newest and newest[alarm.host].report.took is not None
        return alarm.host not in silent and (reports_whole or alarm.layer == "reach")
    return key in well


def _over(plan: Plan, state: State, key: str, looked: float, now: float) -> Iterator[Message]:
    alarm = state.known[key]
    if alarm.well_since is None:
        alarm.well_since = now
    comes_and_goes = len(_recent(alarm.begins, now)) >= FLAPS
    quiet = now - alarm.well_since >= (QUIET_SECONDS if comes_and_goes else 0)
    if looked > alarm.well_since and quiet:
        del state.known[key]
        state.past[key] = alarm.begins
        yield Message(
            "success",
            f"[{plan.domain}] over: {alarm.host}: {alarm.hop}",
            f"It is over after {_words(now - alarm.begins[-1])}. It was: {_short(alarm.text)}",
        )


def _alarm(plan: Plan, alarm: Known) -> Message:
    lines = [f"{alarm.hop} on {alarm.host}: {_short(alarm.text)}"]
    if alarm.breaks:
        more = len(alarm.breaks) - _SHOWN
        lines.append(
            "It breaks: "
            + "; ".join(alarm.breaks[:_SHOWN])
            + (f"; and {more} more" if more > 0 else "")
        )
    fix = plan.fix(alarm.title, alarm.text) or Fix("", ())
    if fix.advice:
        lines += [f"Likely fix: {fix.advice}", *(f"  {command}" for command in fix.commands)]
    if len(alarm.begins) >= FLAPS:
        lines.append(
            f"It comes and goes: {len(alarm.begins)} times within an hour. The next word of "
            "it comes "
            f"when it was well for {QUIET_SECONDS // 60} minutes."
        )
    kind: Kind = "failure" if alarm.severity == "fault" else "warning"
    return Message(
        kind,
        f"[{plan.domain}] {alarm.severity}: {alarm.host}: {alarm.hop}",
        "\n".join(lines),
    )


def _remember_disks(plan: Plan, state: State, newest: Mapping[str, Arrival], now: float) -> None:
    """A host without a report yet, as after the watcher's boot, keeps the samples that it has."""
    known = {host: places for host, places in state.disks.items() if host in plan.lists}
    state.disks = known | {
        host: (known.get(host, {}) if arrival.report.took is None else {})  # it was cut off
        | {
            place: disks.added(state.disks.get(host, {}).get(place, []), int(now), room.used)
            for place, room in arrival.report.disks.items()
        }
        for host, arrival in newest.items()
    }


def _recent(times: Sequence[float], now: float) -> list[float]:
    return [time for time in times if 0 <= now - time <= HOUR]


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _words(seconds: float) -> str:
    """A time as people say it."""
    whole = max(0, round(seconds))
    for unit, size in (("day", 86_400), ("hour", HOUR), ("minute", 60)):
        if whole >= 2 * size:
            return f"{whole // size} {unit}s"
    return f"{whole} seconds"
