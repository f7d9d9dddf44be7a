"""The decision of a stack's sync, pure: desired and observed state in, one typed step out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import SecretStr

from phoenix.compose import dotenv
from phoenix.compose.project_folders import HOST_PROJECTS, PORTAINER_PROJECTS
from phoenix.site.names import normalise_name

from .compose import ServiceSpec, read_services, service_names
from .errors import InvalidInputError
from .models import ContainerSummary, Stack, StackStatus, StackType


def with_quoted(values: Sequence[str]) -> list[str]:
    """Values of variables as they are, and as the server stores them where that differs."""
    return [*values, *(quoted for value in values if (quoted := dotenv.quote(value)) != value)]


@dataclass(frozen=True)
class DesiredStack:
    """One stack as it should be.

    Attributes:
        name: normalised by Portainer's rule when created by `desired_stack`.
        content: the compose file, byte for byte.
        env: variables for compose's interpolation; values never show in a repr.
        endpoint_id: the environment that runs it.
        present: False removes it; its volumes stay.
        public: names of variables whose values may be shown.
    """

    name: str
    content: str
    endpoint_id: int
    env: Mapping[str, SecretStr] = field(default_factory=dict)
    present: bool = True
    public: frozenset[str] = frozenset()

    def hidden(self, env: Mapping[str, str]) -> list[str]:
        """The values of `env` to hide in all texts, plain and as the server stores them."""
        return with_quoted([value for name, value in env.items() if name not in self.public])

    @property
    def plain_env(self) -> dict[str, str]:
        """The environment in clear, for the request alone."""
        return {name: value.get_secret_value() for name, value in self.env.items()}

    @property
    def services(self) -> tuple[ServiceSpec, ...]:
        """The services the file starts."""
        return read_services(self.content, self.plain_env)

    def left_over(self, containers: Iterable[ContainerSummary]) -> tuple[ContainerSummary, ...]:
        """The containers of services that the file has no more; compose keeps them running."""
        names = service_names(self.content)
        return tuple(
            container
            for container in containers
            if container.service and container.service not in names and not container.is_one_off
        )


def desired_stack(
    name: str,
    content: str,
    endpoint_id: int,
    env: Mapping[str, str | SecretStr] | None = None,
    *,
    present: bool = True,
    public: Iterable[str] = (),
) -> DesiredStack:
    """A checked `DesiredStack`.

    Raises:
        InvalidInputError: a name compose refuses, an empty or broken file, a variable that the
            environment can't carry.
    """
    try:
        normal = normalise_name(name)
    except ValueError as error:
        raise InvalidInputError(str(error)) from None
    secrets: dict[str, SecretStr] = {}
    for key, value in (env or {}).items():
        secret = value if isinstance(value, SecretStr) else SecretStr(value)
        if not key or any(char in key for char in "= \n\0"):
            raise InvalidInputError(f"stack {normal}: env: {key!r} is no variable name")
        if "\0" in secret.get_secret_value():
            raise InvalidInputError(
                f"stack {normal}: env.{key}: a value can't hold NUL; ship it as a secret file"
            )
        secrets[key] = secret
    stack = DesiredStack(
        normal,
        content,
        endpoint_id,
        secrets,
        present,
        frozenset(public),
    )
    if present:
        try:
            _ = stack.services
        except InvalidInputError as error:
            raise InvalidInputError(f"stack {normal}: {error}") from None
    return stack


@dataclass(frozen=True)
class Version:
    """A compose file and the variables that it was deployed with, in clear: never shown."""

    content: str
    env: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True)
class ServiceState:
    """A service of a swarm as Docker has it.

    Attributes:
        replicas: how many tasks it is to have; None where each node has one.
        image: the reference in use, without a digest.
        deployed_image: the one that the stack's file had; empty where nothing tells.
    """

    replicas: int | None
    image: str
    deployed_image: str


@dataclass(frozen=True)
class ObservedStack:
    """The state of the stack in its engine and in Docker.

    Attributes:
        matches: the compose stacks of this name on this endpoint; one, or none.
        content: the first match's stored file; None when it is lost.
        containers: the project's containers, stopped ones too.
        good: the last version that was seen to run, where the engine keeps one.
        elsewhere: the stack of these containers that the engine has on another environment: on
            one that is gone, or that has none of its containers.
        rewrites: whether an update writes a file anew that is lost; Portainer's does not.
        hidden: labels whose containers the engine does not show.
        services: of a Swarm stack its services, by their names in the file.
        other: the stack of this name on this endpoint that is of the other type.
    """

    matches: tuple[Stack, ...] = ()
    content: str | None = None
    containers: tuple[ContainerSummary, ...] = ()
    good: Version | None = None
    elsewhere: Stack | None = None
    rewrites: bool = True
    hidden: frozenset[tuple[str, str]] = frozenset()
    services: Mapping[str, ServiceState] = field(default_factory=dict)
    other: Stack | None = None

    @property
    def restorable(self) -> Version | None:
        """The version to go back to where the next one fails; None where none is known to run."""
        if self.good is not None:
            return self.good
        stack = self.stack
        if stack is None or self.content is None or stack.status != StackStatus.ACTIVE:
            return None
        return Version(self.content, stack.env_mapping)

    @property
    def stack(self) -> Stack | None:
        """The one match."""
        return self.matches[0] if self.matches else None


def matching(
    stacks: Iterable[Stack], name: str, endpoint_id: int, kind: StackType = StackType.COMPOSE
) -> tuple[Stack, ...]:
    """The stacks that are this one: there's no look-up by name in the API."""
    return tuple(
        stack
        for stack in stacks
        if stack.type == kind and stack.endpoint_id == endpoint_id and stack.name.lower() == name
    )


