"""Check the whole chain, and name the first cause of a fault."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import partial
from typing import Any

from pyinfra import host, logger
from pyinfra.api import FunctionCommand
from pyinfra.api.state import StateStage

from facts.certificates import ServedCertificates, ServedState
from facts.host_fact import FactError
from facts.issued import IssuedCertificates, KeysAskedFor
from facts.verification import ChecksWithSessions
from operations.connection import silent_hosts
from operations.failure import refuse
from operations.host_state import Question, ask_all, question
from operations.operation import operation
from phoenix.components.ca_rotation import certificates_of
from phoenix.components.trust import ROOTS
from phoenix.derived.endpoints import Endpoint
from phoenix.health import check_timeouts, issued
from phoenix.health.checks import made_on, redundant_checks
from phoenix.health.diagnosis import Diagnosis, diagnose
from phoenix.health.paths import paths
from phoenix.health.served import Served, asked_by, askers, served
from phoenix.health.verdict import first_cause_found, verdict
from phoenix.runs.reporter import report, value
from phoenix.runs.results import FIRST_CAUSE, PROVEN
from phoenix.site.model import Site
from phoenix.site.roles import guest_with
from phoenix.watch.causes import Check, Findings, Outcome, outcome_of

_Target = tuple[str, int, str]
"""Address, port and server name of an endpoint."""
_outcomes: dict[str, list[Outcome]] = {}
_issued: dict[str, tuple[issued.Issued, ...] | FactError] = {}
_asked: dict[str, tuple[issued.AskedKeys, ...] | FactError] = {}
_served: dict[str, dict[_Target, ServedState]] = {}
_unread: dict[str, str] = {}
"""Why a host could not tell of those that it asked besides its checks."""


def outcomes(site: Site) -> dict[str, list[Outcome]]:
    """The outcomes of the hosts whose checks ran in this run, by host name.

    What several hosts tell, the first of them tells that answers.
    """
    by_host = _outcomes
    if told := redundant_checks(site, _outcomes):
        by_host = {
            name: [outcome for outcome in own_outcomes if outcome.check not in told]
            for name, own_outcomes in _outcomes.items()
        }
    ca = guest_with(site, "step_ca").name
    if ca not in _outcomes or ca not in _issued:
        return dict(by_host)
    answer = _issued[ca]
    if isinstance(answer, FactError):
        judged = issued.unknown(site, str(answer))
    else:
        known = {name: keys for name, keys in _asked.items() if not isinstance(keys, FactError)}
        judged = issued.outcome(site, answer, known)
    return by_host | {ca: [*by_host[ca], judged]}


def served_certificates(site: Site) -> list[Served]:
    """What each endpoint of the site serves, as the first of its `askers` saw that answered."""
    return [_record(end, names) for end, names in askers(site).items()]


def _record(end: Endpoint, names: Sequence[str]) -> Served:
    for name in names:
        if state := _served.get(name, {}).get(end.target):
            return served(end, state.leaf, state.fault)
    unmade = "its check was not made" if names[0] in _served else "the run failed there before"
    reason = _unread.get(names[0], unmade)
    return served(end, None, f"not asked by {', '.join(names)}: {reason}")


def failed_hosts() -> list[str]:
    """Names of the hosts of this run that did not answer, or failed in a step."""
    return sorted(failed.name for failed in host.state.failed_hosts)


def diagnosis(site: Site) -> Diagnosis:
    """The diagnosis from all checks of this run."""
    silent = {
        name: "its checks were not run: the run failed there before"
        for name in failed_hosts()
        if name not in _outcomes
    }
    every = [outcome for own_outcomes in outcomes(site).values() for outcome in own_outcomes]
    return diagnose(site, paths(site), Findings(every, silent))


@operation()
def run_checks(
    site: Site, chosen: Sequence[Check], room: tuple[int, int], *, certificates: bool = False
) -> Generator[FunctionCommand, None, None]:
    """Run this host's checks; nothing is changed, and nothing judged before all hosts are done.

    Args:
        site: whose checks.
        chosen: the checks of this run, of all hosts.
        room: percent of a file system with less of which free comes a warning, then a fault.
        certificates: tell those that endpoints serve as well, for `served_certificates`: what its
            checks see of them, and of others those for which this host is the first that answers.
    """
    if host.state.current_stage < StateStage.Execute:
        host.noop("the checks run after all changes")
        return
    this = site.host(host.name)
    own_checks = [check for check in made_on(site, this) if check in chosen]
    if not own_checks:
        host.noop("no check of this run is made here")
        return
    lines = ["\t".join(check.command) for check in own_checks]
    out = _tell_of_silent_hosts()
    questions: list[Question[Any]] = [
        question(ChecksWithSessions, checks=lines, room=room, out=out)
    ]
    if issued.check(site) in chosen:
        names = [certificate.name for certificate in certificates_of(site, this)]
        questions.append(question(KeysAskedFor, names=names))
        if this == site.ca:
            questions.append(question(IssuedCertificates))
    of_checks, others = _ends(site, own_checks) if certificates else ({}, [])
    if others:
        questions.append(question(ServedCertificates, endpoints=others, ca_file=ROOTS))
    answer, *answers = ask_all(questions, holds=partial(_no_fault, own_checks))
    if isinstance(answer, FactError):
        raise answer
    faults, sessions = answer
    if certificates:
        own_sessions = {end: sessions[n] for end, n in of_checks.items() if n in sessions}
        _keep_served(own_sessions, others, answers.pop() if others else [])
    if answers:
        _asked[host.name], *of_ca = answers
        _issued.update((host.name, answer) for answer in of_ca)
    if len(faults) != len(own_checks):
        yield from refuse(f"{len(own_checks)} checks were requested, {len(faults)} answered")
        return
    _outcomes[host.name] = [
        outcome_of(c, fault) for c, fault in zip(own_checks, faults, strict=True)
    ]
    host.noop(f"{len(own_checks)} checks run")


def _no_fault(own_checks: Sequence[Check], values: Sequence[Any]) -> bool:
    checks, *_ = values
    return not isinstance(checks, FactError) and not any(
        outcome_of(check, fault).fault
        for check, fault in zip(own_checks, checks.faults, strict=False)
    )


def _ends(site: Site, own_checks: Sequence[Check]) -> tuple[dict[_Target, int], list[_Target]]:
    """The endpoints that this host knows of.

    Returns:
        Those with which one of its checks has a session, and the number of that check; and those
        that it asks besides: it is the first of their askers that answers.
    """
    of_checks = _seen_by(own_checks, [end.target for end in askers(site)])
    answering = {member.name for member in site.hosts} - set(failed_hosts())
    targets = [end.target for end in asked_by(site, host.name, answering)]
    return of_checks, [end for end in targets if end not in of_checks]


def _seen_by(own_checks: Sequence[Check], ends: Sequence[_Target]) -> dict[_Target, int]:
    """The endpoints with which a check of this host has a session, and the number of that check."""
    verifying = {
        check.command[1:]: number
        for number, check in enumerate(own_checks)
        if check.function == "tls_verifies"
    }
    numbers = {end: verifying.get((end[0], str(end[1]), end[2], ROOTS)) for end in ends}
    return {end: number for end, number in numbers.items() if number is not None}


def _keep_served(
    known: dict[_Target, ServedState],
    others: Sequence[_Target],
    of_others: list[ServedState] | FactError,
) -> None:
    """Keep what this host saw of endpoints: by its checks, and of those that it asked besides."""
    if isinstance(of_others, FactError):
        _unread[host.name], of_others, others = str(of_others), [], []
    _served[host.name] = known | dict(zip(others, of_others, strict=True))


def _tell_of_silent_hosts() -> bool:
    """Tell a person why the checks take longer than at other times; whether they do."""
    silent = silent_hosts(host.state)
    if silent:
        names = ", ".join(silent)
        seconds = check_timeouts.longest_wait()
        line = f"waiting up to {seconds} s for what rests on {names}: no answer by SSH"
        report("progress", host=host.name, text=line)
    return bool(silent)


@operation()
def judge(site: Site) -> Generator[FunctionCommand, None, None]:
    """Fail each host whose checks found a fault: all its faults, and the first cause."""
    if host.state.current_stage < StateStage.Execute:
        host.noop("the outcomes are judged after the checks")
        return
    own_outcomes = outcomes(site).get(host.name, [])
    if not own_outcomes:
        host.noop("no check of this run was made here")
        return
    value(PROVEN, host.name, len(own_outcomes))
    for outcome in own_outcomes:
        if outcome.warning:
            logger.warning(
                "%swarning: %s: %s", host.print_prefix, outcome.check.hop, outcome.warning
            )
    if any(outcome.fault for outcome in own_outcomes):
        result = diagnosis(site)
        if first := first_cause_found(result):
            value(FIRST_CAUSE, host.name, first.host)
        yield from refuse(verdict(result, own_outcomes, failed_hosts()))
        return
    logger.info("%s%d checks passed", host.print_prefix, len(own_outcomes))
    host.noop("all checks passed")
