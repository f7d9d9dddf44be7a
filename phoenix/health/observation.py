"""What each host is asked for `status` and `doctor`, and what a run brings back. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Set
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter

from phoenix.components.ca_rotation import certificates_of
from phoenix.components.docker.projects import ComposeProject, from_json
from phoenix.components.portainer.compose_files import API_KEY_FILE
from phoenix.components.swarm.cluster import Swarm
from phoenix.components.trust import ROOTS
from phoenix.derived import control_plane
from phoenix.derived.endpoints import Endpoint, endpoints
from phoenix.health import issued, undeclared
from phoenix.health.checks import checks, made_on, redundant_checks
from phoenix.health.served import Served, asked_by
from phoenix.health.undeclared import Sightings
from phoenix.health.watched import WATCHED, Watched
from phoenix.site.model import Host, Site
from phoenix.site.roles import guest_with
from phoenix.watch.causes import Check, Outcome, outcome_of

CHECKS, CERTIFICATES, RENEWALS = "checks", "certificates", "renewals"
CONTAINERS, PORTAINER = "containers", "portainer"
ISSUED, ASKED, AUTHORITY = "issued", "asked", "authority"
PLACED, REGISTER, GUESTS, RULES = "placed", "register", "guests", "rules"
SWARM = "swarm"
WATCH = "watch"
UNREAD = "unread"
NO_LIST = "no pvesh"
"""The answer to `GUESTS` of a hypervisor without the program that lists guests."""
"""Told of a host whose answer cannot be used: why."""
LEFT = (CONTAINERS, PORTAINER, PLACED, REGISTER, GUESTS, RULES, SWARM)
"""What tells of things that run and are not declared (`health.undeclared`)."""
ALL = (CHECKS, CERTIFICATES, RENEWALS, ISSUED, ASKED, AUTHORITY, WATCH, *LEFT)
"""What can be asked for: the setting `observe` of `deploys/observe.py`."""


_ISSUED = TypeAdapter(tuple[issued.Issued, ...])
_SWARM = TypeAdapter(Swarm)
_ASKED = TypeAdapter(tuple[issued.AskedKeys, ...])


@dataclass(frozen=True)
class Request:
    """What one host is asked; empty fields are not asked.

    Attributes:
        checks: Checks to make.
        endpoints: TLS endpoints to ask for their certificate.
        renewals: Names of certificates whose timer is looked at.
        containers: Whether compose projects are listed. Every host is asked, since Docker may have
            been declared on it once.
        portainer: Arguments of the fact that asks Portainer's API.
        issued: Whether the CA is asked what it has issued.
        asked: Names of certificates whose keys are listed; of a host without one, those that it
            had. None: none are.
        authority: Whether the CA is asked for its root.
        placed: Whether what Phoenix has put there is listed.
        register: Whether the site's register is read.
        guests: Whether Proxmox VE is asked for the guests with our tag.
        rules: Whether it is asked for the rules with our mark.
        swarm: Whether Docker is asked for the swarm that it is in.
        watch: Whether it is asked for the watcher's last look.
    """

    checks: tuple[Check, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    renewals: tuple[str, ...] = ()
    containers: bool = False
    portainer: Mapping[str, str] = field(default_factory=dict)
    issued: bool = False
    asked: tuple[str, ...] | None = None
    authority: bool = False
    placed: bool = False
    register: bool = False
    guests: bool = False
    rules: bool = False
    swarm: bool = False
    watch: bool = False


@dataclass(frozen=True)
class Observed:
    """What came back. `silent`: hosts that did not answer, with the reason.

    `values` is by kind and host, as `deploys/observe.py` told it.
    """

    values: Mapping[str, Mapping[str, Any]]
    silent: Mapping[str, str]


def request(
    site: Site,
    host: Host,
    kinds: Collection[str] = ALL,
    answering: Collection[str] | None = None,
) -> Request:
    """What `host` is asked, of the kinds that are wanted.

    Args:
        site: the site.
        host: who is asked.
        kinds: of `ALL`.
        answering: the hosts that can be asked at all, by name; None: all. What one of several hosts
            can tell is asked of the first of these.

    Raises:
        phoenix.site.roles.RoleError: the site has no gateway, Traefik or CA.
    """
    if answering is None:
        answering = {member.name for member in site.hosts}
    held = tuple(certificate.name for certificate in certificates_of(site, host))
    return Request(
        checks=made_on(site, host) if CHECKS in kinds else (),
        endpoints=asked_by(site, host.name, answering) if CERTIFICATES in kinds else (),
        renewals=held if RENEWALS in kinds else (),
        issued=ISSUED in kinds and host == site.ca,
        asked=held if ASKED in kinds else None,
        authority=AUTHORITY in kinds and host == site.ca,
        containers=CONTAINERS in kinds,
        portainer=(
            {
                "url": control_plane.portainer_url(site),
                "ca_file": ROOTS,
                "header_file": API_KEY_FILE,
            }
            if PORTAINER in kinds and host == site.portainer
            else {}
        ),
        placed=PLACED in kinds,
        register=REGISTER in kinds and host == site.hypervisor,
        guests=GUESTS in kinds and host == site.hypervisor,
        rules=RULES in kinds and host == site.hypervisor,
        swarm=SWARM in kinds and host in site.docker_hosts,
        watch=WATCH in kinds and host == site.watcher,
    )


def projects(observed: Observed, host: str) -> tuple[ComposeProject, ...] | None:
    """The compose projects of a host; None where it did not tell."""
    answer = observed.values.get(CONTAINERS, {}).get(host)
    return None if answer is None else from_json(answer)


def sightings(
    site: Site, observed: Observed, stored: Set[str], used: Set[str], *, firewall: bool = True
) -> Sightings:
    """What was seen of things that may not be declared; a host that told nothing is in `unknown`.

    Args:
        site: the site.
        observed: what its hosts told, of the kinds `LEFT`.
        stored: names of the secrets that the store or the SOPS file has.
        used: names of those that the site uses.
        firewall: whether a sync keeps Proxmox VE's firewall.
    """
    values, unread = observed.values, observed.values.get(UNREAD, {})
    projects_by_host = {host.name: projects(observed, host.name) for host in site.hosts}
    placed = {host: answer for host, answer in values.get(PLACED, {}).items() if answer is not None}
    of_hypervisor = site.hypervisor.name
    register = values.get(REGISTER, {}).get(of_hypervisor)
    guests = values.get(GUESTS, {}).get(of_hypervisor)
    portainer = values.get(PORTAINER, {}).get(site.portainer.name) if site.portainer else None
    unknown = [
        f"{host.name}: {observed.silent.get(host.name) or unread.get(host.name) or 'not asked'}"
        for host in site.hosts
        if projects_by_host[host.name] is None or host.name not in placed
        or (host == site.hypervisor and (register is None or guests is None))
        or any(values.get(kind, {}).get(host.name, {}) is None for kind in (RULES, SWARM))
    ]  # fmt: skip
    entries = undeclared.REGISTER.validate_python(register or ())
    deployed = any(entry.kind == "endpoint" for entry in entries)  # of a new site it is yet to come
    silent = site.portainer is not None and site.portainer.name in observed.silent
    if site.portainer and portainer is None and deployed and not silent:
        unknown.append("Portainer's API gives no answer")
    return Sightings(
        projects={
            host: of_host for host, of_host in projects_by_host.items() if of_host is not None
        },
        placed={host: undeclared.PLACED.validate_python(a) for host, a in placed.items()},
        register=entries,
        guests=undeclared.GUESTS.validate_python(() if guests == NO_LIST else guests or ()),
        unlisted=guests == NO_LIST,
        endpoints=[endpoint["name"] for endpoint in portainer["endpoints"]] if portainer else None,
        stacks=[(stack["name"], stack["endpoint"]) for stack in portainer["stacks"]]
        if portainer
        else (),
        stored=stored,
        used=used,
        unknown=unknown,
        rules=values.get(RULES, {}).get(of_hypervisor) or {},
        firewall=firewall,
        swarms={
            host: _SWARM.validate_python(answer)
            for host, answer in values.get(SWARM, {}).items()
            if answer is not None
        },
    )


def watched(site: Site, observed: Observed) -> Watched | None:
    """The watcher's last look; None without a watcher, or where it does not answer."""
    answer = observed.values.get(WATCH, {}).get(site.watched_by)
    return WATCHED.validate_python(answer) if answer else None


