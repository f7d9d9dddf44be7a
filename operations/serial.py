"""Hosts of a risky component one after the other, in batches (the setting `serial`).

pyinfra does each step on all hosts before the next one begins, so a Docker that does not come back
after a restart does not come back anywhere. Here the hosts of a batch do all steps of the component
in turn. A host that fails stops those after it in its batch, which say so. Other batches go on,
side by side.

What pyinfra has for this does something else: `_serial` does one step host by host, and goes on
after a failure; `_parallel` waits for the slowest of each slice; `pyinfra --serial` does whole
deploys host by host, and so a proxy before what it needs on a later host.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple
from weakref import WeakKeyDictionary, WeakSet

import gevent
from pyinfra.api import State
from pyinfra.api import operations as pyinfra_operations
from pyinfra.api.host import Host
from pyinfra.api.util import log_operation_start
from pyinfra.context import ctx_host

from operations import isolation
from phoenix.runs.reporter import report
from phoenix.runs.step_names import step_name

ALL = "100%"
"""One batch of all hosts."""


class _Component(NamedTuple):
    """A risky component, and how a host's batch is measured."""

    name: str
    size: str


_within: ContextVar[_Component | None] = ContextVar("risky component", default=None)
_risky: WeakKeyDictionary[Host, dict[str, _Component]] = WeakKeyDictionary()
_done: WeakKeyDictionary[State, set[str]] = WeakKeyDictionary()
_begun: WeakKeyDictionary[State, set[str]] = WeakKeyDictionary()
_states: WeakSet[State] = WeakSet()


@contextmanager
def component(name: str, size: str) -> Iterator[None]:
    """Steps declared within are done host by host.

    Args:
        name: the component's; its steps follow one another.
        size: of a batch, as `batches` takes it.
    """
    token = _within.set(_Component(name, size))
    try:
        yield
    finally:
        _within.reset(token)


def declared(state: State, host: Host, op_hash: str) -> None:
    """Note to which risky component a step belongs that a deploy has just declared."""
    risky = _within.get()
    if risky is None:
        return
    _states.add(state)
    _risky.setdefault(host, {})[op_hash] = risky


def batches(hosts: Sequence[Host], size: str) -> list[list[Host]]:
    """The hosts in order, in batches.

    Args:
        size: a number of hosts ("5"), or a part of them ("20%"), rounded up.
    """
    number = int(size.removesuffix("%"))
    if size.endswith("%"):
        number = math.ceil(len(hosts) * number / 100)
    return [list(hosts[start : start + number]) for start in range(0, len(hosts), number)]


_one_step = pyinfra_operations._run_single_op


def _run(state: State, op_hash: str) -> None:
    """Run a step on all hosts; the first of a risky component runs all of its steps, in batches."""
    if state not in _states or (risky := _component(state, op_hash)) is None:
        _one_step(state, op_hash)
        return
    if op_hash in _done.setdefault(state, set()):
        return
    steps = _steps(state, op_hash, risky)
    in_batches = _batches(state, steps)
    if all(len(batch) == 1 for batch in in_batches):
        _one_step(state, op_hash)
        return
    _done[state].update(steps)
    assert state.pool is not None  # noqa: S101  # made when the run connects
    working = [state.pool.spawn(_do_batch, state, batch, steps) for batch in in_batches]
    gevent.joinall(working, raise_error=True)
    failed = {host for batch in working for host in batch.value}
    state.fail_hosts(failed)  # type: ignore[no-untyped-call]


# The one place at which pyinfra decides that all hosts do a step before the next one begins.
pyinfra_operations._run_single_op = _run


def _component(state: State, op_hash: str) -> str | None:
    for host in state.inventory.get_active_hosts():
        if risky := _risky.get(host, {}).get(op_hash):
            return risky.name
    return None


def _steps(state: State, first: str, name: str) -> list[str]:
    order = state.get_op_order()  # type: ignore[no-untyped-call]
    steps: list[str] = []
    for op_hash in order[order.index(first) :]:
        if _component(state, op_hash) != name:
            break
        steps.append(op_hash)
    return steps


def _batches(state: State, steps: Sequence[str]) -> list[list[Host]]:
    """Hosts that take part, those with the same size of a batch together."""
    active = state.inventory.get_active_hosts()
    by_size: dict[str, list[Host]] = {}
    for host in (host for host in state.inventory if host in active):
        sizes = [_risky[host][step].size for step in steps if step in state.ops[host]]
        if sizes:
            by_size.setdefault(sizes[0], []).append(host)
    return [batch for size, hosts in by_size.items() for batch in batches(hosts, size)]


def _do_batch(state: State, hosts: Sequence[Host], steps: Sequence[str]) -> set[Host]:
    """Do the steps on one host after the other; gives those that failed or were not done."""
    failed: set[Host] = set()
    reason = ""
    for host in hosts:
        for step in steps:
            if step not in state.ops[host] or isolation.has_left(host):
                continue
            if reason:
                isolation.stop(host, step, reason)
            if not _do(state, host, step):
                failed.add(host)
                reason = reason or (
                    f'"{_title(state, step, host)}" failed on {host.name}, '
                    "which comes before this host in its batch (serial)"
                )
    return failed


def _do(state: State, host: Host, step: str) -> bool:
    begun = _begun.setdefault(state, set())
    if step not in begun:
        begun.add(step)
        log_operation_start(state.get_op_meta(step))
    order = state.get_op_order()  # type: ignore[no-untyped-call]
    name = step_name(state, step, host)
    report(
        "step", step=name, number=order.index(step) + 1, count=len(order), hosts=[host.name]
    )  # fmt: skip
    with ctx_host.use(host):
        done = pyinfra_operations.run_host_op(state, host, step)
    meta = state.ops[host][step].operation_meta
    if meta.did_succeed(_raise_if_not_complete=False):
        own_name = [host.name]
        changed = meta.did_change()
        report(
            "step_done",
            step=name,
            changed=own_name if changed else [],
            unchanged=[] if changed else own_name,
        )
    return done


def _title(state: State, step: str, host: Host) -> str:
    return step_name(state, step, host).rpartition("|")[2].strip()
