"""How an operation fails its host with a reason that a person can act on."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra import host, logger
from pyinfra.api import FunctionCommand, Host, OperationError, State
from pyinfra.api.state import StateStage


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
    for line in reason.splitlines():
        host.log_styled(line, fg="red", log_func=logger.error)
    return False
