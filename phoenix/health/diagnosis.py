"""What is broken, and the cause that explains the rest: pure, from the outcomes of checks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel, ConfigDict

from phoenix.health.advice import Mend, mend
from phoenix.health.checks import LAYERS, Check, Outcome
from phoenix.health.paths import Hop, Path
from phoenix.site.model import Site

State = Literal["ok", "broken", "follows", "unknown"]
"""`follows`: it fails as well, behind a broken hop; `unknown`: who should ask cannot be asked."""
PathState = Literal["ok", "broken", "unknown"]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Fault(_Model):
    """What one check found: `host` made it, `hop` says what it is about."""

    layer: str
    host: str
    hop: str
    fault: str

    @property
    def brief(self) -> str:
        """Where it is, without what was seen there."""
        return f"{self.host}: {self.hop}"


class Cause(Fault):
    """A fault that no other one explains. `seen_by`: all hosts that found it, `host` among them.

    `breaks` are the names of the paths that it stops.
    """

    seen_by: tuple[str, ...]
    breaks: tuple[str, ...]
    mend: Mend


class HopReport(_Model):
    """One hop as it was found, with its lowest fault; None where all is well."""

    source: str
    target: str
    what: str
    state: State
    fault: Fault | None


class PathReport(_Model):
    """One path as it was found. `cause`: the fault of its first broken hop, None if all is well."""

    kind: str
    name: str
    state: PathState
    cause: Fault | None
    hops: tuple[HopReport, ...]


class Diagnosis(_Model):
    """Everything found: causes with the first one first, and every path that was asked for."""

    causes: tuple[Cause, ...]
    paths: tuple[PathReport, ...]

    @property
    def first_cause(self) -> Cause | None:
        """The one to mend first."""
        return self.causes[0] if self.causes else None


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
    return Outcome(Check(host, "reach", "the operator's way in by SSH", (), host), reason)


def diagnose(site: Site, asked: Sequence[Path], found: Findings) -> Diagnosis:
    """Walk the paths in order, and find the causes.

    On each path it is the first broken hop's lowest fault; over all paths the causes are ordered
    by layer, since a lower one explains a higher one across paths, too: a CA that stopped
    explains a certificate that expired elsewhere. What must be refused and is not explains
    nothing, and comes last.
    """
    outcomes = found.by_check()
    reports, causes = [], []
    for path in asked:
        report, cause = _walk(path, outcomes, found.silent)
        reports.append(report)
        if cause is not None:
            causes.append((path, cause))
    seen = {cause.check.host for _, cause in causes if cause.check.layer == "reach"}
    on_paths = {host for path in asked for host in path.hosts}
    lone = [no_answer(h, why) for h, why in found.silent.items() if h in on_paths - seen]
    return Diagnosis(
        causes=_grouped(site, [*((None, one) for one in lone), *causes], found.outcomes),
        paths=tuple(reports),
    )


def _walk(
    path: Path, outcomes: Mapping[Check, Outcome], silent: Mapping[str, str]
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
                fault=_fault(fault),
            )
        )  # fmt: skip
    hidden = any(hop.state == "unknown" for hop in hops)
    state_of_path: PathState = "broken" if broken else "unknown" if hidden else "ok"
    report = PathReport(
        kind=path.kind, name=path.name, state=state_of_path, cause=_fault(cause), hops=tuple(hops)
    )
    return report, cause


def _judge(
    hop: Hop, outcomes: Mapping[Check, Outcome], silent: Mapping[str, str]
) -> tuple[Outcome | None, State]:
    """The hop's lowest fault, and its state by itself.

    A hop whose checks all pass is well, even if a host on it does not let the operator in.
    """
    made = [outcomes[check] for check in hop.checks if check in outcomes]
    faults = [outcome for outcome in made if outcome.fault]
    if not faults and len(made) == len(hop.checks):
        return None, "ok"
    unasked = [no_answer(host, silent[host]) for host in sorted(hop.hosts & silent.keys())]
    lowest = min([*unasked, *faults], key=_rank, default=None)
    return lowest, "broken" if faults else "unknown"


def _rank(outcome: Outcome) -> int:
    return LAYERS.index(outcome.check.layer)


def _fault(outcome: Outcome | None) -> Fault | None:
    if outcome is None:
        return None
    check = outcome.check
    return Fault(layer=check.layer, host=check.host, hop=check.hop, fault=outcome.fault)


def _grouped(
    site: Site, found: Iterable[tuple[Path | None, Outcome]], order: Sequence[Outcome]
) -> tuple[Cause, ...]:
    """Each fault once, with all who saw it and all that it breaks; the first cause first."""
    places = {outcome: number for number, outcome in enumerate(order)}
    groups: dict[tuple[str, str, str], list[tuple[Path | None, Outcome]]] = {}
    for path, outcome in found:
        key = (outcome.check.layer, outcome.check.probe, outcome.fault)
        if outcome.check.layer in ("reach", "service"):  # the same words of another host or unit
            key = (*key[:2], f"{outcome.check.host} {outcome.check.hop}")
        groups.setdefault(key, []).append((path, outcome))

    def place(group: Sequence[tuple[Path | None, Outcome]]) -> tuple[bool, int, int]:
        guards_only = all(path is not None and path.kind == "guard" for path, _ in group)
        number = min(places.get(outcome, -1) for _, outcome in group)
        return guards_only, _rank(group[0][1]), number

    causes = []
    for group in sorted(groups.values(), key=place):
        first = min((outcome for _, outcome in group), key=lambda one: places.get(one, -1))
        check = first.check
        causes.append(
            Cause(
                host=check.host,
                layer=check.layer,
                hop=check.hop,
                fault=first.fault,
                seen_by=tuple(dict.fromkeys(outcome.check.host for _, outcome in group)),
                breaks=tuple(dict.fromkeys(path.name for path, _ in group if path is not None)),
                mend=mend(site, check),
            )
        )
    return tuple(causes)
