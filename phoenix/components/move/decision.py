"""Whether a stack may start on the host that declares it, or moves there, or is refused. Pure.

A stack that is new on its host starts empty. It must not where the data are on another host: there
it runs, is stopped, or has left its volumes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from phoenix.components.docker.projects import Anonymous, ComposeProject, Volume
from phoenix.components.move.steps import Phase
from phoenix.declaration import image_reference


@dataclass(frozen=True)
class Unfinished:
    """A move to a host that has not ended: from which host, and how far it came."""

    source: str
    phase: Phase


@dataclass(frozen=True)
class HostState:
    """What one Docker host has.

    Attributes:
        projects: its compose projects, by name.
        arriving: moves to it that have not ended, by project.
        left: projects that a move stopped on it.
    """

    projects: Mapping[str, ComposeProject] = field(default_factory=dict)
    arriving: Mapping[str, Unfinished] = field(default_factory=dict)
    left: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Stays:
    """The stack is on this host, or on none: it may start."""


@dataclass(frozen=True)
class Moves:
    """The stack moves from `source` to this host.

    Attributes:
        phase: how far it came already; None where it begins.
        volumes: what it has there, as far as Docker's labels tell.
        anonymous: what of its data no name leads to, and is not copied.
    """

    project: str
    source: str
    target: str
    phase: Phase | None = None
    volumes: tuple[Volume, ...] = ()
    anonymous: tuple[Anonymous, ...] = ()

    @property
    def sentence(self) -> str:
        """The one plan item."""
        moves = "moves" if self.phase is None else "has not finished its move"
        return f"stack {self.project} {moves} from {self.source} to {self.target} ({self.data})"

    @property
    def title(self) -> str:
        """The name of the step."""
        return f"S{self.sentence[1:]}"

    @property
    def data(self) -> str:
        """The volumes and their size in words, and those that stay behind."""
        left = f"; not copied: {', '.join(map(str, self.anonymous))}" if self.anonymous else ""
        if not self.volumes:
            return f"no {'named ' if left else ''}volumes{left}"
        names = ", ".join(volume.name for volume in self.volumes)
        known = [volume.size_kib for volume in self.volumes if volume.size_kib is not None]
        size = f", {-(-sum(known) // 1024)} MiB" if len(known) == len(self.volumes) else ""
        return f"{'volumes' if len(self.volumes) > 1 else 'volume'}: {names}{size}{left}"

    @property
    def refusal(self) -> str:
        """Why a run without --move is refused, and the ways on."""
        return (
            f"{self.sentence}, and without its data it would start there empty. Nothing was "
            f"changed. fix: `phoenix sync --move` moves it with its data (plain pyinfra: "
            f"deploys/moves.py); `phoenix sync --new {self.project}` starts it on {self.target} "
            f"without them"
        )


@dataclass(frozen=True)
class Refused:
    """The run is refused: the place of the stack's data is unknown, or two hosts have data."""

    project: str
    target: str
    reason: str

    @property
    def title(self) -> str:
        """The name of the step."""
        return f"Stack {self.project} is not started"

    @property
    def refusal(self) -> str:
        """The reason, and the ways on."""
        return (
            f"stack {self.project} is not started on {self.target}: {self.reason}. Nothing was "
            f"changed. To start it without earlier data all the same, as when a host is lost for "
            f"good: `phoenix sync --new {self.project}` (plain pyinfra: {NEW}={self.project})"
        )


Decision = Stays | Moves | Refused

NEW = "PHOENIX_NEW"
"""Environment variable: names of stacks, with commas, that start without the data of another
host."""
MOVING = "PHOENIX_MOVING"
"""Environment variable: set where the moves of a run have been made before this part of it."""
PENDING = "pending_moves"
"""The value that a run tells of a host: the sentences of the moves that it was not asked for."""