@dataclass(frozen=True)
class Nothing:
    """Already as desired."""

    stack: Stack | None


@dataclass(frozen=True)
class Refuse:
    """Phoenix must not change it, or cannot decide; a person has to act."""

    reason: str


@dataclass(frozen=True)
class LeftOver:
    """A container of a service that the file has no more: its id, its name, its service."""

    id: str
    name: str
    service: str


@dataclass(frozen=True)
class Create:
    """POST a new stack; `adopted` lists the running containers it takes over.

    `remove` go first: they may hold a port of it.
    """

    adopted: tuple[str, ...] = ()
    remove: tuple[LeftOver, ...] = ()


@dataclass(frozen=True)
class Update:
    """PUT, for the given reasons; then `restart` single containers (their ids).

    `remove` go first: they may hold a port of what comes, and Portainer answers that by taking the
    whole project down.
    """

    stack: Stack
    reasons: tuple[str, ...]
    restart: tuple[str, ...] = ()
    remove: tuple[LeftOver, ...] = ()


@dataclass(frozen=True)
class Recreate:
    """DELETE and POST, volumes kept, for the given reason."""

    stack: Stack
    reason: str


@dataclass(frozen=True)
class Associate:
    """Give this environment the stack whose containers it has; no container is touched."""

    stack: Stack


@dataclass(frozen=True)
class Clear:
    """Remove what is left over; all else is as desired."""

    stack: Stack
    remove: tuple[LeftOver, ...]


@dataclass(frozen=True)
class Start:
    """A stopped stack, otherwise as desired."""

    stack: Stack


@dataclass(frozen=True)
class Wait:
    """A deployment is running already: wait, then observe again; send nothing."""

    stack: Stack
    reason: str


@dataclass(frozen=True)
class Delete:
    """DELETE the stack."""

    stack: Stack


Plan = Nothing | Refuse | Create | Update | Recreate | Associate | Clear | Start | Wait | Delete


