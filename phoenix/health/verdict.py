"""What `deploys/verify.py` tells of each host that found a fault."""

from __future__ import annotations

from collections.abc import Sequence

from phoenix.health.diagnosis import Cause, Diagnosis
from phoenix.watch.causes import LAYERS, Outcome


def first_cause_found(diagnosis: Diagnosis) -> Cause | None:
    """The first cause that a check found; a host that could not be asked found nothing itself."""
    return next((cause for cause in diagnosis.causes if cause.layer != "reach"), None)


def verdict(diagnosis: Diagnosis, outcomes: Sequence[Outcome], failed: Sequence[str] = ()) -> str:
    """What to tell about one host, a line a fault; empty where its checks found none.

    Args:
        diagnosis: Of the outcomes of all hosts.
        outcomes: Of the host's own checks.
        failed: Names of hosts that did not answer or had failed before, which may explain the
            faults.
    """
    faults = [outcome for outcome in outcomes if outcome.fault]
    first = first_cause_found(diagnosis)
    if not faults or first is None:
        return ""
    place = (first.layer, first.host, first.hop)
    lines: list[str] = []
    for outcome in sorted(faults, key=lambda outcome: LAYERS.index(outcome.check.layer)):
        check = outcome.check
        line = f"{check.layer}: {check.hop}: {outcome.fault}"
        if (check.layer, check.host, check.hop) == place:
            fix = f"likely fix: {first.fix.advice}: {'; '.join(first.fix.commands)}"
            lines[:0] = [f"first cause: {line}", fix]
        else:
            lines.append(line)
    if first.host != faults[0].check.host:
        lines.append(f"(first cause: {first.layer} on {first.host}: {first.hop})")
    if failed:
        lines.append(f"(look first at {', '.join(failed)}: the run did not finish there)")
    return "\n".join(lines)
