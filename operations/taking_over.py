"""Existing services of a host: reported, and decided about before the first change.

Thin over `phoenix.components.taking_over`. Give operations a ``name=``.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from pydantic import SecretStr
from pyinfra import host
from pyinfra.api import FunctionCommand, StringCommand

from facts.command import script
from facts.docker import DockerDaemon, DockerStart
from facts.nginx import OwnSites
from facts.step_ca import CertificateAuthority
from facts.taking_over import ExistingServicesFact, ZoneAnswer
from facts.traefik import OwnTraefikFiles
from operations import isolation
from operations.explain import fail_in_turn, log_lines
from operations.host_state import Question, question, read, this_host
from operations.operation import operation
from operations.step_ca import initialised
from phoenix.components.config_tree.tree import BASE
from phoenix.components.docker import remote_api
from phoenix.components.docker.daemon_json import DaemonState
from phoenix.components.docker.remote_api import DaemonStart
from phoenix.components.nginx.existing_sites import OwnSite, considered
from phoenix.components.nginx.nginx_conf import served_names
from phoenix.components.step_ca.authority import DIRECTORY as CA_DIRECTORY
from phoenix.components.taking_over.decision import AUTHORITIES, DIRECTORY, decide, unfit
from phoenix.components.taking_over.existing_services import ExistingServices, Place
from phoenix.components.traefik import existing_files
from phoenix.components.traefik.traefik_yml import taken_names
from phoenix.components.x509 import parse_chain
from phoenix.declaration.settings import TakingOver
from phoenix.files import text
from phoenix.runs.reporter import report_note
from phoenix.shell import Script
from phoenix.site.model import Site

Commands = Generator[StringCommand | FunctionCommand, None, None]

_ADOPT = Script("step-ca-adopt", text("components/taking_over/adopt.sh"))
_RECORD = Script(
    "taking-over",
    'umask 077; mkdir -p -m 755 /var/lib/phoenix && mkdir -p "$1" && '
    # The record of a complete run is put aside; that of a killed run goes on.
    '{ [ -e "$1/$2" ] || [ ! -e "$1/$2.done" ] || mv -f -- "$1/$2.done" "$1/$2.done.earlier"; } && '
    'cat >"$1/$2.part" && '
    'sync -- "$1/$2.part" && mv -f -- "$1/$2.part" "$1/$2"',
)


def _existing(places: Sequence[Place]) -> Question[ExistingServices]:
    return question(ExistingServicesFact, places=[place.word for place in places])


def _sites(places: Sequence[Place]) -> list[Question[tuple[OwnSite, ...]]]:
    """The question for a person's own sites, where the gateway is one of the places."""
    trees = [place.tree for place in places if place.kind == "nginx"]
    return [question(OwnSites, base=f"{BASE}/{tree}") for tree in trees]


def _traefik(places: Sequence[Place]) -> list[Question[existing_files.OwnTraefik]]:
    """The question for a person's own Traefik, where Traefik is one of the places."""
    trees = [place.tree for place in places if place.kind == "traefik"]
    return [question(OwnTraefikFiles, base=f"{BASE}/{tree}") for tree in trees]


def _docker(places: Sequence[Place]) -> list[tuple[Question[DaemonState], Question[DaemonStart]]]:
    """The questions for Docker's API, where a Docker host is one of the places."""
    return [
        (question(DockerDaemon, base=f"{BASE}/{place.tree}"), question(DockerStart))
        for place in places
        if place.kind == "docker"
    ]


def _all(places: Sequence[Place]) -> list[Question[Any]]:
    """Every question about existing services in these places."""
    docker = [query for pair in _docker(places) for query in pair]
    return [_existing(places), *_sites(places), *_traefik(places), *docker]


def _existing_services(places: Sequence[Place], choices: TakingOver) -> ExistingServices:
    """The existing services in these places that somebody has to decide about."""
    existing = read(_existing(places))
    for query in _sites(places):
        sites: tuple[OwnSite, ...] = read(query)
        existing = replace(existing, sites=considered(sites, are_kept=choices.nginx == "keep"))
    for traefik in _traefik(places):
        own: existing_files.OwnTraefik = read(traefik)
        proxy = existing_files.considered(own, is_kept=choices.traefik == "keep")
        existing = replace(existing, proxy=proxy)
    for daemon, start in _docker(places):
        state: DaemonState = read(daemon)
        apis = remote_api.remote_apis(state.present, read(start))
        # Where Phoenix's daemon.json is in place already, nothing is asked any more.
        asked = state.foreign or not state.present or choices.docker == "keep"
        existing = replace(existing, apis=apis if asked else ())
    return existing


