"""Compose projects of a Docker host: what each has there, and who deployed it. Pure.

`facts.containers` reads them. Docker's labels tell a project's containers and volumes, whoever
deployed it (https://docs.docker.com/reference/compose-file/; labels com.docker.compose.*).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from phoenix.components.answers import unexpected
from phoenix.compose.project_folders import PHOENIX_PROJECTS, PORTAINER_PROJECTS

Deployer = Literal["portainer", "phoenix", "hand"]
"""Portainer's server (its stacks), Phoenix by `docker compose`, or a person by hand."""

_UP = frozenset(("running", "paused", "restarting"))
"""Docker's words for what `docker ps` lists: a crash loop is `running` and `restarting` in turn."""
_NO_NAME = re.compile(r"[0-9a-f]{64}\Z")


class ProjectsError(ValueError):
    """Docker's answer is not of the expected form."""


@dataclass(frozen=True)
class Port:
    """A published port. `address` is empty, or 0.0.0.0 or ::, where every address has it."""

    address: str
    host_port: int
    container_port: int
    proto: str


@dataclass(frozen=True)
class Volume:
    """A named volume.

    Attributes:
        name: Docker's name of it.
        directory: where its content is on the host; empty where Docker does not tell.
        size_kib: KiB on the disk, None where nobody measured it.
        own: it has the label of its project, so that Compose made it for that project.
    """

    name: str
    directory: str
    own: bool
    size_kib: int | None = None


def is_anonymous(volume: str) -> bool:
    """Whether Docker made this name itself, since no compose file gave the volume one."""
    return bool(_NO_NAME.match(volume))


@dataclass(frozen=True)
class Anonymous:
    """A volume without a name of its own: it is its container's, and nothing else leads to it.

    Attributes:
        name: the 64 hexadecimal digits that Docker calls it by.
        container: whose it is.
        path: where it is mounted there.
    """

    name: str
    container: str
    path: str

    def __str__(self) -> str:
        """The text for the operator."""
        return f"the anonymous volume {self.name[:12]} ({self.path} of {self.container})"

    @property
    def stays(self) -> str:
        """What becomes of it when its container goes without its data."""
        return f"{self} stays, and only its name leads to it then: docker volume rm {self.name}"


@dataclass(frozen=True)
class Container:
    """One container, running or not.

    Attributes:
        name: its name.
        service: the service of its project.
        image: its image as the compose file names it.
        state: Docker's word (`running`, `exited`, ...).
        healthy: it runs, and no health check says that it is not healthy yet or any more.
        created: when it was made, UTC.
        exit_code: of one that has ended.
        binds: paths of the host that it mounts.
    """

    name: str
    service: str
    image: str
    state: str
    healthy: bool
    created: datetime
    exit_code: int | None = None
    binds: tuple[str, ...] = ()


@dataclass(frozen=True)
class ComposeProject:
    """One compose project; without containers it is what is left of one: its volumes.

    Attributes:
        name: the project's name.
        deployer: who deployed it; None where it has no container that tells.
        working_dir: the directory of its compose file, as its deployer saw it.
        containers: all of them, by name.
        volumes: named volumes that its containers use or that Compose made for it, by name.
        ports: what its containers publish, in order.
        anonymous: volumes of its containers that nobody named, by container and path.
    """

    name: str
    deployer: Deployer | None
    working_dir: str
    containers: tuple[Container, ...]
    volumes: tuple[Volume, ...]
    ports: tuple[Port, ...]
    anonymous: tuple[Anonymous, ...] = ()

    @property
    def running(self) -> bool:
        """Whether a container of it is up: one that is paused or starts again and again is, too."""
        return any(container.state in _UP for container in self.containers)

    @property
    def since(self) -> datetime | None:
        """When its oldest container was made, UTC; None where it has none."""
        return min((container.created for container in self.containers), default=None)


_TIME = TypeAdapter(datetime)
_AS_JSON = TypeAdapter(tuple[ComposeProject, ...])


