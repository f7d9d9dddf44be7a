"""The facts for `phoenix status` and `phoenix doctor`; changes nothing."""

from dataclasses import asdict
from typing import Any

from pydantic import TypeAdapter
from pyinfra import host

from deploys.context import setting_errors, settings, site, site_host
from facts.certificates import ServedCertificates
from facts.containers import ComposeProjects
from facts.host_fact import FactError
from facts.issued import IssuedCertificates, KeysAskedFor
from facts.leftovers import MarkedRules, PlacedByPhoenix, Register, TaggedGuests
from facts.portainer import PortainerState
from facts.renewal import Renewals
from facts.step_ca import CertificateAuthority
from facts.swarm import SwarmNode
from facts.verification import Checks
from facts.watch import WatchersLook
from operations.connection import silent_hosts
from operations.host_state import Question, ask_all, question
from phoenix.components.docker.projects import to_json
from phoenix.components.step_ca.authority import ROOT_KEY
from phoenix.components.trust import ROOTS
from phoenix.health import observation, undeclared
from phoenix.health.served import served
from phoenix.health.watched import Watched
from phoenix.runs.reporter import value

with setting_errors():
    request = observation.request(
        site(),
        site_host(),
        host.data.get("observe", observation.ALL),
        answering={member.name for member in host.state.inventory.get_active_hosts()},
    )

MODELS: dict[str, TypeAdapter[Any]] = {
    observation.PLACED: undeclared.PLACED,
    observation.REGISTER: undeclared.REGISTER,
    observation.GUESTS: undeclared.GUESTS,
    observation.WATCH: TypeAdapter(Watched | None),
}

# Nothing here may end the run: a fact that cannot be read is reported as missing.
questions: dict[str, Question[Any]] = {}
if request.checks:
    commands = ["\t".join(check.command) for check in request.checks]
    questions[observation.CHECKS] = question(
        Checks,
        checks=commands,
        room=(settings().room_warning_percent, settings().room_least_percent),
        out=bool(silent_hosts(host.state)),
    )
if request.endpoints:
    questions[observation.CERTIFICATES] = question(
        ServedCertificates, endpoints=[end.target for end in request.endpoints], ca_file=ROOTS
    )
if request.renewals:
    questions[observation.RENEWALS] = question(Renewals, names=list(request.renewals))
if request.issued:
    questions[observation.ISSUED] = question(IssuedCertificates)
if request.asked is not None:
    questions[observation.ASKED] = question(KeysAskedFor, names=list(request.asked))
if request.authority:
    questions[observation.AUTHORITY] = question(CertificateAuthority)
if request.containers:
    questions[observation.CONTAINERS] = question(ComposeProjects)
if request.portainer:
    questions[observation.PORTAINER] = question(PortainerState, **request.portainer)
if request.placed:
    questions[observation.PLACED] = question(PlacedByPhoenix)
if request.register:
    questions[observation.REGISTER] = question(Register)
if request.guests:
    questions[observation.GUESTS] = question(TaggedGuests)
if request.swarm:
    questions[observation.SWARM] = question(SwarmNode)
if request.rules:
    questions[observation.RULES] = question(MarkedRules)
if request.watch:
    questions[observation.WATCH] = question(WatchersLook)


def as_json(kind: str, fact_value: Any) -> Any:
    """An answer as plain JSON."""
    if kind == observation.CERTIFICATES:
        return [
            served(end, answer.leaf, answer.fault).model_dump(mode="json")
            for end, answer in zip(request.endpoints, fact_value, strict=True)
        ]
    if kind in (observation.ISSUED, observation.ASKED):
        return [item.model_dump(mode="json") for item in fact_value]
    if kind == observation.AUTHORITY:
        return {
            "root": fact_value.root, "key": ROOT_KEY in fact_value.modes,
            "rotation": fact_value.rotation, "phase": fact_value.phase,
        }  # fmt: skip
    if kind == observation.CONTAINERS:
        return to_json(fact_value)
    if kind in (observation.CHECKS, observation.RULES):
        return fact_value
    if kind == observation.GUESTS and fact_value is None:
        return observation.NO_LIST
    if kind in MODELS:
        return MODELS[kind].dump_python(fact_value, mode="json")
    if kind == observation.SWARM:
        return asdict(fact_value)
    if kind == observation.PORTAINER:
        return asdict(fact_value) if fact_value else None
    return [asdict(item) for item in fact_value]


for kind, fact_value in zip(questions, ask_all(questions.values()), strict=True):
    if isinstance(fact_value, FactError):
        value(observation.UNREAD, host.name, str(fact_value))
        unknown = kind in (
            *observation.LEFT,
            observation.ISSUED,
            observation.AUTHORITY,
            observation.WATCH,
        )
        value(kind, host.name, None if unknown else [])
    else:
        value(kind, host.name, as_json(kind, fact_value))
