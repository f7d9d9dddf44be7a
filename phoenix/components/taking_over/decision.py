"""The decision about existing services: keep, adopt or replace, or why the run is refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from phoenix.components.ca_rotation import required_names
from phoenix.components.dnsmasq.dnsmasq_conf import KEPT_PORT
from phoenix.components.docker.remote_api import SOCKET, RemoteApi
from phoenix.components.nginx.existing_sites import OwnSite, faults
from phoenix.components.step_ca.authority import DIRECTORY as CA_DIRECTORY
from phoenix.components.taking_over.existing_services import (
    HOME,
    Authority,
    Container,
    ExistingService,
    ExistingServices,
    Kind,
    Listener,
    OwnRoutes,
    Place,
    clashes,
)
from phoenix.components.traefik.existing_files import OwnTraefik
from phoenix.components.traefik.traefik_yml import DYNAMIC
from phoenix.components.x509 import CertificateError, parse_chain, permitted
from phoenix.declaration.settings import TakingOver
from phoenix.files import text
from phoenix.shell import Script
from phoenix.site import unit_names
from phoenix.site.findings import visible
from phoenix.site.model import Site
from phoenix.site.ports import LOOPBACK

DIRECTORY = "/var/lib/phoenix/taken_over"
"""Records of the existing services that Phoenix stopped, a file for each kind: they are read only
on the host itself."""
AUTHORITIES = (
    "/root/.step, /etc/step, /opt/step, /opt/step-ca, /home/*/.step or where a step-ca runs"
)
"""Where a CA is looked for."""
STOP_EXISTING = Script("stop-existing", text("components/taking_over/stop_existing.sh"))
"""Stops what the record of a kind names, or puts it back: stop|back DIRECTORY KIND."""

_NEVER = frozenset({
    unit_names.DOCKER, "containerd.service", unit_names.SSH, unit_names.SSHD, "pveproxy.service",
    "pvedaemon.service", "pve-cluster.service",
})  # fmt: skip
"""Units that much else needs: Phoenix stops none of them."""
_PATH = re.compile(r"[A-Za-z0-9/._-]+")
_STOPPED = (
    "it is stopped and no longer started at boot; its files stay, and it runs again where "
    "Phoenix's own does not come up. To put it back: docs/taking-over.md"
)
_NEEDED_BY: Mapping[Kind, str] = {
    "resolver": "the name server of the site",
    "ca": "Phoenix's CA",
    "traefik": "Traefik",
    "nginx": "the gateway",
    "docker": "Docker's local socket",
    "portainer": "Portainer's server",
    "agent": "the tunnel to Portainer's agent",
}
WAYS: Mapping[Kind, Mapping[str, str]] = {
    "resolver": {
        "keep": f"it stays. Phoenix's name server listens on {LOOPBACK}, port {KEPT_PORT}, and a "
        "line in its configuration forwards the site's zone there; a run says which",
        "replace": _STOPPED,
    },
    "ca": {
        "adopt": "Phoenix's CA goes on with its root and intermediate, so nobody has to trust "
        f"anew: their keys are copied to {CA_DIRECTORY}, and its own files stay. The secret "
        "step_ca_password is then the password of its keys. Its service stops; its provisioners "
        "and its database (accounts of ACME clients, what was revoked) stay with it",
        "keep": "it stays as it is, beside Phoenix's own CA, whose root everybody has to trust too",
        "replace": f"Phoenix's own CA begins with a root that everybody has to trust. {_STOPPED}",
    },
    "traefik": {
        "keep": "its routers stay, and Phoenix's Traefik reads their files in /etc/traefik/dynamic "
        "beside its own, with the entry points that they name: tried together before anything is "
        "loaded. What else stands in its static configuration does not go on; the guard lets in "
        "to these ports whom the guest's firewall.rules name",
        "replace": "what has the port is stopped and no longer started at boot, its routes are no "
        "longer read, and files where Phoenix's Traefik reads every one are renamed "
        "FILE.before-phoenix; all stay. Declare what it leads to as external_services, by these "
        "names and URLs (docs/routes.md). To put it back: docs/taking-over.md",
    },
    "nginx": {
        "keep": "it stays, and the gateway's nginx reads it beside the site's own servers: checked "
        "together before anything is loaded. What stands in nginx.conf itself does not go on; the "
        "guard lets in to further ports whom the gateway's firewall.rules name",
        "replace": "what has the port is stopped and no longer started at boot, and sites of "
        "Nginx are no longer read; all files stay. To put it back: docs/taking-over.md",
    },
    "docker": {
        "keep": "it stays open, to whom a rule of the host's firewall.rules names, and to nobody "
        "else while the guard is on",
        "replace": "it is closed: Docker's API listens on the local socket alone. hosts and tls* "
        "of daemon.json are left out, and a drop-in starts dockerd without it; your files stay",
    },
    "portainer": {
        "adopt": "its container is stopped and kept as NAME-before-phoenix, and Phoenix's "
        "Portainer goes on with its data, of which a copy is kept. The secret "
        "portainer_admin_password is then the password that its user admin has",
    },
    "agent": {
        "replace": "its container is stopped and kept as NAME-before-phoenix; Phoenix's own agent "
        "takes its place",
    },
}
"""What each kind can be told, and what that does."""


@dataclass(frozen=True)
class Verdict:
    """What a run does about what it found on one host.

    Attributes:
        refused: why the host is not touched, a line each; empty where it may be.
        does: what becomes of it, a line each.
        records: by kind, what is stopped: lines for `STOP_EXISTING`.
    """

    refused: tuple[str, ...] = ()
    does: tuple[str, ...] = ()
    records: Mapping[Kind, tuple[str, ...]] = field(default_factory=dict)


def no_fault(_: Authority) -> str:
    """The faults of a CA without faults."""
    return ""


def no_faults(_: OwnTraefik) -> Iterable[str]:
    """The faults of a Traefik without faults."""
    return ()


def decide(
    places: Iterable[Place],
    existing: ExistingServices,
    choices: TakingOver,
    fault: Callable[[Authority], str] = no_fault,
    names: Collection[str] = (),
    unkept: Callable[[OwnTraefik], Iterable[str]] = no_faults,
) -> Verdict:
    """Hold what was found on a host against what its person said of it.

    Args:
        places: those that Phoenix takes there.
        existing: the existing services.
        choices: the setting `taking_over`.
        fault: why a CA cannot be adopted; see `unfit`.
        names: those that the gateway answers to.
        unkept: why the files of a person's Traefik cannot be kept; see `existing_files.faults`.
    """
    refused: list[str] = []
    actions: list[str] = []
    records: dict[Kind, tuple[str, ...]] = {}
    for place in places:
        conflicting = clashes(place, existing)
        if not conflicting:
            continue
        choice = choices.of(place.kind)
        who = list(dict.fromkeys(map(_words, conflicting)))
        if choice is None:
            refused += _asked(place, who, choices)
        elif reasons := [
            *_impossible(place.kind, choice, conflicting, existing, fault),
            *_resolver_impossible(place, choice, conflicting),
            *_sites_impossible(place, choice, conflicting, names),
            *_routers_impossible(choice, conflicting, unkept),
            *_api_impossible(choice, conflicting),
        ]:
            refused += reasons
        elif choice == "keep":
            actions += [f"{service}: {WAYS[place.kind][choice]}" for service in who]
        else:
            actions += [f"{service}: {WAYS[place.kind][choice]}" for service in who]
            if lines := _record(conflicting, existing):
                records[place.kind] = lines
    return Verdict(tuple(refused), tuple(actions), records)


def _asked(place: Place, who: Iterable[str], choices: TakingOver) -> list[str]:
    """The question to the person, with the line to write for each answer."""
    kind = place.kind
    needed_by = _NEEDED_BY[kind] if place.tree != HOME else "the start page's Nginx"
    lines = [f"{service}: {needed_by} takes its place" for service in who]
    lines.append(
        "nothing was touched on this host: say what becomes of it, in group_data/all.py, by one of"
    )
    written = choices.model_dump(exclude_none=True)
    for choice, effect in WAYS[kind].items():
        if choice == "keep" and not place.shared:
            continue
        lines += [f"    taking_over = {written | {kind: choice}}", f"        {effect}"]
    return lines


def _words(service: ExistingService) -> str:
    """What it is, as an operator finds it."""
    if isinstance(service, RemoteApi):
        how = "for clients with a certificate" if service.is_verified else "without any certificate"
        if service.is_open:
            how = "UNENCRYPTED AND FOR ANYBODY: whoever reaches it is root on this host"
        return f"Docker's API at {visible(service.url)}, by {service.where}, {how}"
    if isinstance(service, OwnRoutes):
        names = list(map(visible, service.names)) or ["no name"]
        urls = f" to {', '.join(map(visible, service.urls))}" if service.urls else ""
        return f"{visible(service.path)}, routes of Traefik for {', '.join(names)}{urls}"
    if isinstance(service, OwnTraefik):
        return _traefik_words(service)
    if isinstance(service, OwnSite):
        names = [visible(name) for name in service.names] or ["no name"]
        ports = f", on port {' and '.join(map(str, service.ports))} too" if service.ports else ""
        return f"{visible(service.path)}, Nginx for {', '.join(names)}{ports}"
    if isinstance(service, Authority):
        runs = f", run by {service.unit or 'no unit'}" if service.runs else ""
        return f"the CA in {visible(service.directory)}{runs}"
    if isinstance(service, Container):
        return (
            f"container {visible(service.name)} ({visible(service.image)}, "
            f"{visible(service.state)})"
        )
    holder = (
        f"process {visible(service.process)}" if service.process else "a process without a name"
    )
    if service.container:
        holder = f"container {service.container} ({visible(service.image)})"
    elif service.unit:
        holder = service.unit
    return f"{holder} on port {service.port}"


def _traefik_words(traefik: OwnTraefik) -> str:
    if traefik.static is None:
        return f"files of Traefik in {DYNAMIC}"
    points = [
        f"{visible(name)} ({visible(str(entry_point.get('address', 'no address')))})"
        if isinstance(entry_point, Mapping)
        else visible(name)
        for name, entry_point in traefik.entry_points.items()
    ]
    providers = map(visible, traefik.providers)
    return (
        f"{visible(traefik.static.path)}, a Traefik with the entry points "
        f"{', '.join(points) or 'of its defaults'} and the providers "
        f"{', '.join(providers) or 'of its command line'}"
    )


def unfit(site: Site, authority: Authority) -> str:
    """Why a CA cannot be adopted for this site, by its certificates; empty where it can.

    Whether they fit together, and to the keys and the password, is proven where they are copied.
    """
    try:
        certificates = {
            "root": parse_chain(authority.root)[0],
            "intermediate": parse_chain(authority.signer)[0],
        }
        limits = {"root": permitted(authority.root), "intermediate": permitted(authority.signer)}
    except CertificateError as error:
        return f"its certificates cannot be read: {error}"
    for which, certificate in certificates.items():
        if not certificate.is_ca:
            return f"its {which} certificate {certificate.subject_cn!r} is none of a CA"
        limit = limits[which]
        if beyond := [name for name in required_names(site) if limit and not limit.allows(name)]:
            return f"its {which} certificate does not vouch for {' and '.join(beyond)}"
    return ""


def _impossible(
    kind: Kind,
    choice: str,
    conflicting: Sequence[ExistingService],
    existing: ExistingServices,
    fault: Callable[[Authority], str],
) -> list[str]:
    """Why what stands there cannot become what it was told."""
    if kind == "ca" and (reasons := _ca_impossible(choice, conflicting, existing, fault)):
        return reasons
    if choice == "keep":
        return []
    reasons = [
        f"{_words(service)} belongs to no container and no systemd unit that Phoenix may stop and "
        "could start again: take it from there, and run again"
        for service in conflicting
        if not _stopped(service)
        and not isinstance(service, OwnSite | OwnRoutes | OwnTraefik | RemoteApi)
        and not (isinstance(service, Authority) and not service.runs)
    ]
    reasons += [
        f"{_words(service)} stands where Phoenix's Traefik reads every file: rename it to a "
        "name of "
        "letters, digits, dots and hyphens, and run again"
        for service in conflicting
        if isinstance(service, OwnRoutes) and service.is_read and not _PATH.fullmatch(service.path)
    ]
    if kind == "portainer":
        reasons += _portainer_impossible(conflicting, existing)
    return reasons


def _resolver_impossible(
    place: Place, choice: str, conflicting: Sequence[ExistingService]
) -> list[str]:
    """Why a resolver of a person's cannot be kept."""
    if place.kind != "resolver" or choice != "keep" or place.shared:
        return []
    return [
        f"{_words(service)} has the port of the site's name server, which a guest with the role "
        'name_server has for itself: write {"resolver": "replace"} in the data of this host, or '
        "give the role to another guest"
        for service in conflicting
    ]


