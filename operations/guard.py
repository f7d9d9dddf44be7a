"""A host's guard, with a word before it shuts what the host serves and no flow lets in."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Sequence

from pyinfra import host
from pyinfra.api import FunctionCommand, StringCommand

from facts.host_fact import FactError
from facts.proxmox import Listening
from operations.config_tree import config_tree, tree_state
from operations.explain import log_reasons
from operations.failure import refuse
from operations.host_state import ask, question, read
from operations.operation import operation, stop_host
from phoenix.components.config_tree.tree import Tree
from phoenix.derived.firewall import Flow, allows_port
from phoenix.proxmox.listeners import Listener, refusal, serves


@operation(reads=lambda tree, **_: [tree_state(tree)])
def guard(
    tree: Tree,
    flows: Callable[[], Sequence[Flow]],
    *,
    refuses: bool,
    closed: Collection[str] = (),
) -> Generator[StringCommand | FunctionCommand, None, None]:
    """Put the guard on this host. Before its first load, ports that it would shut are told.

    Args:
        tree: the guard's rules, program and unit.
        flows: gives all that its rules let in; asked before the first load alone.
        refuses: whether such a port is refused until it is declared, as on the hypervisor, whose
            services (NFS, Ceph, backups) the guests may live on; else the plan and the run tell it.
        closed: ports ("tcp/111") that may be shut, whatever listens on them.
    """
    if read(tree_state(tree)).current is None:
        try:
            sockets = ask(question(Listening))
        except FactError as error:
            yield from stop_host(error)
            return
        shut = blocked_by(flows(), sockets, closed)
        if shut and refuses:
            yield from refuse(refusal(host.name, shut, is_own_node=True, action="its guard"))
            return
        log_reasons(
            *(
                f"shuts {listener.name} ({listener.process or 'unknown'}), which no flow lets "
                "in: declare it in firewall.rules where others need it"
                for listener in sorted(shut, key=lambda listener: (listener.port, listener.proto))
            )
        )
    yield from config_tree._inner(tree)


def blocked_by(
    flows: Sequence[Flow], sockets: Collection[Listener], closed: Collection[str] = ()
) -> list[Listener]:
    """What listens, and is let in by none of the flows, whoever they are for."""
    return [
        listener
        for listener in sockets
        if serves(listener)
        and listener.name not in closed
        and not any(
            allows_port(flow, listener.port, "udp" if listener.proto == "udp" else "tcp")
            for flow in flows
        )
    ]
