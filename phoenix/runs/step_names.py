"""What a step is called on a host.

pyinfra knows a step by its place in a deploy file. Two hosts whose stacks are declared by one loop
share this place. pyinfra keeps both names with it, and forgets which host has which.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from weakref import WeakKeyDictionary

from pyinfra.api.host import Host
from pyinfra.api.state import State

from phoenix.runs.reporter import report

_named: WeakKeyDictionary[Host, dict[str, str]] = WeakKeyDictionary()
_declaring: WeakKeyDictionary[Host, str] = WeakKeyDictionary()


def declaring(host: Host, arguments: dict[str, Any]) -> None:
    """An operation with these arguments is about to be declared on a host."""
    name = str(arguments.get("name") or "")
    deploy = host.current_deploy_name
    _declaring[host] = f"{deploy} | {name}" if name and deploy else name


def declared(host: Host) -> None:
    """It is declared: the last one of the host's. Who has which of several names is reported."""
    op_hash = host.op_hash_order[-1]
    _named.setdefault(host, {})[op_hash] = _declaring.pop(host, "")
    if len(host.state.op_meta[op_hash].names) > 1:
        for other in host.state.inventory:
            if name := _named.get(other, {}).get(op_hash):
                report("named", operation=op_hash, host=other.name, step=name)


def step_name(state: State, op_hash: str, host: Host | None) -> str:
    """The name of a step on a host; where the host is not known, one of its names; empty: none."""
    if op_hash not in state.op_meta:
        return ""
    own = ""
    if host is not None:
        own = _named.get(host, {}).get(op_hash, "")
        if not own and host.current_op_hash == op_hash:
            own = _declaring.get(host, "")
    return own or next(iter(sorted(state.op_meta[op_hash].names)), "")


def by_name(state: State, op_hash: str, hosts: Iterable[Host]) -> dict[str, list[Host]]:
    """The hosts that take part in a step, by what it is called there."""
    hosts_by_step: dict[str, list[Host]] = {}
    for host in hosts:
        if op_hash in state.ops[host]:
            hosts_by_step.setdefault(step_name(state, op_hash, host), []).append(host)
    return hosts_by_step
