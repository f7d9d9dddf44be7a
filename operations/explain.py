"""The reasons that an operation gives for a change, in a plan with differences and in the run."""

from __future__ import annotations

from collections.abc import Iterable

from pyinfra import host, logger

from phoenix.runs.reporter import connected, report


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
    if connected() and not host.state.is_executing and host.current_op_hash:
        names = host.state.get_op_meta(host.current_op_hash).names
        report("unknown", step=next(iter(names), ""), host=host.name, reason=reason)
