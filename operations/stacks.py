"""One stack as desired, whatever deploys it: observe, compare, do nothing or converge."""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from pydantic import SecretStr
from pyinfra import host, state
from pyinfra.api import FunctionCommand
from pyinfra.api.exceptions import OperationError, OperationValueError

from operations.explain import log_lines, unknown_before_run
from operations.failure import local_command
from phoenix import portainer_api as api
from phoenix.site.names import normalise_name


class Stacks(Protocol):
    """Where stacks are deployed; its text names the place."""

    def opened(self) -> AbstractContextManager[tuple[api.StackEngine, int]]:
        """What deploys there, and the environment's number to it.

        Raises (by the context):
            OperationError: it cannot be asked.
        """

    def seen(self) -> AbstractContextManager[tuple[api.StackEngine, int]]:
        """As `opened`, only for comparing: the steps of a run may share the answers.

        Raises (by the context):
            OperationError: it cannot be asked.
        """


def converged(
    project: str,
    stacks: Stacks,
    *,
    content: str,
    env: Mapping[str, str | SecretStr] | None,
    present: bool,
    seconds: float,
    hidden: Collection[SecretStr] = (),
) -> Generator[FunctionCommand, None, None]:
    """The commands that make one stack as given; none where it is.

    Args:
        project: the stack's name.
        stacks: where it is deployed.
        content: the compose file.
        env: variables; the values of those given as SecretStr are never shown.
        present: False removes the stack, volumes kept.
        seconds: the deadline for the deployment, and for its containers' health.
        hidden: further values that are never shown, as former ones of a variable.

    Raises:
        OperationValueError: a name, file or variable that cannot work.
    """
    public = [name for name, value in (env or {}).items() if isinstance(value, str)]

    def desired(endpoint: int) -> api.DesiredStack:
        return api.desired_stack(project, content, endpoint, env, present=present, public=public)

    try:  # a wrong argument shows at once, reachable or not
        desired(0)
    except api.InvalidInputError as error:
        raise OperationValueError(str(error)) from None
    steps = _pending(stacks, desired, hidden)
    if steps == ():
        host.noop(f"stack {project} is {'as desired' if present else 'absent'} on {stacks}")
        return
    log_lines(f"stack {project}: {step}" for step in steps or ())

    def converge() -> None:
        with stacks.opened() as (engine, endpoint):
            api.converge(
                engine, desired(endpoint), seconds=seconds, log=lambda line: log_lines([line])
            )

    yield local_command(converge)


class _Desired(Protocol):
    def __call__(self, endpoint: int, /) -> api.DesiredStack: ...


def _pending(
    stacks: Stacks, desired: _Desired, hidden: Collection[SecretStr]
) -> tuple[str, ...] | None:
    """The steps to come, in words; None before Portainer's own deploy has ended.

    In a dry run of a fresh site that is a change to come, not an error. At execution the command
    behind it says what is wrong.
    """
    try:
        with stacks.seen() as (engine, endpoint):
            target = desired(endpoint)
            observed = api.look(engine, target)
    except OperationError as error:
        unknown_before_run(f"what {stacks} has: it can't be asked yet ({error})")
        return None
    steps = api.describe(api.plan(target, observed))
    if steps and state.config.DIFF:
        log_lines(api.diff(target, observed, hidden))
    return steps


def variables(stacks: Stacks, project: str) -> frozenset[str] | None:
    """The names of a deployed stack's variables, without their values.

    Args:
        stacks: where it is deployed.
        project: its name.

    Returns:
        None where the stack is absent, as at a server that was built anew, and before Portainer's
        own deploy has run.
    """
    try:
        with stacks.seen() as (engine, endpoint):
            matches = engine.observe(normalise_name(project), endpoint).matches
    except OperationError:
        return None
    names = frozenset(name for stack in matches for name in stack.env_mapping)
    return names if matches else None
