"""What is there, told to `phoenix status` and `phoenix doctor`: facts only, nothing is changed."""

from dataclasses import asdict

from pyinfra import host

from deploys.context import me, settings, site
from facts.certificates import ServedCertificates
from facts.containers import ComposeContainers
from facts.portainer import PortainerState
from facts.renewal import Renewals
from facts.verification import Checks
from phoenix.components.traefik.config import ROOT_CA
from phoenix.health import observation
from phoenix.health.served import served
from phoenix.runs.reporter import value

with settings():
    asked = observation.request(site(), me(), host.data.get("observe", observation.ALL))

# Nothing here may end the run: what does not answer is missing in what is told, and the rest stays.
if asked.checks:
    faults = host.get_fact(
        Checks, checks=["\t".join(check.command) for check in asked.checks], _ignore_errors=True
    )
    value(observation.CHECKS, host.name, faults)
if asked.endpoints:
    answers = host.get_fact(
        ServedCertificates,
        endpoints=[end.asked for end in asked.endpoints],
        ca_file=ROOT_CA,
        _ignore_errors=True,
    )
    records = [
        served(end, answer.leaf, answer.fault)
        for end, answer in zip(asked.endpoints, answers, strict=False)
    ]
    value(
        observation.CERTIFICATES,
        host.name,
        [record.model_dump(mode="json") for record in records],
    )
if asked.renewals:
    found = host.get_fact(Renewals, names=list(asked.renewals), _ignore_errors=True)
    value(observation.RENEWALS, host.name, [asdict(one) for one in found])
if asked.containers:
    containers = host.get_fact(ComposeContainers, _ignore_errors=True)
    value(observation.CONTAINERS, host.name, [asdict(one) for one in containers])
if asked.portainer:
    state = host.get_fact(PortainerState, **asked.portainer, _ignore_errors=True)
    value(observation.PORTAINER, host.name, asdict(state) if state else None)
