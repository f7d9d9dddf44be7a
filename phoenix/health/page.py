"""The start page as data: what the last verification found, for people and for programs.

Pure. The page is open to everyone in the network, so it names the hop that is broken and keeps
what the probes heard there (log lines, answers) to the run of `deploys/verify.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Literal

from phoenix.components.portainer.config import SERVER_UNIT
from phoenix.health.checks import Check, Outcome, checks, first_broken
from phoenix.health.endpoints import Served
from phoenix.runs.revision import Revision
from phoenix.site.model import Frozen, Host, Service, Site
from phoenix.site.roles import guest_with

State = Literal["ok", "failing", "unknown"]
"""`unknown`: a check could not be made, and none that was made failed."""


class Hop(Frozen):
    """A broken hop: the host that found it, the layer (`phoenix.health.checks.LAYERS`), the hop."""

    host: str
    layer: str
    hop: str


class Health(Frozen):
    """What some checks say together: how many were wanted, failed, or could not be made."""

    state: State
    checks: int
    failed: int
    unmade: int
    first_broken: Hop | None


class ServiceRow(Frozen):
    """A service behind the gateway. `stack` is the deployed stack's name, None for a guest's own.

    `login`: Traefik itself asks for a password. `certificate_until`: when the first certificate
    on the request's path ends, None where one of them is not served.
    """

    name: str
    url: str
    owner: str
    stack: str | None
    login: bool
    health: Health
    certificate_until: datetime | None


class CertificateRow(Frozen):
    """What one TLS port serves. Times are UTC; without a session they and `issuer` are None.

    `fault` is empty where chain and name verify to the site's root.
    """

    holder: str
    address: str
    port: int
    server_name: str
    names: tuple[str, ...]
    issuer: str | None
    serial: str | None
    not_before: datetime | None
    not_after: datetime | None
    fault: str


class HostRow(Frozen):
    """A machine and the checks that it made itself."""

    name: str
    address: str
    roles: tuple[str, ...]
    health: Health


class Stamp(Frozen):
    """When the run looked (UTC), and who started it, as user@host."""

    at: datetime
    by: str


class Page(Frozen):
    """All that the page tells; `home.json` is this very object."""

    domain: str
    environment: str
    health: Health
    services: tuple[ServiceRow, ...]
    certificates: tuple[CertificateRow, ...]
    hosts: tuple[HostRow, ...]
    revision: Revision
    stamp: Stamp

    def same_as(self, other: Page) -> bool:
        """Whether both tell the same, whenever and by whomever it was seen."""
        return self.model_copy(update={"stamp": other.stamp}) == other


def build(
    site: Site,
    outcomes: Mapping[str, Sequence[Outcome]],
    served: Sequence[Served],
    revision: Revision,
    stamp: Stamp,
) -> Page:
    """The page of a run.

    Args:
        outcomes: of each host that made its checks; a host that is absent made none.
        served: what each of `phoenix.health.endpoints.endpoints(site)` serves, in their order.

    Raises:
        phoenix.roles.RoleError: the site has no gateway, Traefik or CA.
    """
    found = {one.check: one for made in outcomes.values() for one in made}
    wanted = checks(site)
    return Page(
        domain=site.domain,
        environment=site.environment,
        health=_health(wanted, found),
        services=tuple(
            _service(site, service, wanted, found, served)
            for service in site.services
            if service.exposure == "gateway" and service.kind != "home"
        ),
        certificates=tuple(_certificate(one) for one in served),
        hosts=tuple(
            HostRow(
                name=host.name,
                address=str(host.address),
                roles=tuple(sorted(host.roles)),
                health=_health([c for c in wanted if c.host == host.name], found),
            )
            for host in site.hosts
        ),
        revision=revision,
        stamp=stamp,
    )


def headline(health: Health) -> str:
    """The state in words: "All 62 checks pass", "2 of 62 checks fail"."""
    total = f"{health.checks} check{'' if health.checks == 1 else 's'}"
    if health.state == "ok":
        return f"All {total} pass" if health.checks != 1 else "The one check passes"
    parts = []
    if health.failed:
        parts.append(f"{health.failed} of {total} fail{'s' if health.failed == 1 else ''}")
    if health.unmade:
        of = "" if parts else f" of {total}"
        parts.append(f"{health.unmade}{of} could not be made")
    return ", ".join(parts)


def _health(wanted: Iterable[Check], found: Mapping[Check, Outcome]) -> Health:
    wanted = tuple(wanted)
    made = [found[check] for check in wanted if check in found]
    failed = sum(1 for one in made if one.fault)
    first = first_broken(made)
    hop = (
        Hop(host=first.check.host, layer=first.check.layer, hop=first.check.hop) if first else None
    )
    unmade = len(wanted) - len(made)
    state: State = "failing" if failed else "unknown" if unmade else "ok"
    return Health(state=state, checks=len(wanted), failed=failed, unmade=unmade, first_broken=hop)


def _service(
    site: Site,
    service: Service,
    wanted: Sequence[Check],
    found: Mapping[Check, Outcome],
    served: Sequence[Served],
) -> ServiceRow:
    path = _path(site, service)
    ends = [
        one.leaf.not_after if one.leaf else None
        for one in served
        if (str(one.endpoint.host.address), str(one.endpoint.port)) in path
    ]
    stack = service.deployment.project if service.deployment else None
    login = service.kind == "dashboard"
    return ServiceRow(
        name=service.name,
        url=f"https://{service.fqdn}{service.health_path if login else '/'}",
        owner=service.owner.name,
        stack=stack,
        login=login,
        health=_health((c for c in wanted if _concerns(site, service, stack, path, c)), found),
        certificate_until=None if None in ends else min((e for e in ends if e), default=None),
    )


def _path(site: Site, service: Service) -> set[tuple[str, str]]:
    """Address and port of each hop of a request, as the probes write them."""
    hops: list[tuple[Host, int]] = [(guest_with(site, role), 443) for role in ("nginx", "traefik")]
    if service.kind == "backend":
        hops.append((service.owner, service.port))
    return {(str(host.address), str(port)) for host, port in hops}


def _concerns(
    site: Site, service: Service, stack: str | None, path: set[tuple[str, str]], check: Check
) -> bool:
    """Whether a request for the service fails with this check."""
    probe, *words = check.words
    if probe == "unit_runs":
        units = {"nginx.service": site.gateway, "traefik.service": site.traefik}
        if service.kind == "backend":
            units |= {"docker.service": service.owner, SERVER_UNIT: service.owner}
        owner = units.get(words[0])
        return owner is not None and owner.name == check.host
    if probe in ("containers_are_well", "stack_is_active"):
        return words[-1] == stack
    if probe == "request_gives":
        return words[1].startswith(f"https://{service.fqdn}/")
    if probe == "router_is_enabled":
        return words[0].endswith(f"/{service.name}@file")
    if probe in ("port_answers", "tls_verifies", "served_is_fresh"):
        # The gateway has one port for all names, and is asked for each of them.
        others = {s.fqdn for s in site.services if s != service}
        return (words[0], words[1]) in path and not others.intersection(words[2:])
    return False


def _certificate(served: Served) -> CertificateRow:
    endpoint, leaf, fault = served
    return CertificateRow(
        holder=endpoint.host.name,
        address=str(endpoint.host.address),
        port=endpoint.port,
        server_name=endpoint.server_name,
        names=endpoint.names,
        issuer=leaf and leaf.issuer_cn,
        serial=leaf and leaf.serial,
        not_before=leaf and leaf.not_before,
        not_after=leaf and leaf.not_after,
        fault=fault,
    )