def plan(desired: DesiredStack, observed: ObservedStack) -> Plan:
    """The next step from `observed` to `desired`."""
    if len(observed.matches) > 1:
        ids = ", ".join(str(stack.id) for stack in observed.matches)
        return Refuse(f"Portainer has several stacks named {desired.name} (ids {ids}): remove all "
                      "but one in Portainer")  # fmt: skip
    stack = observed.stack
    if stack is None and observed.elsewhere is not None:
        return Associate(observed.elsewhere)
    if not desired.present:
        gone = stack or observed.other
        return Nothing(None) if gone is None else Delete(gone)
    if stack is None and observed.other is not None:
        return _plan_other_type(desired, observed.other)
    if stack is None:
        return _plan_missing(desired, observed)
    if stack.git_managed:
        return Refuse(
            f"stack {desired.name} is managed from a git repository; an update would detach it. "
            "Remove it in Portainer, or take it out of this configuration"
        )
    if stack.status == StackStatus.DEPLOYING:
        return Wait(stack, "a deployment is under way")
    return _plan_running(desired, observed, stack)


_LOST = "the server has lost the compose file"


def _plan_other_type(desired: DesiredStack, other: Stack) -> Plan:
    """A stack whose type has changed: compose projects become services of a swarm, or back."""
    if other.git_managed:
        return Refuse(
            f"stack {desired.name} is of another type and managed from a git repository: remove "
            "it in Portainer"
        )
    was, becomes = ("Swarm", "compose") if other.type == StackType.SWARM else ("compose", "Swarm")
    return Recreate(other, f"its type changes from {was} to {becomes}")


def _plan_missing(desired: DesiredStack, observed: ObservedStack) -> Plan:
    if observed.services:
        return Refuse(
            f"the swarm has services of a stack {desired.name} that this Portainer does not know "
            f"({', '.join(sorted(observed.services))}). If they are no more needed: docker stack "
            f"rm {desired.name} on a manager (volumes stay), and sync again. Else rename the stack"
        )
    foreign = [
        container
        for container in observed.containers
        if not container.working_dir.startswith((PORTAINER_PROJECTS, HOST_PROJECTS))
    ]
    if foreign:
        where = sorted({container.working_dir or "an unknown directory" for container in foreign})
        return Refuse(
            f"containers of a compose project {desired.name} exist that nothing here has deployed "
            f"({', '.join(sorted(container.name for container in foreign))}; started from "
            f"{', '.join(where)}). Remove them, or rename the stack"
        )
    remove = _left_over(desired, observed)
    going = {left.name for left in remove}
    names = {container.name for container in observed.containers}
    return Create(tuple(sorted(names - going)), remove)


def _left_over(desired: DesiredStack, observed: ObservedStack) -> tuple[LeftOver, ...]:
    return tuple(
        LeftOver(container.id, container.name, container.service)
        for container in desired.left_over(observed.containers)
    )


def _hidden(desired: DesiredStack, observed: ObservedStack) -> str:
    """Why services cannot be seen; empty where they can."""
    for service in without_container(desired, observed):
        for name, value in sorted(observed.hidden & service.labels.items()):
            return (
                f"Portainer hides containers with the label {name}={value} (in its settings, "
                f"Hidden containers), so nobody can tell whether service {service.name} of stack "
                f"{desired.name} runs. Remove the label there, or from the service"
            )
    return ""


def without_container(desired: DesiredStack, observed: ObservedStack) -> tuple[ServiceSpec, ...]:
    """The services without a container."""
    services = {container.service for container in observed.containers}
    return tuple(service for service in desired.services if service.name not in services)


