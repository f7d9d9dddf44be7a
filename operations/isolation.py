"""A step that fails stops what needs it, and nothing else.

pyinfra leaves a host out of a run once one of its steps has failed, so a broken proxy would keep
the start page, Docker and the final checks of its host from being done. Here a failed step stops
the later steps of its own part alone: the deploy file that a run calls, or what `part` names within
it. The others prove themselves what they need. The host counts as failed all the same, so the run
ends with exit code 1.

A host leaves the run as a whole where none of its answers can be used: its connection is gone, it
hangs, or its log-in garbles what it says.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import PurePath
from types import FrameType
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from pyinfra.api import State
from pyinfra.api.host import Host
from pyinfra.api.state import BaseStateCallback, StateStage

from operations import connection
from phoenix.runs.results import NOT_DONE
from phoenix.runs.step_names import step_name

AGGREGATE = "all.py"
"""Includes other deploys, each a part of its own; what any other file includes is of its part."""

_within: ContextVar[str] = ContextVar("part of a deploy", default="")


class _Progress:
    """What a host's steps belong to, and which of its parts are stopped, and why."""

    def __init__(self) -> None:
        self.parts: dict[str, str] = {}
        self.spared: set[str] = set()
        self.failed: dict[str, str] = {}  # a part, and why it is not done
        self.leaves = False


_hosts: WeakKeyDictionary[Host, _Progress] = WeakKeyDictionary()
_states: WeakSet[State] = WeakSet()


@contextmanager
def part(name: str) -> Iterator[None]:
    """Steps declared within are a part of their own: their failure stops no other step.

    Args:
        name: what they are about, once in a deploy file.
    """
    token = _within.set(name)
    try:
        yield
    finally:
        _within.reset(token)


def declared(state: State, host: Host, op_hash: str, *, stops: bool) -> None:
    """Note to which part a step belongs that a deploy has just declared.

    Args:
        op_hash: pyinfra's name of the step.
        stops: whether its failure stops the later steps of its part.
    """
    if state not in _states:
        _states.add(state)
        state.add_callback_handler(_Failures())  # type: ignore[no-untyped-call]
        _take_over(state)
    progress = _hosts.setdefault(host, _Progress())
    progress.parts[op_hash] = f"{_deploy(sys._getframe(1))}/{_within.get()}"
    if not stops:
        progress.spared.add(op_hash)


def stopped(host: Host) -> str:
    """Why the step that this host is about to do is not done; empty where nothing stops it."""
    progress = _hosts.get(host)
    if progress is None:
        return ""
    reason = progress.failed.get(progress.parts.get(host.executing_op_hash or "", ""))
    return f"{NOT_DONE}{reason}" if reason else ""


def stop(host: Host, op_hash: str, reason: str) -> None:
    """Stop the part of a step on a host that has not begun it, as `reason` says."""
    progress = _hosts[host]
    progress.failed.setdefault(progress.parts[op_hash], reason)


def leave(host: Host) -> None:
    """Leave a host out of the rest of the run when its present step has failed."""
    _hosts.setdefault(host, _Progress()).leaves = True


class _Failures(BaseStateCallback):
    """Notes which part of a host failed, at its first failed step."""

    @staticmethod
    def operation_host_error(
        state: State,
        host: Host,
        op_hash: str,
        retry_count: int = 0,  # noqa: ARG004  # pyinfra's signature
        max_retries: int = 0,  # noqa: ARG004
    ) -> None:
        """A step failed on a host."""
        progress = _hosts.setdefault(host, _Progress())
        if op_hash in progress.parts and op_hash not in progress.spared:
            name = step_name(state, op_hash, host)
            title = name.rpartition("|")[2].strip()
            reason = f'"{title}" failed before on this host'
            progress.failed.setdefault(progress.parts[op_hash], reason)


def _take_over(state: State) -> None:
    """Have `state` keep hosts with a failed step in the run, unless they leave it.

    A percentage of failed hosts that may not be exceeded (--fail-percent) is still pyinfra's to
    judge.
    """
    fail_hosts = state.fail_hosts

    def fail(hosts: set[Host], activated_count: int | None = None) -> Any:
        limited = state.config.FAIL_PERCENT is not None and not state.should_raise_failed_hosts
        if state.current_stage < StateStage.Execute or limited:
            return fail_hosts(hosts, activated_count)  # type: ignore[no-untyped-call]
        leaving = {host for host in hosts if has_left(host)}
        state.failed_hosts.update(hosts - leaving)
        return fail_hosts(leaving, activated_count)  # type: ignore[no-untyped-call]

    state.fail_hosts = fail  # type: ignore[method-assign]


def has_left(host: Host) -> bool:
    """Whether a host does no further step: it is to leave the run, or its connection is gone."""
    progress = _hosts.get(host)
    return (progress is not None and progress.leaves) or connection.is_gone(host)


def _deploy(frame: FrameType | None) -> str:
    """The deploy file that leads to this step: the outermost one that does more than include."""
    files: list[str] = []
    while frame is not None:
        if "__name__" not in frame.f_globals:  # pyinfra executes deploys without one
            files.append(frame.f_code.co_filename)
        frame = frame.f_back
    calling = [file for file in reversed(files) if PurePath(file).name != AGGREGATE]
    return calling[0] if calling else ""
