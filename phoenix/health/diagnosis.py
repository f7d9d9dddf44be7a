"""What is broken, and the cause that explains the rest: pure, from the outcomes of checks.

The one place that decides these: the start page, `phoenix status`, `phoenix doctor` and the verdict
of `deploys/verify.py` show what is found here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from phoenix.health.advice import Fix, likely_fix
from phoenix.health.checks import LAYERS, Check, Outcome, checks
from phoenix.health.paths import CheckedPath, Hop
from phoenix.site.model import Frozen, Site

HopState = Literal["ok", "broken", "follows", "unknown"]
"""`follows`: it fails as well, behind a broken hop; `unknown`: who should ask cannot be asked."""
State = Literal["ok", "broken", "unknown"]


class Fault(Frozen):
    """What one check found: `host` made it, `hop` says what it is about."""

    layer: str
    host: str
    hop: str
    fault: str

    @property
    def brief(self) -> str:
        """Where it is, without what was seen there."""
        return f"{self.host}: {self.hop}"

    @property
    def summary(self) -> str:
        """What is wrong, in one line."""
        return f"{self.hop}: {self.fault}"


class Cause(Fault):
    """A fault that no other one explains. `seen_by`: all hosts that found it, `host` among them.

    `breaks` are the names of the paths that it stops.
    """

    seen_by: tuple[str, ...]
    breaks: tuple[str, ...]
    fix: Fix


class HopReport(Frozen):
    """One hop as it was found, with its lowest fault; None where all is well."""

    source: str
    target: str
    what: str
    state: HopState
    fault: Fault | None


class PathReport(Frozen):
    """One path as it was found. `cause`: the fault of its first broken hop, None if all is well.

    A request that arrived as a whole is well, even if a host on its way does not let the operator
    in, so that a hop is `unknown`.
    """

    kind: str
    name: str
    state: State
    cause: Fault | None
    hops: tuple[HopReport, ...]


class Diagnosis(Frozen):
    """Everything found: causes with the first one first, and every path that was asked for.

    `warnings` are what checks on these paths found that will be a fault; they break nothing yet.
    """

    causes: tuple[Cause, ...]
    paths: tuple[PathReport, ...]
    warnings: tuple[Fault, ...] = ()

    @property
    def first_cause(self) -> Cause | None:
        """The one to fix first."""
        return self.causes[0] if self.causes else None

    def by_path(self) -> dict[str, PathReport]:
        """The reports by the name of their path."""
        return {report.name: report for report in self.paths}


@dataclass(frozen=True)
class Findings:
    """What a run brought back. `silent`: hosts that could not be asked, and why."""

    outcomes: Sequence[Outcome]
    silent: Mapping[str, str] = field(default_factory=dict)

    def by_check(self) -> dict[Check, Outcome]:
        """Outcomes by their check."""
        return {outcome.check: outcome for outcome in self.outcomes}


def no_answer(host: str, reason: str) -> Outcome:
    """The outcome of a host that could not be asked."""
    return Outcome(Check(host, "reach", "its own checks", (), target=host), reason)


def lowest(outcomes: Iterable[Outcome]) -> Outcome | None:
    """The fault of the lowest layer, of several the first; None where there is no fault."""
    return min((outcome for outcome in outcomes if outcome.fault), key=_rank, default=None)


def diagnose(site: Site, walked: Sequence[CheckedPath], findings: Findings) -> Diagnosis:
    """Walk the paths in order, and find the causes.

    On each path it is the first broken hop's lowest fault; over all paths the causes are ordered
    by layer, since a lower one explains a higher one across paths, too: a CA that stopped
    explains a certificate that expired elsewhere. What must be refused and is not explains
    nothing, and comes last.
    """
    outcomes, silent = findings.by_check(), findings.silent
    reports: list[PathReport] = []
    causes: list[tuple[CheckedPath | None, Outcome]] = []
    for path in walked:
        report, cause = _walk(path, outcomes, silent)
        reports.append(report)
        if cause is not None:
            causes.append((path, cause))
    causing = {cause.check.host for _, cause in causes if cause.check.layer == "reach"}
    on_paths = {host for path in walked for host in path.hosts} if silent else set()
    untold = [no_answer(host, why) for host, why in silent.items() if host in on_paths - causing]
    return Diagnosis(
        causes=_grouped(site, [*((None, outcome) for outcome in untold), *causes]),
        paths=tuple(reports),
        warnings=_warnings(walked, findings.outcomes),
    )


def _warnings(walked: Sequence[CheckedPath], outcomes: Sequence[Outcome]) -> tuple[Fault, ...]:
    on_paths = {check for path in walked for check in path.checks}
    return tuple(
        Fault(
            layer=outcome.check.layer,
            host=outcome.check.host,
            hop=outcome.check.hop,
            fault=outcome.warning,
        )
        for outcome in outcomes
        if outcome.warning and outcome.check in on_paths
    )


def _walk(
    path: CheckedPath, outcomes: Mapping[Check, Outcome], silent: Mapping[str, str]
) -> tuple[PathReport, Outcome | None]:
    hops: list[HopReport] = []
    cause: Outcome | None = None
    broken = False
    for hop in path.hops:
        fault, state = _judge(hop, outcomes, silent)
        if state == "broken" and broken:
            state = "follows"
        elif state == "broken":
            cause, broken = fault, True
        elif state == "unknown" and cause is None:
            cause = fault
        hops.append(
            HopReport(
                source=hop.source, target=hop.target, what=hop.what, state=state,
                fault=fault_of(fault),
            )
        )  # fmt: skip
    hidden = any(hop.state == "unknown" for hop in hops)
    arrived = path.kind == "request" and hops[-1].state == "ok"
    state_of_path: State = "broken" if broken else "unknown" if hidden and not arrived else "ok"
    if state_of_path == "ok":
        cause = None
    report = PathReport(
        kind=path.kind, name=path.name, state=state_of_path, cause=fault_of(cause), hops=tuple(hops)
    )
    return report, cause


def _judge(
    hop: Hop, outcomes: Mapping[Check, Outcome], silent: Mapping[str, str]
) -> tuple[Outcome | None, HopState]:
    """The hop's lowest fault, and its state by itself.

    A hop whose checks all pass is well, even if a host on it does not let the operator in.
    """
    observed = [outcomes[check] for check in hop.checks if check in outcomes]
    is_broken = any(outcome.fault for outcome in observed)
    if not is_broken and len(observed) == len(hop.checks):
        return None, "ok"
    not_asked = [no_answer(host, silent[host]) for host in sorted(hop.hosts & silent.keys())]
    return lowest([*not_asked, *observed]), "broken" if is_broken else "unknown"


def _rank(outcome: Outcome) -> int:
    return LAYERS.index(outcome.check.layer)


def fault_of(outcome: Outcome | None) -> Fault | None:
    """What an outcome says, as it is told; None where there is no fault."""
    if outcome is None:
        return None
    check = outcome.check
    return Fault(layer=check.layer, host=check.host, hop=check.hop, fault=outcome.fault)


def _grouped(site: Site, causes: Sequence[tuple[CheckedPath | None, Outcome]]) -> tuple[Cause, ...]:
    """Each fault once, with all who saw it and all that it breaks; the first cause first."""
    if not causes:
        return ()
    places = {check: number for number, check in enumerate(checks(site))}
    groups: dict[tuple[str, str, str], list[tuple[CheckedPath | None, Outcome]]] = {}
    for path, outcome in causes:
        groups.setdefault(_sameness(outcome), []).append((path, outcome))

    def place(outcome: Outcome) -> int:
        return places.get(outcome.check, -1)

    def rank(group: Sequence[tuple[CheckedPath | None, Outcome]]) -> tuple[bool, int, int]:
        guards_only = all(path is not None and path.kind == "guard" for path, _ in group)
        return guards_only, _rank(group[0][1]), min(place(outcome) for _, outcome in group)

    result = []
    for group in sorted(groups.values(), key=rank):
        first = min((outcome for _, outcome in group), key=place)
        check = first.check
        result.append(
            Cause(
                host=check.host,
                layer=check.layer,
                hop=check.hop,
                fault=first.fault,
                seen_by=tuple(dict.fromkeys(outcome.check.host for _, outcome in group)),
                breaks=tuple(dict.fromkeys(path.name for path, _ in group if path is not None)),
                fix=likely_fix(site, check, first.fault),
            )
        )
    return tuple(result)


def _sameness(outcome: Outcome) -> tuple[str, str, str]:
    """Equal for one fault as several hosts see it.

    Units and ways in that are down say the same of themselves: there the host and its hop count.
    """
    check = outcome.check
    if check.layer in ("reach", "service"):
        return check.layer, check.function, check.title
    return check.layer, check.function, outcome.fault