def _sites_impossible(
    place: Place, choice: str, conflicting: Sequence[ExistingService], names: Collection[str]
) -> list[str]:
    """Why sites of Nginx cannot be kept, or who else has the gateway's port."""
    if choice != "keep":
        return []
    reasons: list[str] = []
    for service in conflicting:
        if isinstance(service, OwnSite) and place.tree == HOME:
            reasons.append(
                f"{_words(service)} is on Traefik's guest, whose own {unit_names.NGINX} is "
                "masked: move it "
                "to the gateway, and run again; or say 'replace' in group_data/traefik.py"
            )
        elif isinstance(service, OwnSite):
            reasons += faults(service, names)
        elif isinstance(service, Listener) and service.kind == "nginx":
            reasons.append(
                f"{_words(service)} cannot be kept, since the gateway needs that port: "
                "declare what it "
                "serves as external_services, at another port, and say 'replace'"
            )
    return reasons


def _routers_impossible(
    choice: str,
    conflicting: Sequence[ExistingService],
    unkept: Callable[[OwnTraefik], Iterable[str]],
) -> list[str]:
    """Why routers of a Traefik cannot be kept, or who else has the port of Phoenix's."""
    if choice != "keep":
        return []
    reasons: list[str] = []
    for service in conflicting:
        if isinstance(service, OwnTraefik):
            reasons += unkept(service)
        elif isinstance(service, OwnRoutes) and not service.is_read:
            reasons.append(
                f"{_words(service)} is not in {DYNAMIC}, where Phoenix's Traefik reads "
                "files: move it "
                "there, or out of /etc/traefik, and run again"
            )
        elif isinstance(service, Listener) and service.kind == "traefik":
            reasons.append(
                f"{_words(service)} cannot be kept there, since Phoenix needs that port: give it "
                "another one (of a Traefik the entry point's address, of a container the published "
                "port), or declare what it serves as external_services and say 'replace'; then run "
                "again"
            )
    return reasons


