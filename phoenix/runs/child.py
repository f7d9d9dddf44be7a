"""pyinfra's own command line, with events: `python -m phoenix.runs.child ARGUMENTS OF PYINFRA`.

pyinfra makes its State and connects at once, so a callback can only be added in between, by
wrapping State.init. Everything else is pyinfra as it is.
"""

# pyinfra_cli comes first: it patches the standard library for gevent.
from pyinfra_cli.main import main  # isort: skip

import logging
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyinfra
import pyinfra_cli.cli
import pyinfra_cli.inventory
import pyinfra_cli.util
from pyinfra.api.host import Host
from pyinfra.api.inventory import Inventory
from pyinfra.api.state import BaseStateCallback, State, StateStage
from pyinfra.context import ctx_host, ctx_state

from phoenix.net.ssh_faults import sentence
from phoenix.runs import planning
from phoenix.runs.reporter import report
from phoenix.runs.step_names import by_name, step_name
from phoenix.runs.styles import without_styles

_HOST = re.compile(r"^\s*\[([^\]]+)\]\s*(.*)$", re.DOTALL)


class Events(BaseStateCallback):
    """Connections and operations as they happen."""

    @staticmethod
    def host_connect(state: State, host: Host) -> None:
        """A host answered."""
        report("connect", host=host.name, ok=True, reason="")

    @staticmethod
    def host_connect_error(state: State, host: Host, error: Exception) -> None:
        """A host did not; `error` says why."""
        reason = without_styles(sentence(error))
        address = host.data.get("ssh_hostname") or host.name
        report("connect", host=host.name, ok=False, reason=reason, address=address)

    @staticmethod
    def operation_start(state: State, op_hash: str) -> None:
        """One step of the run begins, on all hosts that take part."""
        order = state.get_op_order()  # type: ignore[no-untyped-call]
        for name, hosts in by_name(state, op_hash, state.inventory.get_active_hosts()).items():
            report(
                "step",
                step=name,
                number=order.index(op_hash) + 1,
                count=len(order),
                hosts=[host.name for host in hosts],
            )

    @staticmethod
    def operation_host_error(
        state: State, host: Host, op_hash: str, retry_count: int = 0, max_retries: int = 0
    ) -> None:
        """A host failed."""
        report("host_failed", host=host.name, step=step_name(state, op_hash, host))

    @staticmethod
    def operation_end(state: State, op_hash: str) -> None:
        """What the step did on each host."""
        for name, hosts in by_name(state, op_hash, state.inventory).items():
            changed: list[str] = []
            unchanged: list[str] = []
            for host in hosts:
                meta = state.ops[host][op_hash].operation_meta
                if meta.did_succeed(_raise_if_not_complete=False):
                    (changed if meta.did_change() else unchanged).append(host.name)
            report("step_done", step=name, changed=changed, unchanged=unchanged)


class _Lines(logging.Handler):
    """pyinfra's own lines, with the host and the operation that they belong to."""

    def emit(self, record: logging.LogRecord) -> None:
        """Send one."""
        text = record.getMessage()
        plain = without_styles(text)
        match = _HOST.match(plain)
        host: Host | None = ctx_host.get()  # type: ignore[no-untyped-call]
        step = ""
        if host is not None:
            op_hash = host.current_op_hash or host.executing_op_hash
            step = step_name(pyinfra.state, op_hash, host) if op_hash else ""
        report(
            "line",
            level=record.levelname.lower(),
            host=match[1] if match else (host.name if host is not None else ""),
            step=step,
            text=match[2] if match else plain.strip("\n"),
            executing=_stage() >= StateStage.Execute,
        )


def _stage() -> StateStage:
    state: State | None = ctx_state.get()  # type: ignore[no-untyped-call]
    return state.current_stage if state is not None else StateStage.Setup


def _name_steps() -> None:
    """Have each step named after its deploy file, also where nothing includes that file.

    pyinfra does so for included files alone, and then a run of one component could not tell whose
    steps they are.
    """
    execute = pyinfra_cli.util.exec_file

    def named(filename: str, *arguments: Any, **options: Any) -> Any:
        host: Host = ctx_host.get()  # type: ignore[no-untyped-call]
        before = host.current_deploy_name
        host.current_deploy_name = before or os.path.relpath(filename)
        try:
            return execute(filename, *arguments, **options)
        finally:
            host.current_deploy_name = before

    pyinfra_cli.util.exec_file = named


def _only_own_settings() -> None:
    """Have a site take its settings from the group_data of its folder alone.

    pyinfra also reads that beside the inventory file and, for a site with a folder of its own, that
    of its working directory: the checkout with the deploys, whose settings are another site's.
    """
    read = pyinfra_cli.inventory._get_group_data
    named = "--group-data"
    given = sys.argv[sys.argv.index(named) + 1] if named in sys.argv else "group_data"
    own = Path(given).absolute()

    def of_the_site(folder: str) -> Any:
        return read(folder) if Path(folder).absolute() == own else {}

    pyinfra_cli.inventory._get_group_data = of_the_site


def _limit_to_hosts() -> None:
    """Have a host that is called like a group be that host alone in ``--limit``.

    pyinfra looks for a group first, and one of all hosts is called like the inventory's file: the
    hypervisor ``phoenix`` would be the whole site of inventories/phoenix.py.
    """
    matches = pyinfra_cli.cli._get_inventory_pattern_matches

    def hosts_first(inventory: Inventory, patterns: Iterable[str], option: str) -> list[Host]:
        named = [host for host in inventory if host.name in patterns]
        remaining = set(patterns) - {host.name for host in named}
        return [*named, *matches(inventory, sorted(remaining), option)]

    pyinfra_cli.cli._get_inventory_pattern_matches = hosts_first


def _attach() -> None:
    initialise = State.init

    def init(self: State, *arguments: Any, **options: Any) -> None:
        initialise(self, *arguments, **options)
        self.add_callback_handler(Events())  # type: ignore[no-untyped-call]

    _name_steps()
    _limit_to_hosts()
    _only_own_settings()
    if "--dry" in sys.argv:
        planning.declare_first(pyinfra_cli.cli)
    State.init = init  # type: ignore[method-assign]
    pyinfra.logger.addHandler(_Lines())


if __name__ == "__main__":
    _attach()
    main()
