"""How an operation fails its host with a reason that a person can act on."""

from __future__ import annotations

from collections.abc import Callable, Generator

from pyinfra import host, logger
from pyinfra.api import FunctionCommand, Host, OperationError, State
from pyinfra.api.state import StateStage

from phoenix.site.findings import OperatorError


def refuse(reason: str) -> Generator[FunctionCommand, None, None]:
    """Fail this host with `reason`: `yield from refuse(...)`, then return.

    While the run is prepared this ends it, before any host is touched. Later only this host
    fails: an exception would end the whole run with a traceback, and leave no JSON behind.

    Raises:
        OperationError: with `reason`, while the run is prepared.
    """
    if host.state.current_stage < StateStage.Execute:
        raise OperationError(reason)
    yield FunctionCommand(_fail, (reason,), {})


def _fail(state: State, host: Host, reason: str) -> bool:  # noqa: ARG001  # pyinfra's signature
    print_reason(host, reason)
    return False


def local_command(work: Callable[[], None]) -> FunctionCommand:
    """A command that runs `work` on the control machine.

    An error whose text is for the operator fails the host with it, instead of a traceback.
    """

    def phoenix(state: State, host: Host) -> bool:  # noqa: ARG001  # the names pyinfra looks for
        try:
            work()
        except (OperationError, OperatorError) as error:
            print_reason(host, str(error))
            return False
        return True

    return FunctionCommand(phoenix, (), {})


def print_reason(target: Host, reason: str) -> None:
    """Tell why a host fails, in red, a line at a time."""
    for line in reason.splitlines():
        target.log_styled(line, fg="red", log_func=logger.error)
