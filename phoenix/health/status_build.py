"""The site's status from what was observed. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from phoenix.components.acme.config import RENEW_FRACTION, TIMER
from phoenix.derived.routes import routes
from phoenix.health import observation
from phoenix.health.checks import Outcome
from phoenix.health.diagnosis import Diagnosis
from phoenix.health.observation import Endpoint, Observed, Served
from phoenix.health.status import (
    CertificateStatus,
    Drift,
    EndpointStatus,
    Guest,
    ServiceStatus,
    StackStatus,
    State,
    Status,
)
from phoenix.site.model import Host, Site


def build(
    site: Site,
    name: str,
    observed: Observed,
    outcomes: Iterable[Outcome],
    diagnosis: Diagnosis,
    drift: Drift,
    now: datetime,
) -> Status:
    """The status from what came back. `now` is UTC; `name` the site's."""
    found = tuple(outcomes)
    return Status(
        site=name,
        domain=site.domain,
        at=now,
        guests=tuple(_guest(host, observed, found, drift) for host in site.hosts),
        services=tuple(_services(site, diagnosis, found)),
        certificates=tuple(_certificates(site, observed, now)),
        endpoints=tuple(_endpoints(site, observed, found)),
        stacks=tuple(_stacks(site, observed, found, drift)),
        drift_unknown=drift.unknown,
        first_cause=diagnosis.first_cause,
    )


def _guest(host: Host, observed: Observed, found: Iterable[Outcome], drift: Drift) -> Guest:
    silent = observed.silent.get(host.name, "")
    faults = [
        f"{one.check.hop} {one.fault}"
        for one in found
        if one.check.host == host.name and one.check.layer == "service" and one.fault
    ]
    return Guest(
        name=host.name,
        id=host.vmid,
        address=str(host.address),
        roles=tuple(sorted(host.roles)),
        answers=not silent,
        state="unknown" if silent else "broken" if faults else "ok",
        fault=silent or (faults[0] if faults else ""),
        drift=None if silent else drift.count(host.name),
    )


def _services(
    site: Site, diagnosis: Diagnosis, found: Iterable[Outcome]
) -> Iterable[ServiceStatus]:
    paths = {path.name: path for path in diagnosis.paths if path.kind == "request"}
    for route in routes(site):
        path = paths[f"https://{route.fqdn}"]
        # A guest that does not let us in hides a hop; the whole request may prove it all the same.
        answers = _fault(found, "request_gives", route.fqdn) == ""
        is_hidden = path.state == "unknown" and answers
        yield ServiceStatus(
            name=route.service.name,
            url=f"https://{route.fqdn}",
            owner=route.service.owner.name,
            state="ok" if is_hidden else path.state,
            fault=None if is_hidden else path.cause,
        )


# -- certificates ----------------------------------------------------------------------------------


def _certificates(site: Site, observed: Observed, now: datetime) -> Iterable[CertificateStatus]:
    told = observed.values.get(observation.CERTIFICATES, {})
    asked: dict[str, list[Endpoint]] = {}
    for end in observation.endpoints(site):
        asked.setdefault(end.asker, []).append(end)
    served: dict[Endpoint, Served] = {}
    for asker, ends in asked.items():
        answers = told.get(asker)
        if isinstance(answers, list) and len(answers) == len(ends):
            served |= {e: Served(**a) for e, a in zip(ends, answers, strict=True)}
    for end in observation.endpoints(site):
        yield _certificate(site, end, served.get(end), observed, now)


