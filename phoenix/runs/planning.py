"""A plan: all steps are declared, and looked at then, so that each host is asked once for all.

pyinfra looks at each operation of a dry run where it is declared, and what the later ones will
read is not known there: each fact was a command of its own, four times those of a run.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any
from weakref import WeakSet

import gevent
from pyinfra.api.host import Host
from pyinfra.api.state import State
from pyinfra.context import ctx_config, ctx_host, ctx_state

_looking: WeakSet[State] = WeakSet()


def looks(state: State) -> bool:
    """Whether the steps of this plan are all declared, and being looked at."""
    return state in _looking


def declare_first(command_line: ModuleType) -> None:
    """Have pyinfra's command line look at the steps of a dry run when all are declared.

    Args:
        command_line: `pyinfra_cli.cli`, whose import makes greenlets of all threads.
    """
    prepare = command_line._prepare_deploy_operations

    def prepared(state: State, *rest: Any) -> Any:
        state.check_for_changes = False
        result = prepare(state, *rest)
        _look(state)
        return result

    command_line._prepare_deploy_operations = prepared  # type: ignore[attr-defined]


def _look(state: State) -> None:
    """Find out which steps would change something; all hosts at once, each in its own order.

    Raises:
        Exception: the first one that a step raises, as it would while it is declared.
    """
    _looking.add(state)
    hosts = list(state.inventory.iter_activated_hosts())
    for done in gevent.iwait([state.pool.spawn(_look_on, state, host) for host in hosts]):
        if error := done.get():
            raise error


def _look_on(state: State, host: Host) -> Exception | None:
    with ctx_state.use(state), ctx_config.use(state.config.copy()), ctx_host.use(host):
        counts = state.get_meta_for_host(host)
        for step in list(state.ops[host].values()):
            try:
                changes = any(True for _ in step.command_generator())
            except Exception as error:  # noqa: BLE001  # raised by `_look`
                return error
            step.operation_meta._maybe_is_change = changes
            if changes:
                counts.ops_change += 1
                counts.ops_no_change -= 1
    return None
