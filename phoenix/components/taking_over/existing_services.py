"""Existing services of a host, and the places (ports, units, files) that Phoenix needs there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from phoenix.components.answers import unexpected
from phoenix.components.docker.remote_api import RemoteApi
from phoenix.components.nginx.existing_sites import OwnSite
from phoenix.components.portainer.compose_files import SERVER_UNIT
from phoenix.components.portainer.tunnel import UNIT as TUNNEL_UNIT
from phoenix.components.step_ca.authority import UNIT as CA_UNIT
from phoenix.components.traefik.existing_files import OwnTraefik
from phoenix.components.traefik.traefik_yml import UNIT as TRAEFIK_UNIT
from phoenix.derived import control_plane, home
from phoenix.derived.components import AGENT, SERVER
from phoenix.site import ports, unit_names
from phoenix.site.addressing import static_addresses
from phoenix.site.model import Host, Site
from phoenix.site.names import AGENT_PROJECT, SERVER_PROJECT

Kind = Literal["resolver", "ca", "traefik", "nginx", "docker", "portainer", "agent"]
"""What stands there, named after what Phoenix has in its place."""
OURS: dict[Kind, tuple[str, ...]] = {
    "resolver": (unit_names.DNS,),
    "ca": (CA_UNIT,),
    "traefik": (TRAEFIK_UNIT,),
    "nginx": (unit_names.NGINX,),
    "docker": (unit_names.DOCKER,),
    "portainer": (SERVER_UNIT,),
    "agent": (TUNNEL_UNIT,),
}
"""Phoenix's own units in each place; of a unit of the same name the configuration tree takes the
place of its files, and keeps them."""
_PROJECTS = (SERVER_PROJECT, AGENT_PROJECT)
_EVERY = {"0.0.0.0", "*", "::"}  # noqa: S104  # what ss(8) writes for every address
_UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]+\.service")
_CONTAINER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_PORTAINER = re.compile(r"(?:.*/)?portainer/portainer(?:-[ce]e)?(?:[:@].*)?")


HOME = "home"
"""The tree of the start page, on Traefik's guest."""


class ExistingServiceError(ValueError):
    """A host's answer is not of the expected form."""


@dataclass(frozen=True)
class Place:
    """Ports of a host that a component of Phoenix needs.

    Attributes:
        kind: what stands there.
        tree: the component's configuration tree: where it is on the host, the place is Phoenix's.
        ports: by number.
        addresses: those that the component listens on; none: every address.
        shared: whether what stands there can be kept, where its kind can.
    """

    kind: Kind
    tree: str
    ports: tuple[int, ...]
    addresses: tuple[str, ...] = ()
    shared: bool = True

    @property
    def word(self) -> str:
        """The place as an argument of `find_existing.sh`."""
        return f"{self.kind}:{self.tree}:{','.join(map(str, self.ports))}"

    def needs(self, address: str) -> bool:
        """Whether who listens on `address` is in the way."""
        return not self.addresses or address in _EVERY or address in self.addresses


@dataclass(frozen=True)
class Listener:
    """A process, unit or container that listens on a port.

    `unit` and `container` are empty where the process belongs to none; `image` and `project` are
    the container's.
    """

    kind: Kind
    protocol: str
    address: str
    port: int
    process: str = ""
    unit: str = ""
    container: str = ""
    image: str = ""
    project: str = ""

    @property
    def is_ours(self) -> bool:
        """Whether Phoenix has put it there, in an earlier release or before its tree was lost."""
        return self.unit in OURS[self.kind] or self.project in _PROJECTS


@dataclass(frozen=True)
class Container:
    """A container of Portainer's or its agent's, or of the name of Phoenix's; `data` is the folder
    on the host of what Portainer keeps."""

    kind: Kind
    name: str
    image: str = ""
    project: str = ""
    state: str = ""
    data: str = ""

    @property
    def is_ours(self) -> bool:
        """Whether Phoenix has made it."""
        return self.project in _PROJECTS

    @property
    def image_is_portainer(self) -> bool:
        """Whether it runs Portainer's server."""
        return _PORTAINER.fullmatch(self.image) is not None


@dataclass(frozen=True)
class Authority:
    """A CA of step-ca's form in a folder (STEPPATH) that is not Phoenix's.

    The files are where its ca.json says, else where `step ca init` puts them; `key` is no path
    where another device holds it. `unit` and `runs` are of its process. `root` and `signer` are
    the root and intermediate certificates, as PEM.
    """

    directory: str
    root_file: str
    signer_file: str
    key: str
    root_key: str
    unit: str = ""
    runs: bool = False
    root: str = ""
    signer: str = ""


@dataclass(frozen=True)
class OwnRoutes:
    """A file of a person's Traefik: the names of its routers, and the URLs of its services.

    `is_read`: it stands where Phoenix's Traefik reads every file.
    """

    path: str
    is_read: bool = False
    names: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()


ExistingService = Listener | Container | Authority | OwnSite | OwnRoutes | OwnTraefik | RemoteApi