def _plan_running(desired: DesiredStack, observed: ObservedStack, stack: Stack) -> Plan:
    if hidden := _hidden(desired, observed):
        return Refuse(hidden)
    if observed.content is None and not observed.rewrites:
        return Recreate(stack, _LOST)
    reasons = _content_drift(desired, observed, stack)
    remove = _left_over(desired, observed)
    if stack.status == StackStatus.ERROR:
        reasons += (f"the last deployment failed: {stack.failure or 'no reason given'}",)
    if stack.status == StackStatus.INACTIVE and not reasons and not observed.containers:
        return Start(stack)
    if stack.status == StackStatus.INACTIVE:
        # Left-over containers make "start" a 409 (issue 8357); an update starts it just as well.
        reasons += ("it is stopped",)
    container_reasons, restart = _container_drift(desired, observed.containers)
    if stack.status != StackStatus.INACTIVE:
        reasons += container_reasons
        reasons += _service_drift(desired, observed)
    if reasons:
        return Update(stack, reasons, restart, remove)
    if remove:
        return Clear(stack, remove)
    if any(container.health == "starting" for container in observed.containers):
        return Wait(stack, "containers are still starting")
    return Nothing(stack)


def _content_drift(
    desired: DesiredStack, observed: ObservedStack, stack: Stack
) -> tuple[str, ...]:  # fmt: skip
    reasons: list[str] = []
    if observed.content is None:
        reasons.append(_LOST)
    elif observed.content != desired.content:
        reasons.append("the compose file differs")
    reasons += [f"env: {change}" for change in env_changes(stack.env_mapping, desired.plain_env)]
    return tuple(reasons)


def _service_drift(desired: DesiredStack, observed: ObservedStack) -> tuple[str, ...]:
    """What a person has changed of services of a swarm, as far as another deployment undoes it."""
    reasons: list[str] = []
    for service in desired.services:
        actual = observed.services.get(service.name)
        if actual is None:
            continue
        if None not in (service.replicas, actual.replicas) and service.replicas != actual.replicas:
            reasons.append(
                f"service {service.name} has {actual.replicas} replicas, not {service.replicas}"
            )
        if actual.deployed_image and actual.image != actual.deployed_image:
            reasons.append(
                f"service {service.name} has the image {actual.image}, not {actual.deployed_image}"
            )
    return tuple(reasons)


def env_changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """The changes between two environments: names only, never a value."""
    changes = [f"{name} added" for name in sorted(after.keys() - before.keys())]
    changes += [f"{name} removed" for name in sorted(before.keys() - after.keys())]
    changes += [
        f"{name} changed"
        for name in sorted(before.keys() & after.keys())
        if before[name] != after[name]
    ]
    return changes


def env_values(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """The changes between two environments of plain variables, with both values."""
    names = sorted(before.keys() | after.keys())
    return [
        f"env {name}: {before.get(name, '(none)')} -> {after.get(name, '(none)')}"
        for name in names
        if before.get(name) != after.get(name)
    ]


def _container_drift(
    desired: DesiredStack, containers: tuple[ContainerSummary, ...]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The faults of the containers, and the ids of those that only a restart fixes."""
    reasons: list[str] = []
    restart: list[str] = []
    for service in desired.services:
        own = [container for container in containers if container.service == service.name]
        if not own:
            reasons.append(f"service {service.name} has no container")
        for container in own:
            trouble = container_trouble(container, completes=service.completes)
            if trouble:
                reasons.append(trouble)
                if container.health == "unhealthy":
                    restart.append(container.id)
    return tuple(reasons), tuple(restart)


def container_trouble(container: ContainerSummary, *, completes: bool) -> str | None:
    """Why a container isn't as it should be; None when it is, or is still starting."""
    if container.state == "exited" and container.exit_code == 0 and completes:
        return None
    if container.state != "running":
        return f"container {container.name} is {container.state or 'gone'} ({container.status})"
    if container.health == "unhealthy":
        return f"container {container.name} is unhealthy"
    if container.details.restarts and not container.is_steady:
        return (
            f"container {container.name} ends again and again: Docker has restarted it "
            f"{container.details.restarts} times, the last time {container.up_seconds} s ago"
        )
    return None


def unproven(container: ContainerSummary) -> bool:
    """Whether it runs without a health check, and too briefly to count as steady."""
    return container.state == "running" and not container.health and not container.is_steady
