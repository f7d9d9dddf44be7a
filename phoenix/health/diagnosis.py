"""What is broken, and the cause that explains the rest: as people are told it. Pure.

`phoenix.watch.causes` decides it. The start page, `phoenix status`, `phoenix doctor` and the
verdict of `deploys/verify.py` show what is found here.
"""

from __future__ import annotations

from collections.abc import Sequence

from phoenix.health.advice import Fix, likely_fix
from phoenix.health.checks import checks
from phoenix.site.model import Frozen, Site
from phoenix.watch import causes
from phoenix.watch.causes import (
    Check,
    CheckedPath,
    Findings,
    HopState,
    Outcome,
    State,
)


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

    A request that arrived is well, even with an `unknown` hop: a host on its way may refuse the
    operator's log-in.
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


def diagnose(site: Site, walked: Sequence[CheckedPath], findings: Findings) -> Diagnosis:
    """Walk the paths in order, and find the causes (`phoenix.watch.causes`)."""
    reports = causes.walk(walked, findings)
    found_causes = causes.causes(reports, findings.silent, places(site))
    return Diagnosis(
        causes=tuple(_cause(site, cause) for cause in found_causes),
        paths=tuple(_report(report) for report in reports),
        warnings=tuple(
            Fault(
                layer=warning.check.layer,
                host=warning.check.host,
                hop=warning.check.hop,
                fault=warning.warning,
            )
            for warning in causes.warnings(reports, findings.outcomes)
        ),
    )


def places(site: Site) -> dict[Check, int]:
    """The place of each check in the order of the site's checks."""
    return {check: number for number, check in enumerate(checks(site))}


def _report(walked: causes.WalkedPath) -> PathReport:
    return PathReport(
        kind=walked.path.kind,
        name=walked.path.name,
        state=walked.state,
        cause=fault_of(walked.cause),
        hops=tuple(
            HopReport(
                source=hop.hop.source, target=hop.hop.target, what=hop.hop.what, state=hop.state,
                fault=fault_of(hop.fault),
            )
            for hop in walked.hops
        ),
    )  # fmt: skip


def _cause(site: Site, cause: causes.RootCause) -> Cause:
    check = cause.outcome.check
    return Cause(
        host=check.host,
        layer=check.layer,
        hop=check.hop,
        fault=cause.outcome.fault,
        seen_by=cause.seen_by,
        breaks=cause.breaks,
        fix=likely_fix(site, check, cause.outcome.fault),
    )


def fault_of(outcome: Outcome | None) -> Fault | None:
    """What an outcome says, as it is told; None where there is no fault."""
    if outcome is None:
        return None
    check = outcome.check
    return Fault(layer=check.layer, host=check.host, hop=check.hop, fault=outcome.fault)
