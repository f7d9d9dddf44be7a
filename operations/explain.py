"""The reasons that an operation gives for a change, in a plan with differences and in the run."""

from __future__ import annotations

from collections.abc import Generator, Iterable

from pyinfra import host, logger
from pyinfra.api import FunctionCommand, OperationError
from pyinfra.context import ctx_host

from operations.failure import local_command
from phoenix.runs.reporter import connected, report
from phoenix.runs.step_names import step_name


def log_reasons(*reasons: str) -> None:
    """Say why this operation changes this host; silent in a plan without differences."""
    if host.state.config.DIFF or host.state.is_executing:
        log_lines(reasons)


def log_lines(lines: Iterable[str]) -> None:
    """Log lines as this host's."""
    for line in lines:
        logger.info("%s%s", host.print_prefix, line)


def unknown_before_run(reason: str) -> None:
    """Report what only the run can know about this operation, for `phoenix plan`."""
    _report_before_run("unknown", reason=reason)


def would_fail() -> None:
    """Report that this operation changes nothing and fails in its turn, for `phoenix plan`."""
    _report_before_run("would_fail")


def fail_in_turn(*reasons: str) -> Generator[FunctionCommand, None, None]:
    """Fail this step in its turn, and no other of the run; a plan tells so, with the reasons."""
    if not host.state.is_executing:
        log_lines(reasons)
    would_fail()

    def fail() -> None:
        raise OperationError("\n".join(reasons))

    yield local_command(fail)


def _report_before_run(event: str, **fields: str) -> None:
    if connected() and not host.state.is_executing and host.current_op_hash:
        step = step_name(host.state, host.current_op_hash, ctx_host.get())  # type: ignore[no-untyped-call]
        report(event, step=step, host=host.name, **fields)