def decide(
    project: str,
    target: str,
    states: Mapping[str, HostState | str],
    lost: Collection[str] = (),
) -> Decision:
    """What becomes of a stack on the host that declares it.

    Args:
        project: its name on the host.
        target: the host that declares it.
        states: of it, and of every other Docker host that does not declare a stack of this name;
            a text says why a host could not be asked.
        lost: hosts that it was once deployed on and that are no more in the declaration.

    Returns:
        Where Docker does not answer here, as before its deploy has started it, only a stack that
        runs elsewhere moves: what else is here is not known.
    """
    here_now = states[target]
    others = {name: state for name, state in states.items() if name != target}
    if isinstance(here_now, str):
        running = _running(project, others)
        return _from(project, target, running) if running else Stays()
    arriving = here_now.arriving.get(project)
    if arriving is not None and arriving.phase != "proven":
        return _resumed(project, target, arriving, others)
    project_here = here_now.projects.get(project)
    if project_here is not None and (project_here.running or project_here.containers):
        running = [] if project_here.running else _running(project, others)
        return _from(project, target, running) if running else Stays()
    if running := _running(project, others):
        return _from(project, target, running)
    silent = {name: why for name, why in others.items() if isinstance(why, str)}
    if silent:
        reasons = "; ".join(f"{name} does not answer ({why})" for name, why in silent.items())
        return Refused(project, target, f"{reasons}, so whether it has run there cannot be known")
    holders = [(name, state.projects[project]) for name, state in others.items()
             if isinstance(state, HostState) and project in state.projects]  # fmt: skip
    stopped = [holder for holder in holders if holder[1].containers]
    if stopped:
        return _from(project, target, stopped)
    if project_here is not None:
        return Stays()
    if left := [holder for holder in holders if holder[1].volumes]:
        return _from(project, target, left)
    if lost:
        where = " and ".join(lost)
        return Refused(project, target, f"it was deployed on {where}, which this site no longer "
                       "declares: declare it again, without stacks, to move it")  # fmt: skip
    return Stays()


@dataclass(frozen=True)
class Shape:
    """What a stack is made of: its services, and the repositories of its images."""

    services: frozenset[str] = frozenset()
    repositories: frozenset[str] = frozenset()


def shape(services: Iterable[str], images: Iterable[str]) -> Shape:
    """The shape of a stack by its services and the references of its images."""
    parsed = map(image_reference.parse, images)
    return Shape(frozenset(services), frozenset(image.repository for image in parsed if image))


def renamed(
    project: str,
    target: str,
    declared: Shape,
    states: Mapping[str, HostState],
    deployed_once: Mapping[str, Collection[str]],
) -> Decision:
    """What becomes of a stack that is new on its host and may be another's new name.

    A stack is called after its folder and environment, and so are its volumes: under a new name it
    would start empty, beside the data of the old one. Its host may be a new one as well.

    Args:
        project: its name on the host.
        target: the host.
        declared: what it is made of.
        states: what that host and other Docker hosts have.
        deployed_once: stacks that Phoenix deployed once and that are no longer declared, by host.
    """
    former = [
        (name, candidate)
        for name in sorted(states, key=lambda name: (name != target, name))
        for candidate in _of_this_shape(declared, states[name], deployed_once.get(name, ()))
    ]
    if not former or project in states[target].projects:
        return Stays()
    where, first = former[0]
    names = " and ".join(candidate.name for _, candidate in former)
    volumes = ", ".join(volume.name for volume in first.volumes if volume.own)
    reason = (
        f"{names} runs {'there' if where == target else f'on {where}'} with the same services and "
        "images, and is declared no more. Where this is its new name, it would start without its "
        f"data ({volumes}): give folder and environment the name that they had; or "
    )
    reason += (
        f"name these volumes in the compose file (`external`) after `phoenix remove {first.name}`, "
        "which keeps them"
        if where == target
        else f"declare it on {where} under its new name first, as {where}'s own run then tells, "
        "and move it afterwards"
    )
    return Refused(project, target, reason)


def _of_this_shape(
    declared: Shape, state: HostState, deployed_once: Collection[str]
) -> Iterator[ComposeProject]:
    """Stacks of ours that run on a host with volumes of their own and are made of the same."""
    for name, candidate in sorted(state.projects.items()):
        made_of = shape(
            (container.service for container in candidate.containers),
            (container.image for container in candidate.containers),
        )
        if (
            name in deployed_once
            and candidate.running
            and any(volume.own for volume in candidate.volumes)
            and made_of == declared
        ):
            yield candidate


