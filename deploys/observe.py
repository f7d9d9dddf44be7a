"""What is there, told to `phoenix status` and `phoenix doctor`: facts only, nothing is changed."""

from dataclasses import asdict
from typing import Any

from pyinfra import host

from deploys.context import setting_errors, site, site_host
from facts.certificates import ServedCertificates
from facts.containers import ComposeContainers
from facts.host_fact import FactError
from facts.portainer import PortainerState
from facts.renewal import Renewals
from facts.verification import Checks
from operations.host_state import Question, ask_all, question
from phoenix.components.trust import ROOTS
from phoenix.health import observation
from phoenix.health.served import served
from phoenix.runs.reporter import value

with setting_errors():
    asked = observation.request(site(), site_host(), host.data.get("observe", observation.ALL))

# Nothing here may end the run: what cannot be read is told as missing, and the rest stays.
questions: dict[str, Question[Any]] = {}
if asked.checks:
    commands = ["\t".join(check.command) for check in asked.checks]
    questions[observation.CHECKS] = question(Checks, checks=commands)
if asked.endpoints:
    questions[observation.CERTIFICATES] = question(
        ServedCertificates, endpoints=[end.target for end in asked.endpoints], ca_file=ROOTS
    )
if asked.renewals:
    questions[observation.RENEWALS] = question(Renewals, names=list(asked.renewals))
if asked.containers:
    questions[observation.CONTAINERS] = question(ComposeContainers)
if asked.portainer:
    questions[observation.PORTAINER] = question(PortainerState, **asked.portainer)


def told(kind: str, found: Any) -> Any:
    """An answer as plain JSON."""
    if kind == observation.CHECKS:
        return found
    if kind == observation.CERTIFICATES:
        return [
            served(end, answer.leaf, answer.fault).model_dump(mode="json")
            for end, answer in zip(asked.endpoints, found, strict=True)
        ]
    if kind == observation.PORTAINER:
        return asdict(found) if found else None
    return [asdict(one) for one in found]


for kind, found in zip(questions, ask_all(questions.values()), strict=True):
    if isinstance(found, FactError):
        value(observation.UNREAD, host.name, str(found))
        value(kind, host.name, None if kind == observation.PORTAINER else [])
    else:
        value(kind, host.name, told(kind, found))