def _warn(existing: ExistingServices, choices: TakingOver) -> None:
    """Tell on each run of a kept port by which anybody is root."""
    if not host.state.is_executing or choices.docker != "keep":
        return
    for api in existing.apis:
        if api.is_open:
            report_note(
                host.name, f"Docker's API at {api.url} is open: whoever reaches it is root here"
            )


@operation(reads=lambda places, **_: _all(places))
def looked_at(*, site: Site, places: Sequence[Place], choices: TakingOver) -> Commands:
    """Find who stands in the places that Phoenix takes here, and note what gives way.

    Args:
        site: as it is declared.
        places: of this host.
        choices: what its person says becomes of it.

    Where they say nothing the host is refused, and left out of the run, before anything on it is
    touched. A plan shows what was found and what may be said.
    """
    existing = _existing_services(places, choices)
    verdict = decide(
        places,
        existing,
        choices,
        partial(unfit, site),
        served_names(site),
        lambda own: existing_files.faults(own, taken_names(site)),
    )
    if verdict.refused:
        if host.state.is_executing:
            isolation.leave(this_host())
        yield from fail_in_turn(*verdict.refused)
        return
    if not verdict.does:
        host.noop("nobody stands in the places that Phoenix takes")
        return
    log_lines(verdict.does)
    _warn(existing, choices)
    if not verdict.records:
        host.noop("nothing that stands there has to stop")
        return
    for kind, lines in verdict.records.items():
        yield script(_RECORD, DIRECTORY, kind, stdin="".join(f"{line}\n" for line in lines))
    if host.state.is_executing:
        for line in verdict.does:
            report_note(host.name, f"taking_over: {line}")


@operation(reads=lambda places, **_: [_existing(places), question(CertificateAuthority)])
def ca_adopted(
    *,
    site: Site,
    places: Sequence[Place],
    organisation: str,
    years: int,
    password: SecretStr | None,
) -> Commands:
    """Have Phoenix's CA go on with the root and intermediate of the one that was here, once.

    Args:
        site: as it is declared.
        places: of this host.
        organisation: see `operations.step_ca.initialised`, which judges a CA that is there already.
        years: likewise.
        password: of the keys of the one that was here; None where they have none.

    The host is refused, and nothing changed, where there is none, or its files, its keys and the
    password do not fit together. Its own files stay as they are.
    """
    if not read(question(CertificateAuthority)).absent:
        yield from initialised._inner(
            site, organisation=organisation, years=years, password=password
        )
        return
    authorities = read(_existing(places)).authorities
    if len(authorities) != 1:
        where = ", ".join(authority.directory for authority in authorities) or "none"
        reason = (
            f'taking_over says "ca": "adopt", and of {AUTHORITIES} exactly one CA is expected, '
            f"found: {where}. Move the one that you mean to /root/.step, or write another word"
        )
        yield from fail_in_turn(reason)
        return
    (authority,) = authorities
    (root, *_) = parse_chain(authority.root)
    log_lines(
        [f"the CA in {authority.directory} is adopted: {root.subject_cn}, {root.fingerprint}"]
    )
    yield script(
        _ADOPT, CA_DIRECTORY, authority.root_file, authority.signer_file, authority.key,
        authority.root_key, stdin=f"{password.get_secret_value()}\n" if password else "\n",
    )  # fmt: skip
    if host.state.is_executing:  # the command before this line has succeeded
        report_note(
            host.name,
            f"the CA in {authority.directory} is adopted: its root {root.subject_cn!r} (SHA-256 "
            f"{root.fingerprint}) stays the one to trust, and its files stay there",
        )


@operation(reads=lambda record, server, **_: [question(ZoneAnswer, record=record, server=server)])
def forwarded(*, record: str, address: str, server: str, how: Sequence[str]) -> Commands:
    """Refuse a resolver that keeps its place and does not forward the site's zone.

    Args:
        record: a name of the zone.
        address: what Phoenix's name server answers for it.
        server: where the resolver that stays is asked.
        how: the lines by which it is told to forward the zone.
    """
    answer = read(question(ZoneAnswer, record=record, server=server))
    if answer == address:
        host.noop(f"{server} forwards the site's zone")
        return
    reason = (
        f"{server} answers {answer or 'nothing'} for {record}, not {address}: the resolver that "
        "stays there does not forward the site's zone yet. Add to its configuration, reload it, "
        "and run again:"
    )
    lines = [reason, *(f"    {line}" for line in how)]
    yield from fail_in_turn(*lines)