@dataclass(frozen=True)
class ExistingServices:
    """All existing services in the places of a host."""

    listeners: tuple[Listener, ...] = ()
    containers: tuple[Container, ...] = ()
    authorities: tuple[Authority, ...] = ()
    sites: tuple[OwnSite, ...] = ()
    routes: tuple[OwnRoutes, ...] = ()
    apis: tuple[RemoteApi, ...] = ()
    proxy: OwnTraefik | None = None


def places(site: Site, host: Host) -> tuple[Place, ...]:
    """The places that Phoenix takes on a host, in the order of its components."""
    result: list[Place] = []
    if host in site.name_servers:
        addresses = tuple(map(str, static_addresses(host)))
        # Behind one that is kept, a further name server would answer nobody.
        first = host == site.hypervisor
        result.append(Place("resolver", "dns", (ports.DNS,), addresses, shared=first))
    if host == site.ca:
        result.append(Place("ca", "step-ca", (control_plane.ca(site).port,)))
    if host in site.traefiks:
        result.append(Place("traefik", "traefik", (ports.HTTP, ports.HTTPS)))
    if host in home.served_by(site):
        result.append(Place("nginx", HOME, (), shared=False))  # nginx.service there is masked
    if host in site.gateways:
        result.append(Place("nginx", "nginx", (ports.HTTP, ports.HTTPS)))
    if host in site.docker_hosts and "docker" not in host.left_alone:
        result.append(Place("docker", "docker", ()))
    if host == site.portainer:
        result.append(Place("portainer", SERVER, (control_plane.portainer_port(site),)))
    if host in site.agents and site.has_portainer:
        result.append(Place("agent", AGENT, (control_plane.agent(site, host).port,)))
    return tuple(result)


def parse(lines: Iterable[str]) -> ExistingServices:
    """What a host answers to `find_existing.sh`.

    Raises:
        ExistingServiceError: a line has another format, or an impossible name.
    """
    listeners: list[Listener] = []
    containers: list[Container] = []
    authorities: dict[str, Authority] = {}
    routes: list[OwnRoutes] = []
    pems: dict[tuple[str, str], str] = {}
    for line in filter(None, lines):
        match line.split("\t"):
            case ["listener", kind, protocol, end, process, unit, container, image, project]:
                address, _, port = end.rpartition(":")
                plain = address.partition("%")[0].strip("[]")
                listeners.append(
                    Listener(
                        _kind(kind, line), protocol, plain, _number(port, line), process,
                        _named(unit, _UNIT), _named(container, _CONTAINER), image, project,
                    )
                )  # fmt: skip
            case ["container", kind, name, image, project, state, data]:
                other = Container(
                    _kind(kind, line), _named(name, _CONTAINER), image, project, state, data
                )
                if other.name:
                    containers.append(other)
            case ["authority", folder, root, signer, key, root_key, unit, running]:
                authorities[folder] = Authority(
                    folder, root, signer, key, root_key, _named(unit, _UNIT), bool(running)
                )
            case ["routes", path, ("read" | "") as read, *ends]:
                urls = tuple(end for end in ends if "://" in end)
                names = tuple(end for end in ends if "://" not in end)
                routes.append(OwnRoutes(path, bool(read), names, urls))
            case [("root" | "signer") as which, folder, text]:
                pems[folder, which] = f"{pems.get((folder, which), '')}{text}\n"
            case _:
                raise ExistingServiceError(unexpected(line))
    return ExistingServices(
        tuple(dict.fromkeys(listeners)),
        tuple(containers),
        tuple(
            replace(
                authority, root=pems.get((name, "root"), ""), signer=pems.get((name, "signer"), "")
            )
            for name, authority in authorities.items()
        ),
        routes=tuple(routes),
    )


def clashes(place: Place, existing: ExistingServices) -> Sequence[ExistingService]:
    """The existing services in one place: listeners, and containers, CAs and files."""
    protocols = ("tcp", "udp") if place.kind == "resolver" else ("tcp",)
    listening = [
        listener
        for listener in existing.listeners
        if listener.kind == place.kind
        and listener.port in place.ports
        and listener.protocol in protocols
        and place.needs(listener.address)
        and not listener.is_ours
    ]
    names = {listener.container for listener in listening}
    return [
        *listening,
        *(
            container
            for container in existing.containers
            if container.kind == place.kind
            and not container.is_ours
            and container.name not in names
        ),
        *(existing.authorities if place.kind == "ca" else ()),
        *(existing.sites if place.kind == "nginx" else ()),
        *(existing.routes if place.kind == "traefik" else ()),
        *((existing.proxy,) if existing.proxy and place.kind == "traefik" else ()),
        *(existing.apis if place.kind == "docker" else ()),
    ]


def _kind(text: str, line: str) -> Kind:
    for kind in OURS:
        if text == kind:
            return kind
    raise ExistingServiceError(unexpected(line))


def _number(text: str, line: str) -> int:
    if not text.isdigit():
        raise ExistingServiceError(unexpected(line))
    return int(text)


def _named(text: str, form: re.Pattern[str]) -> str:
    """A name that may be given to systemctl or docker; empty for anything else."""
    return text if form.fullmatch(text) else ""