def _issued(site: Site, observed: Observed) -> Outcome:
    ca = guest_with(site, "step_ca").name
    records = observed.values[ISSUED][ca]
    if records is None:
        return issued.unknown(site, str(observed.values.get(UNREAD, {}).get(ca)))
    asked = {
        host: _ASKED.validate_python(answer)
        for host, answer in observed.values.get(ASKED, {}).items()
    }
    return issued.outcome(site, _ISSUED.validate_python(records), asked)


def served(site: Site, observed: Observed) -> dict[Endpoint, Served | None]:
    """What each endpoint serves; None where no host that may ask for it gave an answer."""
    observed_hosts = observed.values.get(CERTIFICATES, {})
    records = [
        Served.model_validate(data) for answers in observed_hosts.values() for data in answers or ()
    ]
    by_place = {(record.holder, record.port, record.server_name): record for record in records}
    return {
        end: by_place.get((end.host.name, end.port, end.server_name)) for end in endpoints(site)
    }


def outcomes(
    site: Site, observed: Observed, hosts: Collection[str]
) -> tuple[tuple[Outcome, ...], dict[str, str]]:
    """The outcomes of all checks that were run, in the order of `checks`; and who is silent.

    What several hosts tell, the first of them tells that answers (`redundant_checks`). A host of
    `hosts` that answers by SSH and yet did not run its checks is silent as well.
    """
    results = observed.values.get(CHECKS, {})
    silent = {
        host: f"does not answer by SSH: {why}"
        for host, why in observed.silent.items()
        if host in hosts
    }
    by_check: dict[Check, Outcome] = {}
    by_host: dict[str, list[Outcome]] = {}
    for host in site.hosts:
        if host.name not in hosts or host.name in silent:
            continue
        own_checks = made_on(site, host)
        faults = results.get(host.name)
        if not isinstance(faults, list) or len(faults) != len(own_checks):
            why = observed.values.get(UNREAD, {}).get(host.name)
            silent[host.name] = "answers by SSH, but its checks could not be run" + (
                f": {why}" if why else ""
            )
            continue
        by_host[host.name] = list(map(outcome_of, own_checks, faults))
        by_check |= {outcome.check: outcome for outcome in by_host[host.name]}
    if site.ca and site.ca.name in observed.values.get(ISSUED, {}):
        by_check[issued.check(site)] = _issued(site, observed)
    for check in redundant_checks(site, by_host):
        by_check.pop(check, None)
    return tuple(by_check[check] for check in checks(site) if check in by_check), silent
