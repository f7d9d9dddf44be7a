"""The site at a glance, as data: what `phoenix status` shows. Pure.

What is broken, and why, is taken from the diagnosis; this adds what only a glance shows: ends of
certificates, their renewals, containers, drift.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from phoenix.components.acme.phoenix_acme_conf import RENEW_FRACTION
from phoenix.components.docker.projects import Container
from phoenix.components.step_ca.authority import Rotation
from phoenix.components.x509 import parse_chain, permitted
from phoenix.derived import deployments
from phoenix.derived.certificates import certificates
from phoenix.health import observation
from phoenix.health.diagnosis import Cause, Diagnosis, Fault
from phoenix.health.observation import Observed
from phoenix.health.paths import agent_paths, request_paths, stack_paths
from phoenix.health.served import Served, askers
from phoenix.health.served import served as record_of
from phoenix.health.undeclared import NOTHING, Undeclared
from phoenix.health.watched import Watched
from phoenix.site import unit_names
from phoenix.site.model import Deployment, Frozen, Site
from phoenix.watch.causes import Outcome, State, lowest


class Guest(Frozen):
    """One host. `drift`: steps that a run would change, None where that is not known.

    `failing`: steps of it that would fail and change nothing.
    """

    name: str
    id: int | None
    address: str
    roles: tuple[str, ...]
    answers: bool
    state: State
    fault: str
    drift: int | None
    failing: int = 0


class ServiceStatus(Frozen):
    """One service that clients ask for. `fault`: of the first broken hop, None where it is well."""

    name: str
    url: str
    owner: str
    state: State
    fault: Fault | None


class CertificateStatus(Served):
    """One certificate as it is served. `hours_left` is negative when it is over.

    `next_renewal` (UTC) is when the holder is going to ask for a new one, at the earliest; None
    where that is unknown, or where no renewal is scheduled. `renewed_by`: whose rule that is.
    """

    hours_left: float | None
    state: State
    renewed_by: str
    next_renewal: datetime | None


class RootStatus(Frozen):
    """The CA's root. `limits`: all that it may vouch for, empty where nothing limits it.

    `key_on`: the host that has its key; empty where it is offline. `replacing`: what of the CA is
    being replaced, by a rotation that has not ended; `switched`: the CA signs with the new one.
    """

    name: str
    not_after: datetime
    limits: tuple[str, ...]
    key_on: str
    replacing: Rotation = ""
    switched: bool = False


class EndpointStatus(Frozen):
    """One endpoint of Portainer, and the state of Portainer's path to the Docker behind it."""

    name: str
    url: str
    state: State
    fault: str


class StackStatus(Frozen):
    """One stack. `status` is Portainer's word, empty where it was not asked or has none.

    `endpoint`: the environment in Portainer; empty where the host's own compose deploys it.
    `way`: what deploys it, as `phoenix.derived.deployments.DeploymentMethod` has it.
    `drift`: whether a run would change it, None where that is not known, or where the run `fails`.
    """

    name: str
    guest: str
    endpoint: str
    way: deployments.DeploymentMethod
    status: str
    containers: int
    healthy: int
    state: State
    fault: str
    drift: bool | None
    fails: bool = False


class Status(Frozen):
    """The whole site. `undeclared`: what runs and is not declared. `root`: None where not known.

    `watched`: the watcher's last look; None without a watcher, or where it does not answer.

    `drift_unknown` says where drift could not be determined, and why; else empty.
    """

    site: str
    domain: str
    at: datetime
    guests: tuple[Guest, ...]
    services: tuple[ServiceStatus, ...]
    certificates: tuple[CertificateStatus, ...]
    endpoints: tuple[EndpointStatus, ...]
    stacks: tuple[StackStatus, ...]
    drift_unknown: str
    first_cause: Cause | None
    warnings: tuple[Fault, ...]
    undeclared: Undeclared = Undeclared()
    root: RootStatus | None = None
    watched: Watched | None = None

    @property
    def broken(self) -> bool:
        """Whether something is down, expired, or could not be asked."""
        states = [
            part.state
            for parts in (
                self.guests, self.services, self.certificates, self.endpoints, self.stacks,
            )
            for part in parts
        ]  # fmt: skip
        return self.first_cause is not None or any(state != "ok" for state in states)

    @property
    def drifted(self) -> bool:
        """Whether a run would change something, or fail."""
        return any(guest.drift or guest.failing for guest in self.guests)


