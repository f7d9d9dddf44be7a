"""Brings one stack to its desired state through an engine, and checks its containers.

Portainer's stack status is a flag of its database; only running, healthy containers count here.
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from pydantic import SecretStr

from . import errors
from .engine import StackEngine
from .models import Stack, StackStatus
from .sync import (
    Associate,
    Clear,
    Create,
    Delete,
    DesiredStack,
    LeftOver,
    Nothing,
    ObservedStack,
    Plan,
    Recreate,
    Refuse,
    Start,
    Update,
    Wait,
    container_trouble,
    desired_stack,
    env_changes,
    env_values,
    plan,
    unproven,
    with_quoted,
    without_container,
)

LOG_LINES = 15
_MAX_STEPS = 8
_SHORTEST_MASKED = 4  # masking "1" or "on" everywhere would make the text useless
Log = Callable[[str], None]


class RefusedError(errors.PortainerError):
    """The plan refused; nothing was touched."""


class StackFailedError(errors.PortainerError):
    """A deployment failed.

    Attributes:
        reason: the server's or the containers' own words.
        logs: the last lines of what failed, each ``container | line``.
        restored: True when the previous version runs again (verified), False when that failed
            too, None when nothing had to be restored.
    """

    def __init__(self, name: str, reason: str, logs: Iterable[str], restored: bool | None) -> None:
        """All texts must be masked already."""
        self.reason = reason
        self.logs = tuple(logs)
        self.restored = restored
        after = {
            True: "The previous version has been restored and runs.",
            False: "Restoring the previous version FAILED too: the stack needs a person.",
            None: "",
        }[restored]
        text = [f"stack {name}: {reason}", *(f"    {line}" for line in self.logs), after]
        super().__init__("\n".join(line for line in text if line))


@dataclass(frozen=True)
class Outcome:
    """The steps that `converge` took, a phrase each; empty when the stack was as desired."""

    actions: tuple[str, ...]

    @property
    def changed(self) -> bool:
        """Whether anything was sent."""
        return bool(self.actions)


def describe(step: Plan) -> tuple[str, ...]:
    """The step in words, for the plan and the result."""
    match step:
        case Nothing():
            return ()
        case Refuse(reason=reason):
            return (f"refuse: {reason}",)
        case Create(adopted=adopted, remove=remove):
            create = f"create, adopting {', '.join(adopted)}" if adopted else "create"
            return (*_removals(remove), create)
        case Update(reasons=reasons, remove=remove):
            return (*_removals(remove), *(f"update: {reason}" for reason in reasons))
        case Recreate() | Associate() | Clear():
            return _repair(step)
        case Wait(reason=reason):
            return (f"wait: {reason}",)
        case Start():
            return ("start",)
        case Delete():
            return ("delete (volumes kept)",)


def _repair(step: Recreate | Associate | Clear) -> tuple[str, ...]:
    match step:
        case Recreate(reason=reason):
            return (f"delete and create: {reason} (containers are made anew, volumes kept)",)
        case Associate(stack=stack):
            why = "its own is gone, or has none of its containers; no container is touched"
            return (f"associate Portainer's stack {stack.id} with this environment: {why}",)
        case Clear(remove=remove):
            return _removals(remove)


def _removals(containers: Iterable[LeftOver]) -> tuple[str, ...]:
    return tuple(
        f"remove container {container.name}: the compose file has no service "
        f"{container.service} any more"
        for container in containers
    )


def look(engine: StackEngine, desired: DesiredStack) -> ObservedStack:
    """The state of `desired` as its engine has it, and what it may hide of it."""
    observed = engine.observe(desired.name, desired.endpoint_id)
    if desired.present and observed.stack is not None and without_container(desired, observed):
        return replace(observed, hidden=engine.hidden_labels())
    return observed


def diff(
    desired: DesiredStack, observed: ObservedStack, secrets: Iterable[SecretStr] = ()
) -> list[str]:
    """A unified diff of the file, and the changed variables: plain values shown, secrets masked.

    What is a secret is declared: every variable that is not in `desired.public`.

    Args:
        desired, observed: what is compared.
        secrets: further values that are masked. What is deployed may have one in a variable that is
            declared as a plain one now.
    """
    after = desired.content if desired.present else ""
    lines = list(
        difflib.unified_diff(
            (observed.content or "").splitlines(),
            after.splitlines(),
            "deployed",
            "desired",
            lineterm="",
        )
    )
    stack = observed.stack
    before = stack.env_mapping if stack else {}
    desired_env = desired.plain_env if desired.present else {}
    public = desired.public
    shown = [
        {name: v for name, v in env.items() if name in public} for env in (before, desired_env)
    ]
    masked = [
        {name: v for name, v in env.items() if name not in public} for env in (before, desired_env)
    ]
    lines += env_values(*shown)
    lines += [f"env {change} (value masked)" for change in env_changes(*masked)]
    known = [secret.get_secret_value() for secret in secrets]
    hidden = [*desired.hidden(desired.plain_env), *desired.hidden(before), *with_quoted(known)]
    return [mask(line, hidden) for line in lines]


def mask(text: str, secrets: Iterable[str]) -> str:
    """`text` without the given values; compose repeats them in its messages, services in logs."""
    for secret in sorted(set(secrets), key=len, reverse=True):
        if len(secret) >= _SHORTEST_MASKED:
            text = text.replace(secret, "***")
    return text


def converge(
    client: StackEngine,
    desired: DesiredStack,
    *,
    seconds: float = 300.0,
    poll: float = 1.0,
    log: Log = lambda _: None,
) -> Outcome:
    """Runs steps until nothing is left to do.

    Args:
        seconds: the deadline of each step: for a deployment to end, and for its containers to
            run and be healthy.
        poll: seconds between two looks.

    Raises:
        RefusedError: git-managed, foreign containers, several stacks of the name.
        StackFailedError: the deployment failed; says whether the old version runs again.
        errors.PortainerError: the server can't be reached, or refuses.
    """
    return _Convergence(client, desired, seconds, poll, log).run()


class _Convergence:
    def __init__(
        self,
        client: StackEngine,
        desired: DesiredStack,
        seconds: float,
        poll: float,
        log: Log,
    ) -> None:
        self.client = client
        self.desired = desired
        self.seconds = seconds
        self.poll = poll
        self.log = log
        self.hidden = desired.hidden(desired.plain_env)

    def run(self) -> Outcome:
        actions: list[str] = []
        deployed = 0
        for _ in range(_MAX_STEPS):
            observed = self._observe()
            step = plan(self.desired, observed)
            text = describe(step)
            match step:
                case Nothing():
                    return Outcome(tuple(actions))
                case Refuse(reason=reason):
                    raise RefusedError(reason)
                case Create() | Update() | Recreate() | Start() if deployed == 2:
                    raise self._failure(
                        f"still differs after 2 deployments: {'; '.join(text)}", None
                    )
                case Create() | Update() | Recreate() | Start():
                    deployed += 1
            for line in text:
                self.log(f"stack {self.desired.name}: {line}")
            if self._take(step, observed):
                actions += text
        raise self._failure(f"still differs after {_MAX_STEPS} steps", None)

    def _take(self, step: Plan, observed: ObservedStack) -> bool:
        """Takes one step; False when somebody else was first and the state must be read again."""
        match step:
            case Create(remove=remove):
                return self._deploy(self._create, None, remove=remove)
            case Update(stack=stack, restart=restart, remove=remove):
                return self._deploy(lambda: self._update(stack), observed, restart, remove)
            case Recreate(stack=stack):
                return self._deploy(lambda: self._recreate(stack), None)
            case Associate(stack=stack):
                self.client.associate_stack(stack, self.desired.endpoint_id)
            case Clear(remove=remove):
                self._remove(remove)
            case Start(stack=stack):
                return self._deploy(lambda: self._start(stack), None)
            case Wait(stack=stack):
                ended = self.client.wait_deployed(stack, self.seconds, poll=self.poll)
                if ended.status != StackStatus.ERROR:
                    self._wait_healthy(self.desired)
                    self.client.keep_good(ended)
            case Delete(stack=stack):
                self.client.delete_stack(stack)
        return True

    def _observe(self) -> ObservedStack:
        return look(self.client, self.desired)

    # -- one deployment ------------------------------------------------------------------------

    def _deploy(
        self,
        send: Callable[[], Stack],
        before: ObservedStack | None,
        restart: Iterable[str] = (),
        remove: Iterable[LeftOver] = (),
    ) -> bool:
        """Sends, follows to the end, checks the containers; restores `before` on failure."""
        self._fetch_images()
        self._remove(remove)
        try:
            stack = self.client.wait_deployed(send(), self.seconds, poll=self.poll)
            if stack.status == StackStatus.ERROR:
                raise errors.DeploymentFailedError(stack.failure or "Portainer gives no reason")
            for container in restart:
                self._restart(container)
            self._wait_healthy(self.desired)
            self.client.keep_good(stack)
        except errors.ConflictError as error:
            # Somebody else deploys, or took the name: observe and plan again.
            observed = self._observe()
            if observed.stack is None:
                raise self._failure(
                    f"{error}. Another environment of Portainer has a stack of this name, and this "
                    "one has its containers: remove one of the two in Portainer",
                    None,
                ) from None
            self.client.wait_deployed(observed.stack, self.seconds, poll=self.poll)
            return False
        except (errors.ApiError, errors.UnknownOutcomeError, errors.DeploymentFailedError) as error:
            if isinstance(error, errors.ApiError) and error.status != 500:
                raise  # refused before anything was deployed
            logs = self._logs()  # before the old version replaces what failed
            restored = self._restore(before) if before else None
            raise self._failure(str(error), restored, logs) from None
        return True

    def _create(self) -> Stack:
        desired = self.desired
        try:
            return self.client.create_stack(
                desired.endpoint_id, desired.name, desired.content, desired.plain_env
            )
        except errors.UnknownOutcomeError:
            return self._reread(lambda observed: observed.stack, "was not created")

    def _recreate(self, stack: Stack) -> Stack:
        self.client.delete_stack(stack)
        return self._create()

    def _remove(self, containers: Iterable[LeftOver]) -> None:
        for container in containers:
            self.client.remove_container(self.desired.endpoint_id, container.id)

    def _update(self, stack: Stack) -> Stack:
        desired = self.desired
        try:
            return self.client.update_stack(stack, desired.content, desired.plain_env)
        except errors.UnknownOutcomeError:
            return self._reread(
                lambda observed: observed.stack if _was_updated(stack, observed.stack) else None,
                "was not updated",
            )

    def _start(self, stack: Stack) -> Stack:
        try:
            return self.client.start_stack(stack)
        except errors.UnknownOutcomeError:
            return self._reread(
                lambda observed: (
                    observed.stack
                    if observed.stack and observed.stack.status != StackStatus.INACTIVE
                    else None
                ),
                "was not started",
            )

    def _reread(self, result: Callable[[ObservedStack], Stack | None], otherwise: str) -> Stack:
        """Polls for the result of a request whose answer was lost; never sends it again."""
        deadline = self.client.clock() + self.seconds
        self.log(f"stack {self.desired.name}: no answer; reading the state instead of asking again")
        while True:
            stack = result(self._observe())
            if stack is not None:
                return stack
            if self.client.clock() >= deadline:
                raise errors.UnknownOutcomeError(f"no answer, and it {otherwise} in time")
            self.client.sleep(self.poll)

    def _restart(self, container: str) -> None:
        with contextlib.suppress(errors.NotFoundError):  # the deployment has replaced it
            self.client.restart_container(self.desired.endpoint_id, container)

    def _fetch_images(self) -> None:
        """Pulls missing images first, so that a wrong reference touches no running container.

        Portainer before 2.45 answers a failed update by taking the whole project down (8008).
        """
        client, endpoint_id = self.client, self.desired.endpoint_id
        for image in sorted({spec.image for spec in self.desired.services if spec.image}):
            if client.image_present(endpoint_id, image):
                continue
            reason = client.pull_image(endpoint_id, image)
            if reason is not None:
                raise self._failure(
                    f"image {image} cannot be pulled: {reason}. No container was touched", None
                )

    def _wait_healthy(self, desired: DesiredStack) -> None:
        """Waits until every service runs and is healthy, twice in a row.

        Raises:
            errors.DeploymentFailedError: unhealthy or ended for good, or not healthy in time.
        """
        deadline = self.client.clock() + self.seconds
        healthy_looks = 0
        while True:
            waiting, broken = self._trouble(desired)
            if broken:
                raise errors.DeploymentFailedError("; ".join(broken))
            healthy_looks = 0 if waiting else healthy_looks + 1
            if healthy_looks == 2:
                return
            if self.client.clock() >= deadline:
                raise errors.DeploymentFailedError(
                    f"not healthy within {self.seconds:g} s: {'; '.join(waiting) or 'unsteady'}"
                )
            self.client.sleep(self.poll)

    def _trouble(self, desired: DesiredStack) -> tuple[list[str], list[str]]:
        """Problems that may pass by waiting, and problems that will not."""
        containers = self.client.containers(desired.endpoint_id, desired.name)
        waiting: list[str] = []
        broken: list[str] = []
        for service in desired.services:
            own = [container for container in containers if container.service == service.name]
            if not own:
                waiting.append(f"service {service.name} has no container")
            for container in own:
                trouble = container_trouble(container, completes=service.completes)
                if trouble is None and container.health == "starting":
                    waiting.append(f"container {container.name} is starting")
                elif trouble is None and unproven(container):
                    waiting.append(
                        f"container {container.name} runs for {container.up_seconds} s alone"
                    )
                elif trouble and (
                    container.health == "unhealthy" or container.state in ("exited", "dead")
                ):
                    broken.append(trouble)
                elif trouble:
                    waiting.append(trouble)
        return waiting, broken

    # -- failure -------------------------------------------------------------------------------

    def _restore(self, before: ObservedStack) -> bool | None:
        """Restores the previous file and environment; True when they run and are healthy."""
        stack, version = before.stack, before.restorable
        if stack is None or version is None:
            return None  # the previous version didn't run either
        if version.content == self.desired.content and version.env == self.desired.plain_env:
            return None
        self.log(f"stack {stack.name}: failed; restoring the previous version")
        try:
            previous = desired_stack(stack.name, version.content, stack.endpoint_id, version.env)
            current = self.client.wait_deployed(
                self.client.current(stack), self.seconds, poll=self.poll
            )
            containers = self.client.containers(stack.endpoint_id, stack.name)
            for container in previous.left_over(containers):
                self.client.remove_container(stack.endpoint_id, container.id)
            update = self.client.update_stack(current, version.content, version.env)
            ended = self.client.wait_deployed(update, self.seconds, poll=self.poll)
            if ended.status == StackStatus.ERROR:
                return False
            self._wait_healthy(previous)
            self.client.keep_good(ended)
        except errors.PortainerError as error:
            self.log(f"stack {stack.name}: {mask(str(error), self.hidden)}")
            return False
        return True

    def _logs(self) -> list[str]:
        """The last log lines of each container with a problem."""
        lines: list[str] = []
        try:
            completes = {spec.name: spec.completes for spec in self.desired.services}
            containers = self.client.containers(self.desired.endpoint_id, self.desired.name)
            for container in containers:
                trouble = container_trouble(
                    container, completes=completes.get(container.service, False)
                )
                if trouble is None and container.health != "starting" and not unproven(container):
                    continue
                tail = self.client.container_logs(self.desired.endpoint_id, container.id, LOG_LINES)
                lines += [f"{container.name} | {line}" for line in tail]
        except errors.PortainerError as error:
            lines.append(f"(logs unavailable: {error})")
        return lines

    def _failure(
        self, reason: str, restored: bool | None, logs: Iterable[str] = ()
    ) -> StackFailedError:
        return StackFailedError(
            self.desired.name,
            mask(reason, self.hidden),
            [mask(line, self.hidden) for line in logs],
            restored,
        )


def _was_updated(before: Stack, after: Stack | None) -> bool:
    """Whether the server accepted an update: its date changed, or it deploys, or it failed."""
    return after is not None and (
        after.updated != before.updated
        or after.status in (StackStatus.DEPLOYING, StackStatus.ERROR)
    )
