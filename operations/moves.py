"""Stacks that change their host: what becomes of each, the move, and its end on the old host.

Thin over `phoenix.components.move`. The host that declares a stack looks at itself and, only where
it has nothing of the stack, at the other Docker hosts. Give operations a ``name=``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from pydantic import SecretStr
from pyinfra import host, inventory
from pyinfra.api import FunctionCommand
from pyinfra.api.exceptions import ConnectError, OperationError
from pyinfra.api.host import Host

from facts.containers import ComposeProjects
from facts.host_fact import FactError
from facts.leftovers import Register
from facts.moves import Moves as MovesFact
from facts.verification import Checks
from operations import connection, run_refused
from operations.explain import log_lines, log_reasons, would_fail
from operations.failure import local_command
from operations.host_state import ask, consult, question, this_host
from operations.operation import operation
from operations.ssh_stream import ask as ask_by_ssh
from operations.ssh_stream import ask_each, stream
from operations.stacks import Stacks
from phoenix import files
from phoenix import portainer_api as api
from phoenix.components.move.contents import Contents, ContentsError, Place, read
from phoenix.components.move.decision import (
    MOVING,
    NEW,
    PENDING,
    Decision,
    HostState,
    Moves,
    Ports,
    Refused,
    Shape,
    Stays,
    decide,
    host_port,
    renamed,
)
from phoenix.components.move.space import fits
from phoenix.components.move.steps import Phase, move
from phoenix.derived.register import Entry, removed_hosts
from phoenix.runs.reporter import report, value
from phoenix.shell import Script
from phoenix.site.model import Host as SiteHost
from phoenix.site.model import Site
from phoenix.site.names import normalise_name

Commands = Generator[FunctionCommand, None, None]

_MIB = 1 << 20
_PROOF_SECONDS = 90.0


def _script(name: str) -> Script:
    return Script(name, files.text(f"components/move/{name}.sh"))


# -- what becomes of each stack --------------------------------------------------------------------


@dataclass(frozen=True)
class Outlook:
    """What becomes of each stack that a host declares, and what moves left of them there.

    Attributes:
        decisions: by project.
        halted: projects that a move to another host stopped here, and that stay here after all.
        partial: projects that start without earlier data, with a copy that is not whole here.
        ports: what each project publishes here now.
    """

    decisions: Mapping[str, Decision]
    halted: frozenset[str] = frozenset()
    partial: frozenset[str] = frozenset()
    ports: Mapping[str, Ports] = field(default_factory=dict)


def outlook(site: Site, projects: Mapping[str, Shape]) -> Outlook:
    """What becomes of stacks that this host declares.

    Args:
        site: with the other Docker hosts; those that declare a stack of the same name themselves
            are not asked for it.
        projects: the names of the stacks, each with what it is made of.
    """
    name_here = host.name
    here_now = _state(name_here, sizes=False)
    known = here_now if isinstance(here_now, HostState) else HostState()
    new = {name.strip() for name in os.environ.get(NEW, "").split(",")}
    decisions: dict[str, Decision] = {}
    for project, shape in projects.items():
        project_here = known.projects.get(project)
        settled = (
            project_here is not None and project_here.running and project not in known.arriving
        )
        if settled or project in new:
            decisions[project] = Stays()
            continue
        states = {
            other.name: _state(other.name, sizes=True)
            for other in _others(site)
            if not _declares(other, project)
        }
        lost = _lost(site).get(project, ())
        decisions[project] = decide(project, name_here, {name_here: here_now, **states}, lost)
        if decisions[project] == Stays():
            asked = {name_here: known, **_answered(states)}
            left = {name: _undeclared(site, state) for name, state in asked.items()}
            decisions[project] = renamed(project, name_here, shape, asked, left)
    stay = frozenset(name for name, decision in decisions.items() if decision == Stays())
    unfinished = {
        name
        for name, unfinished_move in known.arriving.items()
        if unfinished_move.phase != "proven"
    }
    ports = {
        name: frozenset(
            host_port(port.host_port, port.proto, port.address) for port in project.ports
        )
        for name, project in known.projects.items()
    }
    return Outlook(decisions, stay & known.left, stay & new & unfinished, ports)


def _answered(states: Mapping[str, HostState | str]) -> dict[str, HostState]:
    """The hosts that could be asked."""
    return {name: state for name, state in states.items() if isinstance(state, HostState)}


def _undeclared(site: Site, known: HostState) -> frozenset[str]:
    """Stacks of Phoenix that run on a host and are no longer declared."""
    declared = {
        stack.project for docker_host in site.docker_hosts for stack in docker_host.docker_stacks
    }
    left = known.projects.keys() - declared
    if not left:
        return frozenset()
    registered = {normalise_name(e.name) for e in _registered(site) if e.kind == "stack"}
    return frozenset(
        project
        for project in left & registered
        if known.projects[project].deployer in ("portainer", "phoenix")
    )


def leaving(site: Site) -> list[tuple[str, str]]:
    """Project and new host of each stack that has moved away from this host, up to its proof."""
    left = []
    for other in _others(site):
        state = _state(other.name, sizes=False)
        arriving = state.arriving if isinstance(state, HostState) else {}
        left += [
            (project, other.name)
            for project, arrived in arriving.items()
            if (arrived.source, arrived.phase) == (host.name, "proven")
            and _declares(other, project)
        ]
    return left


_left: WeakKeyDictionary[Host, bool] = WeakKeyDictionary()


def moved_away() -> bool:
    """Whether a move has stopped a stack on this host, and nothing has removed it there yet.

    It is read once while a run is prepared: the end of the move may be another run, as by plain
    pyinfra, or a later one.
    """
    own_name = this_host()
    if own_name not in _left:
        try:
            _left[own_name] = bool(consult(own_name, question(MovesFact)).left)
        except (FactError, ConnectError, OSError):
            return False  # the host's own steps tell it
    return _left[own_name]


def _others(site: Site) -> list[SiteHost]:
    return [other for other in site.docker_hosts if other.name != host.name]


def _declares(other: SiteHost, project: str) -> bool:
    return any(stack.project == project for stack in other.docker_stacks)


def _lost(site: Site) -> Mapping[str, tuple[str, ...]]:
    """Stacks that were deployed on hosts that this site no longer has, by the register."""
    return removed_hosts(_registered(site), site)


def _registered(site: Site) -> tuple[Entry, ...]:
    """The register; nothing where the hypervisor does not answer, which the run tells anyhow."""
    try:
        hypervisor = host_of(site.hypervisor.name)
        connection.connect(hypervisor, "to read the register")
        return consult(hypervisor, question(Register))
    except (FactError, ConnectError, OSError):
        return ()


_states: dict[tuple[str, bool], HostState | str] = {}


def _state(name: str, *, sizes: bool) -> HostState | str:
    """What a host has, or why it cannot be asked; read once while the run is prepared.

    It may be outside of ``--limit``.
    """
    key = (name, sizes)
    if key not in _states:
        try:
            _states[key] = _read_state(host_of(name), sizes=sizes)
        except (FactError, ConnectError, OSError) as error:
            _states[key] = str(error).splitlines()[0]
    return _states[key]


def _read_state(target: Host, *, sizes: bool) -> HostState:
    connection.connect(target, "to look for stacks on it")
    projects = consult(target, question(ComposeProjects, sizes=sizes))
    unfinished = consult(target, question(MovesFact))
    return HostState(
        {project.name: project for project in projects}, unfinished.arriving, unfinished.left
    )


def refuse(decision: Moves | Refused) -> None:
    """Refuse the whole run before its first step; a plan shows it as one change.

    Args:
        decision: what would have to be done, or is not known.
    """
    if isinstance(decision, Moves):
        _pending.append(decision.sentence)
        value(PENDING, host.name, _pending)
    refuse_run(decision.title, decision.refusal)


def refuse_run(title: str, refusal: str) -> None:
    """Refuse the whole run before its first step; a plan shows it as one change.

    Args:
        title: the name of the step.
        refusal: why, and the fix.
    """
    run_refused.refuse_run(refusal)
    _not_begun(name=title, refusal=refusal)


def refuse_before_run(site: Site, *, needs_target: bool = False) -> None:
    """Refuse a run that would lead clients to a stack's new host while the stack is not there.

    For deploys of what leads to a stack (routes, firewall). Where its new host is in the run, the
    deploy of its stacks decides, and in a run that moves stacks the moves are made already. Hosts
    are asked only where the register knows the stack on another one.

    Args:
        site: the site.
        needs_target: only where the new host answers: this run may be what makes it.
    """
    away = [
        other
        for other in site.docker_hosts
        if other.name in inventory.hosts and not host.state.is_host_in_limit(host_of(other.name))
    ]  # an inventory of one machine knows no other
    if MOVING in os.environ or not away:
        return
    deployed = {(entry.name, entry.host) for entry in _registered(site) if entry.kind == "stack"}
    for target in away:
        published = [service.deployment for service in site.services_of(target)
                     if service.exposure == "gateway"]  # fmt: skip
        for stack in target.docker_stacks:
            sources = [
                other.name
                for other in site.docker_hosts
                if (stack.project, other.name) in deployed and not _declares(other, stack.project)
            ]
            if not sources or stack not in published:
                continue
            target_state = _state(target.name, sizes=False)
            if needs_target and isinstance(target_state, str):
                continue
            states = {name: _state(name, sizes=True) for name in sources}
            decision = decide(stack.project, target.name, {target.name: target_state, **states})
            if isinstance(decision, Moves):
                refuse(decision)


@operation()
def _not_begun(refusal: str) -> Commands:
    log_reasons(refusal)
    would_fail()
    yield local_command(lambda: None)


_pending: list[str] = []


@operation()
def forget_move(project: str) -> Commands:
    """Forget a move to this host that has not ended, with what it copied."""
    yield _do(host.name, "target", "undo", project)


@operation()
def restart_stopped_stack(project: str) -> Commands:
    """Have a stack here that a move stopped and that is declared here again: policies as before."""
    yield _do(host.name, "source", "start", project)


# -- the move --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Arrival:
    """A stack as it is to be on the new host.

    Attributes:
        stacks: what deploys there.
        content, env: the compose file and its variables.
        images: references of its images.
        checks: commands of `checks.sh` that prove its services on this host.
        seconds: the deadline for its containers' health.
    """

    stacks: Stacks
    content: str
    env: Mapping[str, str | SecretStr]
    images: tuple[str, ...]
    checks: tuple[tuple[str, ...], ...]
    seconds: float = 300.0


@operation()
def moved(step: Moves, arrival: Arrival) -> Commands:
    """Move a stack to this host, up to its proof: copied, compared, started, checked.

    Args:
        step: which, and from where.
        arrival: how it is to be here.
    """
    log_reasons(step.sentence)
    target = host_of(host.name)
    yield local_command(
        lambda: move(step.project, _Ends(step, arrival, target, host_of(step.source)), step.phase)
    )


@operation()
def old_copy_removed(project: str, target: str, stacks: Stacks) -> Commands:
    """Remove what a move left of a stack on this host, its old one: containers, never volumes.

    Args:
        project: its name.
        target: the host that has it now, where the move is then forgotten.
        stacks: what deployed it here.
    """
    log_reasons(
        f"stack {project}: its stopped containers go; its volumes stay here until "
        f"`phoenix remove {project}@{host.name} --volumes`"
    )
    own_state = _state(host.name, sizes=False)
    if isinstance(own_state, HostState) and project in own_state.projects:
        log_reasons(
            *(
                f"stack {project}: {volume.stays}"
                for volume in own_state.projects[project].anonymous
            )
        )

    def end() -> None:
        try:
            with stacks.opened() as (engine, endpoint):
                absent = api.desired_stack(project, "", endpoint, present=False)
                api.converge(engine, absent, log=lambda line: log_lines([line]))
        except (OperationError, api.PortainerError) as error:  # what it ran on may be gone already
            log_lines([f"stack {project}: {stacks} does not forget it: {error}"])
        _at(host_of(host.name), "source", "gone", project)
        _at(host_of(target), "target", "end", project)

    yield local_command(end)


def host_of(name: str) -> Host:
    """A host of the inventory, which may be outside of ``--limit``."""
    target: Host = inventory.get_host(name)
    return target


def _at(target: Host, name: str, *arguments: str) -> str:
    return ask_by_ssh(target, _script(name).line(*arguments))


def _do(target: str, name: str, *arguments: str) -> FunctionCommand:
    def act() -> None:
        _at(host_of(target), name, *arguments)

    return local_command(act)


class _Ends:
    """The two ends of one move, over SSH."""

    def __init__(self, step: Moves, arrival: Arrival, target: Host, source: Host) -> None:
        self.step = step
        self.arrival = arrival
        self.target = target
        self.source = source
        self.sizes: dict[str, int] = {}
        self._contents: Contents | None = None

    @property
    def contents(self) -> Contents:
        """What is copied; read once, before the old copy is stopped or after."""
        if self._contents is None:
            lines = _at(self.source, "contents", self.step.project).splitlines()
            try:
                self._contents = read(line for line in lines if line)
            except ContentsError as error:
                raise OperationError(f"{self.source.name}: {error}") from None
        return self._contents

    def prepare(self) -> None:
        """Images, what is copied, and room for it."""
        contents = self.contents
        if contents.faults:
            raise OperationError("; ".join(contents.faults))
        self._say(*contents.notes)
        self._fetch_images()
        self._measure()
        paths = [place.directory for place in contents.places]
        free = _at(self.target, "space", "free", *paths).splitlines() if paths else []
        fault = fits([self.sizes.get(path, 0) for path in paths], free)
        if fault:
            raise OperationError(f"{self.target.name}: {fault}")

    def _measure(self) -> None:
        paths = [place.directory for place in self.contents.places]
        sizes_read = _at(self.source, "space", "sizes", *paths).splitlines() if paths else []
        for path, size in zip(paths, sizes_read, strict=True):
            if size == "file":
                raise OperationError(
                    f"{self.source.name}: the stack writes to {path}, which is a file of the host: "
                    "copy it yourself, and mount it read-only or name a volume"
                )
            self.sizes[path] = int(size)

    def _fetch_images(self) -> None:
        with self.arrival.stacks.opened() as (engine, endpoint):
            for image in self.arrival.images:
                if engine.image_present(endpoint, image):
                    continue
                reason = engine.pull_image(endpoint, image)
                if reason is not None:
                    raise OperationError(f"image {image} cannot be pulled: {reason}")

    def mark(self, phase: Phase) -> None:
        """Keep how far it is, on the new host."""
        if phase == "copying":
            _at(self.target, "target", "begin", self.step.project, self.source.name)
        else:
            _at(self.target, "target", "phase", self.step.project, phase)

    def stop(self) -> None:
        """Stop it on the old host."""
        _ = self.contents  # Docker tells what stopped containers mount as well; faults come first
        _at(self.source, "source", "stop", self.step.project)
        self._say(f"stopped on {self.source.name}")

    def copy(self) -> None:
        """Each volume and directory, one after the other; compared on both ends."""
        if not self.sizes:
            self._measure()
        for place in self.contents.places:
            self._copy(place)

    def _copy(self, place: Place) -> None:
        project = self.step.project
        if place.kind == "volume":
            arguments = ("volume", project, place.name, *place.labels)
        else:
            arguments = ("folder", project, place.name)
        directory, *notes = _at(self.target, "target", *arguments).splitlines()
        self._say(*notes)
        began = time.monotonic()
        size = max(self.sizes.get(place.directory, 0), 1)
        reported_at = 0.0

        def tell(count: int) -> None:
            nonlocal reported_at
            now = time.monotonic()
            if now - reported_at >= 1:
                reported_at = now
                report(
                    "progress",
                    host=self.target.name,
                    text=f"{place}: {count // _MIB} of {-(-size // _MIB)} MiB copied",
                )

        archive = _script("archive")
        count = stream(
            (self.source, archive.line("send", place.directory)),
            (self.target, archive.line("receive", directory)),
            tell,
        )
        report("progress", host=self.target.name, text=f"{place}: being compared")
        before, after = ask_each(
            [
                (self.source, archive.line("sum", place.directory)),
                (self.target, archive.line("sum", directory)),
            ]
        )
        if not before.strip() or before != after:
            raise OperationError(
                f"the copy of {place} on {self.target.name} differs from it on {self.source.name}"
            )
        seconds = time.monotonic() - began
        self._say(
            f"{place}: {count / _MIB:.1f} MiB copied in {seconds:.0f} s, equal on both hosts: "
            f"sha256 {before.split()[0]}"
        )

    def start(self) -> None:
        """Deploy it here; ends when its containers are healthy."""
        self._converge(present=True)
        self._say(f"started on {self.target.name}, healthy")

    def _converge(self, *, present: bool) -> None:
        arrival = self.arrival
        public = [name for name, value in arrival.env.items() if isinstance(value, str)]
        with arrival.stacks.opened() as (engine, endpoint):
            desired = api.desired_stack(
                self.step.project,
                arrival.content,
                endpoint,
                arrival.env,
                present=present,
                public=public,
            )
            api.converge(
                engine, desired, seconds=arrival.seconds, log=lambda line: log_lines([line])
            )

    def prove(self) -> None:
        """Its services answer at this host's own address."""
        if not self.arrival.checks:
            return
        commands = ["\t".join(command) for command in self.arrival.checks]
        deadline = time.monotonic() + _PROOF_SECONDS
        while any(faults := ask(question(Checks, checks=commands))):
            if time.monotonic() >= deadline:
                raise OperationError("; ".join(fault for fault in faults if fault))
            time.sleep(2)
        self._say(f"{len(commands)} checks of its services passed on {self.target.name}")

    def remove(self) -> None:
        """Away with the new copy and its data."""
        self._converge(present=False)
        _at(self.target, "target", "undo", self.step.project)

    def restart(self) -> None:
        """The old copy, as it ran."""
        _at(self.source, "source", "start", self.step.project)

    def _say(self, *lines: str) -> None:
        log_lines(f"stack {self.step.project}: {line}" for line in lines)