@dataclass(frozen=True)
class Drift:
    """What a plan found: the titles of the steps that would change each host.

    `unknown` says why it is not known; else empty. None of both: nobody looked. `not_seen`: by host
    and title the steps that may change it, and why only a run can know. `failing`: by host the
    titles of those that would fail.
    """

    steps: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unknown: str = ""
    looked: bool = False
    not_seen: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    failing: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def count(self, host: str) -> int | None:
        """How many steps would change a host; None where that is not known."""
        if not self.looked or self.unknown:
            return None
        return len(self.steps.get(host, ())) or (None if self.not_seen.get(host) else 0)

    def of_step(self, host: str, title: str) -> bool | None:
        """Whether a step would change a host; None where that is not known."""
        if not self.looked or self.unknown or title in self.not_seen.get(host, {}):
            return None
        if self.fails(host, title):
            return None
        return title in self.steps.get(host, ())

    def fails(self, host: str, title: str) -> bool:
        """Whether a step of a host would fail."""
        return title in self.failing.get(host, ())

    @property
    def why(self) -> str:
        """Why it is not known of the site, or of which hosts, a line each; empty where it is."""
        lines = (
            f"of {host}: {reason}"
            for host, steps in self.not_seen.items()
            for reason in steps.values()
        )
        return self.unknown or "\n".join(dict.fromkeys(lines))


def build(
    site: Site,
    name: str,
    observed: Observed,
    outcomes: Sequence[Outcome],
    diagnosis: Diagnosis,
    drift: Drift,
    now: datetime,
    left: Undeclared = NOTHING,
) -> Status:
    """The status from what came back.

    Args:
        name: The site's.
        outcomes: Of the checks that were run.
        diagnosis: Of these outcomes, over all paths of the site.
        now: UTC.
        left: What runs and is declared nowhere.

    Raises:
        phoenix.site.roles.RoleError: the site has no gateway, Traefik or CA.
    """
    return Status(
        site=name,
        domain=site.domain,
        at=now,
        guests=tuple(_guests(site, observed, outcomes, drift)),
        services=tuple(_services(site, diagnosis)),
        certificates=tuple(_certificates(site, observed, now)),
        endpoints=tuple(_endpoints(site, observed, diagnosis)),
        stacks=tuple(_stacks(site, observed, diagnosis, drift)),
        drift_unknown=drift.why,
        first_cause=diagnosis.first_cause,
        warnings=diagnosis.warnings,
        undeclared=left,
        root=_root(site, observed),
        watched=observation.watched(site, observed),
    )


def _guests(
    site: Site, observed: Observed, outcomes: Sequence[Outcome], drift: Drift
) -> Iterator[Guest]:
    """A guest is broken where a unit or container of it does not run."""
    of_host: dict[str, list[Outcome]] = {host.name: [] for host in site.hosts}
    for outcome in outcomes:
        if outcome.check.layer == "service":
            of_host[outcome.check.host].append(outcome)
    for host in site.hosts:
        silent = observed.silent.get(host.name, "")
        first = lowest(of_host[host.name])
        fault = f"{first.check.hop} {first.fault}" if first else ""
        yield Guest(
            name=host.name,
            id=host.vmid,
            address=str(host.address),
            roles=tuple(sorted(host.roles)),
            answers=not silent,
            state="unknown" if silent else "broken" if fault else "ok",
            fault=silent or fault,
            drift=None if silent else drift.count(host.name),
            failing=0 if silent else len(drift.failing.get(host.name, ())),
        )


def _services(site: Site, diagnosis: Diagnosis) -> Iterator[ServiceStatus]:
    reports = diagnosis.by_path()
    for name, path in request_paths(site).items():
        report = reports[path.name]
        yield ServiceStatus(
            name=name,
            url=path.name,
            owner=site.service(name).owner.name,
            state=report.state,
            fault=report.cause,
        )


def _root(site: Site, observed: Observed) -> RootStatus | None:
    if site.ca is None:
        return None
    authority = observed.values.get(observation.AUTHORITY, {}).get(site.ca.name)
    if not authority or not authority["root"]:
        return None
    (root, *_), limits = parse_chain(authority["root"]), permitted(authority["root"])
    return RootStatus(
        name=root.subject_cn,
        not_after=root.not_after,
        limits=limits.of_site if limits else (),
        key_on=site.ca.name if authority["key"] else "",
        replacing=authority["rotation"],
        switched=authority["phase"] == "switched",
    )


# -- certificates ----------------------------------------------------------------------------------


def _certificates(site: Site, observed: Observed, now: datetime) -> Iterator[CertificateStatus]:
    askers_of = askers(site)
    timers = {
        (certificate.host.name, name): certificate.name
        for certificate in certificates(site)
        for name in certificate.sans
    }
    for end, record in observation.served(site, observed).items():
        silent = _not_asked(askers_of[end], observed)
        renewed_by = timers.get((end.host.name, end.server_name), "")
        was_asked = record is not None
        served = record or record_of(end, None, silent)
        yield _certificate(served, was_asked, _renewal(site, served, renewed_by, observed), now)


