"""Prove the whole chain, and name the first broken hop."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra import host, logger
from pyinfra.api import FunctionCommand, operation
from pyinfra.api.state import StateStage

from facts.verification import Probes
from operations.refusal import refuse
from phoenix.health.checks import Outcome, checks, report
from phoenix.site.model import Site

_outcomes: dict[str, list[Outcome]] = {}
_sites: dict[str, Site] = {}


def outcomes() -> dict[str, list[Outcome]]:
    """What the hosts that have made their checks in this run found, by host name."""
    return dict(_outcomes)


@operation()
def probe(site: Site) -> Generator[FunctionCommand, None, None]:
    """Make this host's checks; nothing is changed, and nothing judged before all hosts are done."""
    if host.state.current_stage < StateStage.Execute:
        host.noop("checks are made when the run has changed what it has to")
        return
    mine = [check for check in checks(site) if check.host == host.name]
    faults = host.get_fact(Probes, checks=["\t".join(check.words) for check in mine])
    if len(faults) != len(mine):
        yield from refuse(f"{len(mine)} checks were asked for, {len(faults)} answered")
        return
    _sites[host.name] = site
    _outcomes[host.name] = [Outcome(c, fault) for c, fault in zip(mine, faults, strict=True)]
    host.noop(f"{len(mine)} checks made")


@operation()
def judge() -> Generator[FunctionCommand, None, None]:
    """Fail each host whose checks found a fault: all its faults, and the first broken hop."""
    if host.state.current_stage < StateStage.Execute:
        host.noop("checks are judged when they were made")
        return
    failed = sorted(other.name for other in host.state.failed_hosts)
    if fault := report(_outcomes, host.name, _sites.get(host.name), failed):
        yield from refuse(fault)
        return
    logger.info("%s%d checks passed", host.print_prefix, len(_outcomes.get(host.name, ())))
    host.noop("all checks passed")
