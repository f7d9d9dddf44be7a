"""The decorator of every operation of this project: pyinfra's, and six rules more.

What an operation needs to know of its host is named where it is declared (`reads`), so that a run
asks each host once for all its operations (`operations.host_state`). What the operation yields
makes that knowledge old. Before the first change of a run the site's lock is taken, also by plain
pyinfra. A run that must not begin (`operations.run_refused`) ends at its first operation, on every
host. A host whose answer cannot be used fails with the reason, and nothing is decided on a default.
A step that fails stops what needs it alone (`operations.isolation`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from functools import wraps
from inspect import signature
from typing import Any, ParamSpec, cast

from pyinfra import host
from pyinfra.api import operation as pyinfra_operation
from pyinfra.api.command import FunctionCommand, PyinfraCommand
from pyinfra.api.operation import PyinfraOperation
from pyinfra.api.state import StateStage

from facts.host_fact import ConversationError, FactError
from operations import declaration_edits, host_state, isolation, run_refused, serial, site_lock
from operations.failure import refuse
from phoenix.runs import step_names
from phoenix.secrets import slow_hashes

P = ParamSpec("P")


def operation(
    *,
    reads: Callable[..., Iterable[host_state.Question[Any]]] | None = None,
    is_idempotent: bool = True,
    stops: bool = True,
) -> Callable[[Callable[P, Generator[Any, None, None]]], PyinfraOperation[P]]:
    """Make an operation of a generator function.

    Args:
        reads: gives the facts that it reads before its first command, from its own arguments.
        is_idempotent: False where a second run makes the change again.
        stops: whether its failure stops the later steps of its part on the same host.
    """

    def decorate(function: Callable[P, Generator[Any, None, None]]) -> PyinfraOperation[P]:
        @wraps(function)
        def commands(*args: P.args, **kwargs: P.kwargs) -> Generator[PyinfraCommand, None, None]:
            if host.state.is_executing:
                if reason := _why_not():
                    yield from refuse(reason)
                    return
                slow_hashes.write()
                host_state.prefetch_hosts()
            try:
                for command in function(*args, **kwargs):
                    host_state.changes(command)
                    yield command
                    host_state.changes(command)
            except FactError as error:
                yield from stop_host(error)

        decorated = pyinfra_operation(is_idempotent=is_idempotent)(commands)
        own = signature(function)

        @wraps(function)
        def declared(*args: Any, **kwargs: Any) -> Any:
            if reads is not None:
                own_arguments = {
                    name: value for name, value in kwargs.items() if name in own.parameters
                }
                host_state.expect(reads(*args, **own_arguments))
            step_names.declaring(host_state.this_host(), kwargs)
            meta = decorated(*args, **kwargs)
            step_names.declared(host_state.this_host())
            this, op_hash = host_state.this_host(), host.op_hash_order[-1]
            isolation.declared(host.state, this, op_hash, stops=stops)
            serial.declared(host.state, this, op_hash)
            return meta

        declared._inner = commands  # type: ignore[attr-defined]  # as pyinfra's decorator has it
        return cast(PyinfraOperation[P], declared)

    return decorate


def _why_not() -> str:
    """Why this host must not begin the operation that is in turn; empty where it may."""
    this = host_state.this_host()
    declaration_edits.check()
    if reason := run_refused.reason():
        isolation.leave(this)
        return reason
    if reason := isolation.stopped(this):
        return reason
    try:
        site_lock.for_this_run()
    except site_lock.SiteLockedError as error:
        isolation.leave(this)
        return str(error)
    return ""


def stop_host(reason: str | FactError) -> Generator[FunctionCommand, None, None]:
    """Fail this host alone with `reason`, also while the run is prepared."""
    if host.state.current_stage < StateStage.Execute:
        host_state.fail(host_state.this_host(), str(reason))
        return
    if isinstance(reason, ConversationError):
        isolation.leave(host_state.this_host())
    yield from refuse(str(reason))