def _not_asked(names: Sequence[str], observed: Observed) -> str:
    """Why nobody knows what an endpoint serves: of those that may ask for it the first that was."""
    answering = [name for name in names if name not in observed.silent]
    if answering or len(names) == 1:
        return f"{(answering or names)[0]}, which asks for it, gave no answer"
    return f"none of {', '.join(names)}, which may ask for it, gave an answer"


def _certificate(
    record: Served, was_asked: bool, renewal: tuple[str, datetime | None, str], now: datetime
) -> CertificateStatus:
    remaining = record.not_after - now if record.not_after else None
    state: State = "ok"
    if not was_asked:
        state = "unknown"
    elif record.fault or remaining is None or remaining <= timedelta():
        state = "broken"
    values = record.model_dump()
    if remaining is not None and remaining <= timedelta():
        values["fault"] = "it has expired"
    elif state == "ok" and renewal[2]:
        state = "broken"
        values["fault"] = f"the last renewal failed: {renewal[2]}"
    return CertificateStatus(
        **values,
        hours_left=round(remaining / timedelta(hours=1), 2) if remaining is not None else None,
        state=state,
        renewed_by=renewal[0],
        next_renewal=renewal[1],
    )


def _renewal(
    site: Site, record: Served, certificate: str, observed: Observed
) -> tuple[str, datetime | None, str]:
    """The renewal of a certificate: its timer, the next time, and why the last one failed.

    `certificate`: its name with ACME, or empty.
    """
    end, start = record.not_after, record.not_before
    lifetime = end - start if end and start else timedelta()
    if not certificate and site.ca is not None and record.holder == site.ca.name:
        # ca.TLSRenewer of step-ca: with a third of the lifetime left.
        return "step-ca", end - lifetime / 3 if end else None, ""
    if not certificate:
        return "", None, ""
    unit = unit_names.renewal_timer(certificate)
    timers = observed.values.get(observation.RENEWALS, {}).get(record.holder)
    if timers is None:
        return "", None, ""
    timer = next((timer for timer in timers if timer["name"] == certificate), None)
    if timer is None:
        return unit, None, ""
    if timer["next_look"] is None or end is None:
        return unit, None, timer["failure"]
    look = datetime.fromtimestamp(timer["next_look"], UTC)
    return unit, max(end - lifetime / RENEW_FRACTION, look), timer["failure"]


# -- containers ------------------------------------------------------------------------------------


def _endpoints(site: Site, observed: Observed, diagnosis: Diagnosis) -> Iterator[EndpointStatus]:
    reports, agents = diagnosis.by_path(), agent_paths(site)
    endpoints = _portainer(site, observed).get("endpoints", ())
    urls = {endpoint["name"]: endpoint["url"] for endpoint in endpoints}
    for host in deployments.environments(site):
        report = reports[agents[host.name].name]
        yield EndpointStatus(
            name=host.portainer_environment,
            url=urls.get(host.portainer_environment, ""),
            state=report.state,
            fault=report.cause.summary if report.cause else "",
        )


def _stacks(
    site: Site, observed: Observed, diagnosis: Diagnosis, drift: Drift
) -> Iterator[StackStatus]:
    reports, stacks = diagnosis.by_path(), stack_paths(site)
    statuses = {
        (stack["name"], stack["endpoint"]): stack["status"]
        for stack in _portainer(site, observed).get("stacks", ())
    }
    for host, stack, way in deployments.placed(site):
        endpoint = "" if way == "compose" else host.portainer_environment
        name = stack.project
        report = reports[stacks[host.name, name].name]
        projects = observation.projects(observed, host.name) or ()
        containers = next((project.containers for project in projects if project.name == name), ())
        yield StackStatus(
            name=name,
            guest=host.name,
            endpoint=endpoint,
            way=way,
            status=statuses.get((name, endpoint), ""),
            containers=len(containers),
            healthy=sum(_is_well(container, stack) for container in containers),
            state=report.state,
            fault=report.cause.summary if report.cause else "",
            drift=drift.of_step(host.name, f"Stack {name}"),
            fails=drift.fails(host.name, f"Stack {name}"),
        )


def _is_well(container: Container, stack: Deployment) -> bool:
    """Whether it runs healthily, or has ended with code 0 as it may."""
    done = container.exit_code == 0 and container.service in stack.completing
    return container.healthy or done


def _portainer(site: Site, observed: Observed) -> Mapping[str, Any]:
    if site.portainer is None:
        return {}
    return observed.values.get(observation.PORTAINER, {}).get(site.portainer.name) or {}