def to_json(projects: Iterable[ComposeProject]) -> Any:
    """The projects as values of JSON."""
    return _AS_JSON.dump_python(tuple(projects), mode="json")


def from_json(value: Any) -> tuple[ComposeProject, ...]:
    """The projects of what `to_json` gave.

    Raises:
        pydantic.ValidationError: it is of another form.
    """
    return _AS_JSON.validate_python(value)


def read(lines: Iterable[str]) -> list[ComposeProject]:
    """The projects of a host, by name, from the lines of `facts.containers.ComposeProjects`.

    Raises:
        ProjectsError: a line is of another form; names it.
    """
    projects: dict[str, _Parts] = {}
    for line in lines:
        try:
            kind, project, *values = json.loads(line)
            projects.setdefault(project, _Parts()).add(kind, values)
        except (ValueError, TypeError, KeyError, ValidationError):
            raise ProjectsError(unexpected(line, of="docker")) from None
    return [projects[name].project(name) for name in sorted(projects)]


class _Parts:
    """What the lines so far told of one project."""

    def __init__(self) -> None:
        self.directories: list[tuple[str, str]] = []
        self.containers: list[Container] = []
        self.volumes: dict[str, Volume] = {}
        self.ports: set[Port] = set()
        self.anonymous: list[Anonymous] = []

    def add(self, kind: str, values: list[Any]) -> None:
        """One line without its project: of a container, or of a volume."""
        if kind == "volume":
            name, directory, size = values
            if not is_anonymous(name):
                self._volume(Volume(name=name, directory=directory, own=True, size_kib=size))
            return
        if kind != "container":
            raise ValueError(kind)
        (service, directory, files, name, state, health, created, image, mounts, bindings, code,
         binds) = values  # fmt: skip
        self.directories.append((directory or "", files or ""))
        self.containers.append(
            Container(
                name=name.removeprefix("/"),
                service=service or "",
                image=image,
                state=state,
                healthy=state == "running" and health not in {"starting", "unhealthy"},
                created=_TIME.validate_python(created),
                exit_code=code if state == "exited" else None,
                binds=tuple(binds[1:]),
            )
        )
        for mount in mounts[1:]:
            volume = mount["Name"]
            if is_anonymous(volume):
                path = mount["Destination"]
                self.anonymous.append(Anonymous(volume, self.containers[-1].name, path))
            else:
                self._volume(Volume(name=volume, directory=mount["Source"], own=False))
        for inside, places in (bindings or {}).items():
            number, _, proto = inside.partition("/")
            for place in places or ():
                if place["HostPort"]:
                    self.ports.add(
                        Port(
                            address=place["HostIp"],
                            host_port=int(place["HostPort"]),
                            container_port=int(number),
                            proto=proto,
                        )
                    )

    def _volume(self, volume: Volume) -> None:
        known = self.volumes.get(volume.name)
        if known is None or volume.own:
            self.volumes[volume.name] = volume

    def project(self, name: str) -> ComposeProject:
        """The project as a whole."""
        directory = next((place for place, _ in self.directories), "")
        return ComposeProject(
            name=name,
            deployer=_deployer(*self.directories[0]) if self.directories else None,
            working_dir=directory,
            containers=tuple(sorted(self.containers, key=lambda container: container.name)),
            volumes=tuple(self.volumes[volume] for volume in sorted(self.volumes)),
            ports=tuple(sorted(self.ports, key=lambda p: (p.host_port, p.proto, p.address))),
            anonymous=tuple(
                sorted(self.anonymous, key=lambda mount: (mount.container, mount.path))
            ),
        )


def _deployer(directory: str, files: str) -> Deployer:
    """The deployer of a project, by the folders of its compose files."""
    places = [directory, *files.split(",")]
    if any(place.startswith(PORTAINER_PROJECTS) for place in places):
        return "portainer"
    if any(place.startswith(PHOENIX_PROJECTS) for place in places):
        return "phoenix"
    return "hand"