class HostPort(NamedTuple):
    """A published port of a host. `address` is the one that it is on; empty: all of them."""

    number: int
    proto: str
    address: str = ""

    def meets(self, other: HostPort) -> bool:
        """Whether a host can have only one of the two."""
        return self[:2] == other[:2] and (
            self.address == other.address or not (self.address and other.address)
        )


Ports = frozenset[HostPort]
"""Published ports of a host."""


def host_port(number: int, proto: str, address: object) -> HostPort:
    """A published port; `address` as the declaration or Docker has it."""
    text = str(address or "")
    return HostPort(number, proto, "" if text in ("0.0.0.0", "::") else text)  # noqa: S104


def _new(declared: Ports, published: Ports) -> Ports:
    """Ports that a stack does not have yet. One that it has on every address it has on each."""
    return frozenset(port for port in declared if not {port, port._replace(address="")} & published)


def shared(some: Ports, others: Ports) -> Ports:
    """The ports that clash with others on a host."""
    return frozenset(port for port in some if any(map(port.meets, others)))


def exchange(declared: Mapping[str, Ports], published: Mapping[str, Ports]) -> tuple[str, ...]:
    """Stacks of one host that take each other's ports in a circle; empty where none do.

    Args:
        declared: the ports that each stack is to publish.
        published: the ports that each publishes now.
    """
    before = givers(declared, published)
    done: set[str] = set()
    while free := {name for name in before if name not in done and before[name] <= done}:
        done |= free
    circle = [name for name in before if name not in done]
    # Of those that are left, some only wait for the circle.
    while waiting := {n for n in circle if not any(n in before[other] for other in circle)}:
        circle = [name for name in circle if name not in waiting]
    return tuple(circle)


def givers(
    declared: Mapping[str, Ports], published: Mapping[str, Ports]
) -> dict[str, frozenset[str]]:
    """For each stack the stacks that must release a port before it can start.

    Args:
        declared, published: as for `exchange`.
    """
    return {
        name: frozenset(
            other
            for other in declared
            if other != name
            and shared(
                _new(ports, published.get(name, frozenset())),
                _new(published.get(other, frozenset()), declared[other]),
            )
        )
        for name, ports in declared.items()
    }


def taken_ports(
    declared: Mapping[str, Ports], published_now: Mapping[str, Ports]
) -> Iterator[tuple[str, str, Ports]]:
    """Ports that a stack is to publish anew and that one beside the run has.

    Args:
        declared: the ports that each stack of the run is to publish.
        published_now: the ports that each stack of the host publishes now.

    Returns:
        The stack of the run, who has the ports, and the ports.
    """
    for name, ports in declared.items():
        for other, published in published_now.items():
            in_use = shared(_new(ports, published_now.get(name, frozenset())), published)
            if other not in declared and in_use:
                yield name, other, in_use


def _running(
    project: str, others: Mapping[str, HostState | str]
) -> list[tuple[str, ComposeProject]]:
    return [
        (name, state.projects[project])
        for name, state in others.items()
        if isinstance(state, HostState)
        and project in state.projects
        and state.projects[project].running
    ]


def _from(project: str, target: str, holders: list[tuple[str, ComposeProject]]) -> Decision:
    if len(holders) > 1:
        names = [name for name, _ in holders]
        return Refused(
            project, target, f"{' and '.join(names)} have it, and only one can be moved: "
            f"remove the other (as `phoenix remove {project}@{names[-1]}`)",
        )  # fmt: skip
    source, copy = holders[0]
    return Moves(project, source, target, volumes=copy.volumes, anonymous=copy.anonymous)


def _resumed(
    project: str, target: str, arriving: Unfinished, others: Mapping[str, HostState | str]
) -> Decision:
    source = arriving.source
    state = others.get(source)
    if state is None:
        return Refused(project, target, f"its move from {source} has not ended, and {source} is no "
                       "Docker host of this site: declare it again")  # fmt: skip
    if isinstance(state, str):
        return Refused(project, target, f"its move from {source} has not ended, and {source} does "
                       f"not answer ({state})")  # fmt: skip
    copy = state.projects.get(project)
    volumes = copy.volumes if copy else ()
    anonymous = copy.anonymous if copy else ()
    # It went back, and has written since: what was copied is old.
    phase: Phase = "copying" if copy is not None and copy.running else arriving.phase
    return Moves(project, source, target, phase=phase, volumes=volumes, anonymous=anonymous)