def _api_impossible(choice: str, conflicting: Sequence[ExistingService]) -> list[str]:
    """Ports that systemd opens for dockerd are its person's to close."""
    if choice != "replace":
        return []
    return [
        f"{_words(service)}: take its ListenStream= out of {SOCKET} (systemctl edit --full "
        f"{SOCKET}), "
        f"run systemctl restart {SOCKET}, and run again"
        for service in conflicting
        if isinstance(service, RemoteApi) and service.where == SOCKET
    ]


def _portainer_impossible(
    conflicting: Sequence[ExistingService], existing: ExistingServices
) -> list[str]:
    portainers = {
        container.name: container.data
        for container in existing.containers
        if container.image_is_portainer
    }
    reasons = [
        f"{_words(service)} is no Portainer, so it cannot be adopted: stop it, or give "
        "Portainer's "
        "guest another port (traefik_service.port)"
        for service in conflicting
        if _stopped(service) and _name(service) not in portainers
    ]
    if len(holding := [name for name, data in portainers.items() if data]) > 1:
        reasons.append(
            f"the containers {', '.join(holding)} all have data of Portainer: remove or rename "
            "those that you do not mean, and run again"
        )
    return reasons


def _ca_impossible(
    choice: str,
    conflicting: Sequence[ExistingService],
    existing: ExistingServices,
    fault: Callable[[Authority], str],
) -> list[str]:
    for authority in existing.authorities:
        if authority.directory == CA_DIRECTORY:
            reason = (
                f"{_words(authority)} stands where Phoenix keeps its own: stop its service "
                f"(systemctl disable --now step-ca), move it (mv {CA_DIRECTORY} /root/.step), and "
                "run again: it is then found there"
            )
            return [reason]
    listening = [service for service in conflicting if isinstance(service, Listener)]
    if choice == "keep":
        return [
            f"{_words(listener)} cannot be kept, since Phoenix's CA needs that port: replace "
            "or adopt "
            "it, or give the CA's guest another port (traefik_service.port)"
            for listener in listening
        ]
    if choice != "adopt":
        return []
    if len(existing.authorities) != 1:
        where = ", ".join(authority.directory for authority in existing.authorities) or AUTHORITIES
        many = "several CAs are" if existing.authorities else "no CA is"
        return [f"{many} in {where}: leave the one there that is to be adopted, and run again"]
    (authority,) = existing.authorities
    reasons = [
        f"{_words(other)} is not {_words(authority)}: stop it, or give the CA's guest another port "
        "(traefik_service.port)"
        for other in listening
        if other.unit != authority.unit
    ]
    if not authority.key.startswith("/"):
        reasons.append(
            f"{_words(authority)} has its key in {visible(authority.key)}, which cannot be copied"
        )
    if why := fault(authority):
        reasons.append(f"{_words(authority)} cannot be adopted: {why}")
    return reasons


def _record(conflicting: Sequence[ExistingService], existing: ExistingServices) -> tuple[str, ...]:
    """What `STOP_EXISTING` stops, and behind it the data that Phoenix's own goes on with."""
    names = {_name(service) for service in conflicting}
    data = (
        f"data {container.data}"
        for container in existing.containers
        if container.name in names and container.data
    )
    return tuple(dict.fromkeys((*filter(None, map(_stopped, conflicting)), *data)))


def _name(service: ExistingService) -> str:
    """The name of its container; empty where it has none."""
    if isinstance(service, Authority | OwnSite | OwnRoutes | OwnTraefik | RemoteApi):
        return ""
    return service.name if isinstance(service, Container) else service.container


def _stopped(service: ExistingService) -> str:
    """The line by which `STOP_EXISTING` stops it; empty where Phoenix cannot."""
    if name := _name(service):
        return f"container {name}"
    if isinstance(service, OwnRoutes):
        return f"file {service.path}" if service.is_read else ""
    if isinstance(service, Container | OwnSite | OwnTraefik | RemoteApi) or service.unit in _NEVER:
        return ""
    return f"unit {service.unit}" if service.unit else ""
