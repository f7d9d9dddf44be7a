"""The start page as data: what the last verification found, for people and for programs.

Pure. The page is open to everyone in the network, so it names the hop that is broken and keeps
what the checks heard there (log lines, answers) to the run of `deploys/verify.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Literal

from phoenix.health.checks import checks, checks_by_host
from phoenix.health.diagnosis import Diagnosis, Fault, PathReport, fault_of
from phoenix.health.paths import request_paths
from phoenix.health.served import Served
from phoenix.runs.revision import Revision
from phoenix.site.model import Frozen, Host, Service, Site
from phoenix.watch import live, page_html
from phoenix.watch.causes import Check, CheckedPath, Outcome, State, lowest, without_spared


class FirstCause(Frozen):
    """Where the fault is that explains the others, without what was heard there."""

    host: str
    layer: str
    hop: str


class Health(Frozen):
    """What some checks say together: how many there are, how many failed or were not run.

    `state` is `unknown` where the checks that ran passed, others were not run, and nothing else
    proves that all is well.
    """

    state: State
    checks: int
    failed: int
    not_run: int
    first_cause: FirstCause | None


class DayRow(Frozen):
    """A day of a service, UTC: for how many seconds it was seen well, and broken."""

    day: date
    ok: int
    broken: int


class HeldRow(Frozen):
    """A certificate that a host holds."""

    holder: str
    name: str
    not_after: datetime


class LastDeploy(Frozen):
    """The last run that changed the site, or was to."""

    ended: datetime
    by: str
    result: str
    commit: str


class ServiceRow(Frozen):
    """A service that clients ask for. `stack` is the deployed stack's name, None for a guest's own.

    `login`: Traefik, or a server that it asks, wants a log-in. `certificate_until`: when the first
    certificate on the request's path ends, None where one of them is not served.
    """

    name: str
    url: str
    owner: str
    stack: str | None
    login: bool
    health: Health
    certificate_until: datetime | None
    description: str = ""
    icon: str = ""
    history: tuple[DayRow, ...] = ()


class HostRow(Frozen):
    """A machine and the checks that it ran itself."""

    name: str
    address: str
    roles: tuple[str, ...]
    health: Health


class Place(Frozen):
    """What a check is about, without what was heard there."""

    host: str
    hop: str


class Stamp(Frozen):
    """When the run looked (UTC), who started it (user@host), and when the page is out of date."""

    at: datetime
    by: str
    old_at: datetime

    def follows(self, present: Stamp) -> bool:
        """Whether a page with the present stamp is written anew, though its content is the same.

        It is after half of its time, so that the page of a site that is verified often enough stays
        up to date, and after a change of that time.
        """
        lasts = self.old_at - self.at
        return self.at - present.at >= lasts / 2 or present.old_at - present.at != lasts


class Page(Frozen):
    """The data of the start page; `home.json` is this object.

    A run has `seen_by` `run`, `certificates` that are served, and its `revision`. The watcher has
    `watch`, the history of each service, `held` certificates, `last_deploy`, and whether a run is
    `working` on the site.
    """

    domain: str
    environment: str
    health: Health
    services: tuple[ServiceRow, ...]
    certificates: tuple[Served, ...]
    hosts: tuple[HostRow, ...]
    revision: Revision
    stamp: Stamp
    warnings: tuple[Place, ...] = ()
    seen_by: Literal["run", "watch"] = "run"
    working: bool = False
    held: tuple[HeldRow, ...] = ()
    last_deploy: LastDeploy | None = None

    def same_as(self, other: Page) -> bool:
        """Whether both tell the same, whenever and by whomever it was seen."""
        return self.model_copy(update={"stamp": other.stamp}) == other


def build(
    site: Site,
    outcomes: Sequence[Outcome],
    diagnosis: Diagnosis,
    served: Sequence[Served],
    revision: Revision,
    stamp: Stamp,
) -> Page:
    """The page of a run.

    Args:
        outcomes: Of the checks that were run, on whatever hosts.
        diagnosis: Of these outcomes, over all paths of the site.
        served: What the endpoints of the site serve.

    Raises:
        phoenix.site.roles.RoleError: the site has no gateway, Traefik or CA.
    """
    by_check = {outcome.check: outcome for outcome in outcomes}
    by_host = checks_by_host(site)
    reports, requests = diagnosis.by_path(), request_paths(site)
    return Page(
        domain=site.domain,
        environment=site.environment,
        health=_health(checks(site), by_check, diagnosis.first_cause),
        services=tuple(
            _service(service, requests[service.name], by_check, reports, served)
            for service in shown(site)
        ),
        certificates=tuple(served),
        hosts=tuple(
            HostRow(
                **machine(host),
                health=_own_health(by_host[host.name], by_check),
            )
            for host in site.hosts
        ),
        revision=revision,
        stamp=stamp,
        warnings=tuple(Place(host=warning.host, hop=warning.hop) for warning in diagnosis.warnings),
    )


def shown(site: Site) -> tuple[Service, ...]:
    """The services of the page: those that clients ask for, but itself."""
    requests = request_paths(site)
    return tuple(
        service for service in site.services if service.name in requests and service.kind != "home"
    )


def declared(service: Service) -> dict[str, Any]:
    """What the page tells of a service that no check finds out: fields of `ServiceRow`."""
    dashboard, asked = service.kind == "dashboard", service.options
    url = f"https://{service.fqdn}{service.health_path if dashboard else service.path or '/'}"
    if service.kind == "tcp":
        url = f"{service.scheme}://{service.fqdn}:{service.gateway_port}"
    elif service.exposure == "direct":
        url = f"{service.scheme}://{service.fqdn}:{service.port}/"
    return {
        "name": service.name,
        "url": url,
        "owner": service.external.host if service.external else service.owner.name,
        "stack": service.deployment.project if service.deployment else None,
        "login": dashboard or bool(asked.basic_auth) or asked.forward_auth is not None,
        "description": service.description,
        "icon": service.icon,
    }


def machine(host: Host) -> dict[str, Any]:
    """What the page tells of a host that no check finds out: fields of `HostRow`."""
    return {"name": host.name, "address": str(host.address), "roles": sorted(host.roles)}


def for_strangers(page: Page) -> Page:
    """What is left of a page for readers who are not to learn how the site is made.

    Services, how they are and when that was seen; no host, address, certificate, operator or
    revision.
    """
    return Page.model_validate(live.for_strangers(page.model_dump()))


def headline(health: Health) -> str:
    """What was seen, in words: "All 62 checks passed", "2 of 62 checks failed"."""
    return page_html.headline(health.checks, health.failed, health.not_run)


def _own_health(own_checks: Sequence[Check], by_check: Mapping[Check, Outcome]) -> Health:
    """The health of one host's own checks: the first cause is that of the lowest layer."""
    first = lowest(by_check[check] for check in own_checks if check in by_check)
    return _health(own_checks, by_check, fault_of(first))


def _health(
    own_checks: Iterable[Check],
    by_check: Mapping[Check, Outcome],
    cause: Fault | None,
    state: State | None = None,
) -> Health:
    own_checks = without_spared(own_checks, by_check)
    run = [by_check[check] for check in own_checks if check in by_check]
    failed = sum(1 for outcome in run if outcome.fault)
    not_run = len(own_checks) - len(run)
    return Health(
        state=state or ("broken" if failed else "unknown" if not_run else "ok"),
        checks=len(own_checks),
        failed=failed,
        not_run=not_run,
        first_cause=(
            FirstCause(host=cause.host, layer=cause.layer, hop=cause.hop) if cause else None
        ),
    )


def _service(
    service: Service,
    path: CheckedPath,
    by_check: Mapping[Check, Outcome],
    reports: Mapping[str, PathReport],
    served: Sequence[Served],
) -> ServiceRow:
    report = reports[path.name]
    on_path = {(check.target, check.port) for check in path.checks}
    ends = [record.not_after for record in served if (record.holder, record.port) in on_path]
    return ServiceRow(
        **declared(service),
        health=_health(path.checks, by_check, report.cause, report.state),
        certificate_until=None if None in ends else min((end for end in ends if end), default=None),
    )
