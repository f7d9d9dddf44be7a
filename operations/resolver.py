"""A resolver that the declaration leaves alone: it has to answer the site's own names."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra import host
from pyinfra.api import FunctionCommand, StringCommand

from facts.resolver import OwnResolver, Resolved
from operations.failure import refuse
from operations.host_state import ask, question
from operations.operation import operation


@operation()
def answers(
    *, domain: str, server: str, known: str, address: str
) -> Generator[FunctionCommand | StringCommand, None, None]:
    """Refuse a host whose own resolver does not answer the site's names; nothing is changed.

    Certificates and checks need them. It is asked while the run executes: only then do the names
    of a new site exist.

    Args:
        domain: the site's zone.
        server: address of the site's name server, for this host.
        known: a name of the zone.
        address: the one that the host has to get for it.
    """
    if not host.state.is_executing:
        host.noop("its resolver is left alone")
        return
    resolved = ask(question(OwnResolver, known=known))
    if address in resolved.answers:
        host.noop(f"its own resolver answers {known}")
        return
    yield from refuse(fault(resolved, domain=domain, server=server, known=known))


def fault(resolved: Resolved, *, domain: str, server: str, known: str) -> str:
    """What is wrong with a resolver that did not give the right address, and the fix."""
    servers = ", ".join(resolved.servers) or "no server in /etc/resolv.conf"
    reply = f"says {' '.join(resolved.answers)!r}" if resolved.answers else "knows no such name"
    return (
        f"its resolver ({servers}) is left alone, and {reply} when asked for {known}; "
        f"fix: have it forward {domain} to {server} (docs/networks.md, A resolver of your own), or "
        'take "resolver" out of leave_alone'
    )
