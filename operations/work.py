"""Work of an operation that runs on the control machine."""

from __future__ import annotations

from collections.abc import Callable

from pyinfra import logger
from pyinfra.api import FunctionCommand
from pyinfra.api.exceptions import OperationError
from pyinfra.api.host import Host
from pyinfra.api.state import State

from phoenix.site.findings import SettingError


def command(work: Callable[[], None]) -> FunctionCommand:
    """A command that runs `work`, and fails its host with the message instead of a traceback."""

    def phoenix(state: State, host: Host) -> bool:  # noqa: ARG001 - the names pyinfra looks for
        try:
            work()
        except (OperationError, SettingError) as error:
            for line in str(error).splitlines():
                host.log_styled(line, fg="red", log_func=logger.error)
            return False
        return True

    return FunctionCommand(phoenix, (), {})