def _certificate(
    site: Site, end: Endpoint, found: Served | None, observed: Observed, now: datetime
) -> CertificateStatus:
    was_asked = found is not None
    leaf = found or Served(error=f"{end.asker}, which asks for it, is silent")
    left = leaf.not_after - now if leaf.not_after else None
    by, renewal = _renewal(site, end, leaf, observed)
    fault = leaf.error
    state: State = "ok"
    if left is None:
        state = "broken" if was_asked else "unknown"
    elif left <= timedelta():
        state, fault = "broken", "it has expired"
    elif not leaf.verified:
        state, fault = "broken", "it does not verify against the site's root for its name"
    return CertificateStatus(
        holder=end.host,
        served_at=f"{end.address}:{end.port}",
        names=tuple(dict.fromkeys((end.server_name, *leaf.names))),
        serial=leaf.serial,
        issuer=leaf.issuer,
        not_before=leaf.not_before,
        not_after=leaf.not_after,
        hours_left=round(left / timedelta(hours=1), 2) if left is not None else None,
        verified=leaf.verified,
        state=state,
        fault=fault,
        renewed_by=by,
        next_renewal=renewal,
    )


def _renewal(
    site: Site, end: Endpoint, leaf: Served, observed: Observed
) -> tuple[str, datetime | None]:
    """Who renews it by which rule, and when that is."""
    host = site.host(end.host)
    lifetime = (
        leaf.not_after - leaf.not_before if leaf.not_after and leaf.not_before else timedelta()
    )
    names = observation.renewals(site, host)
    if not names and host == site.ca:
        # ca.TLSRenewer of step-ca: with a third of the lifetime left.
        return "step-ca", leaf.not_after - lifetime / 3 if leaf.not_after else None
    if not names:
        return "", None
    unit = f"{TIMER}{names[0]}.timer"
    timers = observed.values.get(observation.RENEWALS, {}).get(host.name)
    if timers is None:
        return "", None
    look = next((one["next_look"] for one in timers if one["name"] == names[0]), None)
    if look is None or leaf.not_after is None:
        return unit, None
    return unit, max(leaf.not_after - lifetime / RENEW_FRACTION, datetime.fromtimestamp(look, UTC))


# -- containers ------------------------------------------------------------------------------------


def _fault(found: Iterable[Outcome], probe: str, subject: str) -> str | None:
    """What a check found; None where it was not made."""
    return next(
        (o.fault for o in found if o.check.probe == probe and o.check.subject == subject), None
    )


def _state(*faults: str | None) -> State:
    if any(faults):
        return "broken"
    return "unknown" if None in faults else "ok"


def _endpoints(
    site: Site, observed: Observed, found: Iterable[Outcome]
) -> Iterable[EndpointStatus]:
    known = _portainer(site, observed).get("endpoints", ())
    urls = {one["name"]: one["url"] for one in known}
    for agent in site.agents:
        name = agent.portainer_environment
        fault = _fault(found, "endpoint_is_up", name)
        yield EndpointStatus(
            name=name, url=urls.get(name, ""), state=_state(fault), fault=fault or ""
        )


def _stacks(
    site: Site, observed: Observed, found: Iterable[Outcome], drift: Drift
) -> Iterable[StackStatus]:
    known = _portainer(site, observed).get("stacks", ())
    for agent in site.agents:
        containers = observed.values.get(observation.CONTAINERS, {}).get(agent.name) or ()
        for stack in agent.docker_stacks:
            name = stack.project
            mine = [one for one in containers if one["project"] == name]
            faults = [
                _fault(found, "containers_are_well", name),
                _fault(found, "stack_is_active", name),
            ]
            unknown = drift.count(agent.name) is None
            yield StackStatus(
                name=name,
                guest=agent.name,
                endpoint=agent.portainer_environment,
                status=next(
                    (
                        one["status"]
                        for one in known
                        if one["name"] == name and one["endpoint"] == agent.portainer_environment
                    ),
                    "",
                ),
                containers=len(mine),
                healthy=sum(one["healthy"] for one in mine),
                state=_state(*faults),
                fault=next((fault for fault in faults if fault), ""),
                drift=None if unknown else f"Stack {name}" in drift.steps.get(agent.name, ()),
            )


def _portainer(site: Site, observed: Observed) -> Mapping[str, Any]:
    if site.portainer is None:
        return {}
    return observed.values.get(observation.PORTAINER, {}).get(site.portainer.name) or {}
