"""What each host is asked for `status` and `doctor`, and what a run brings back. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from phoenix.components.acme.config import TIMER
from phoenix.components.portainer.config import API_KEY_FILE, SERVER_PORT
from phoenix.components.traefik.config import ROOT_CA
from phoenix.components.x509 import CertificateInfo
from phoenix.health.checks import Check, Outcome, checks
from phoenix.site.model import Host, Site

PROBES, CERTIFICATES, RENEWALS = "probes", "certificates", "renewals"
CONTAINERS, PORTAINER = "containers", "portainer"
ALL = (PROBES, CERTIFICATES, RENEWALS, CONTAINERS, PORTAINER)
"""What can be asked for: the setting `observe` of `deploys/observe.py`."""


class Served(BaseModel):
    """The leaf that an endpoint serves; with no TLS session only `error` says something.

    `verified`: it chains to the site's root, is for the name asked, and is not expired.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    serial: str = ""
    issuer: str = ""
    names: tuple[str, ...] = ()
    not_before: datetime | None = None
    not_after: datetime | None = None
    verified: bool = False
    error: str = ""


@dataclass(frozen=True)
class Endpoint:
    """One TLS port. It is asked by `asker`, from where a request comes to it, too."""

    asker: str
    host: str
    address: str
    port: int
    server_name: str


@dataclass(frozen=True)
class Questions:
    """What one host is asked; empty fields are not asked."""

    checks: tuple[Check, ...] = ()
    endpoints: tuple[tuple[str, int, str], ...] = ()
    renewals: tuple[str, ...] = ()
    containers: bool = False
    portainer: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Observed:
    """What came back. `silent`: hosts that did not answer, with the reason.

    `values` is by kind and host, as `deploys/observe.py` told it.
    """

    values: Mapping[str, Mapping[str, Any]]
    silent: Mapping[str, str]


def questions(site: Site, host: Host, wanted: Sequence[str] = ALL) -> Questions:
    """What `host` is asked, of the kinds `wanted`."""
    return Questions(
        checks=checks_of(site, host.name) if PROBES in wanted else (),
        endpoints=tuple(
            (one.address, one.port, one.server_name)
            for one in endpoints(site)
            if one.asker == host.name and CERTIFICATES in wanted
        ),
        renewals=tuple(renewals(site, host)) if RENEWALS in wanted else (),
        containers=CONTAINERS in wanted and bool(host.docker_stacks),
        portainer=(
            {
                "url": f"https://{host.fqdn}:{SERVER_PORT}",
                "ca_file": ROOT_CA,
                "header_file": API_KEY_FILE,
            }
            if PORTAINER in wanted and host == site.portainer
            else {}
        ),
    )


def checks_of(site: Site, host: str) -> tuple[Check, ...]:
    """The checks that a host makes."""
    return tuple(check for check in checks(site) if check.host == host)


def endpoints(site: Site) -> tuple[Endpoint, ...]:
    """Every TLS port that the site verifies, once, in the order of a request.

    From the checks, so that nothing is shown that is not proven, and the one who asks is one
    whom the firewall lets through. The gateway has one certificate for all names.
    """
    found: dict[tuple[str, str], Endpoint] = {}
    for check in checks(site):
        if check.probe == "served_is_fresh":
            address, port, name = check.words[1:]
            end = Endpoint(check.host, check.target, address, int(port), name)
            found.setdefault((address, port), end)
    order = [site.gateway, site.traefik, *site.hosts]
    names = [host.name for host in order if host is not None]
    return tuple(sorted(found.values(), key=lambda one: (names.index(one.host), one.port)))


def renewals(site: Site, host: Host) -> list[str]:
    """The certificates that a timer of `host` renews, by name."""
    return [
        check.subject.removeprefix(TIMER).removesuffix(".timer")
        for check in checks_of(site, host.name)
        if check.probe == "unit_runs" and check.subject.startswith(TIMER)
    ]


def certificate(
    chain: Sequence[CertificateInfo], verify_code: int | None, error: str
) -> dict[str, Any]:
    """A served chain as plain JSON of `Served`."""
    if not chain:
        return Served(error=error or "no certificate").model_dump(mode="json")
    leaf = chain[0]
    return Served(
        serial=leaf.serial,
        issuer=leaf.issuer_cn,
        names=tuple(sorted(leaf.sans)),
        not_before=leaf.not_before,
        not_after=leaf.not_after,
        verified=verify_code == 0,
        error=error,
    ).model_dump(mode="json")


def outcomes(
    site: Site, observed: Observed, asked: Collection[str]
) -> tuple[tuple[Outcome, ...], dict[str, str]]:
    """The outcomes of all checks that were made, in the order of `checks`; and who is silent.

    A host of `asked` that answers by SSH and yet did not make its checks is silent as well.
    """
    told = observed.values.get(PROBES, {})
    silent = {
        host: f"does not answer by SSH: {why}"
        for host, why in observed.silent.items()
        if host in asked
    }
    found: dict[Check, Outcome] = {}
    for host in site.hosts:
        if host.name not in asked or host.name in silent:
            continue
        mine = checks_of(site, host.name)
        faults = told.get(host.name)
        if not isinstance(faults, list) or len(faults) != len(mine):
            silent[host.name] = "answers by SSH, but its checks could not be made"
            continue
        found |= {c: Outcome(c, fault) for c, fault in zip(mine, faults, strict=True)}
    return tuple(found[check] for check in checks(site) if check in found), silent
