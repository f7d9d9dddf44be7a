"""SSH connections that go silent during a run: they are closed, so that nobody waits for them.

A host that hangs, or whose network is gone, keeps a command waiting for ever: TCP has nothing to
send again, and pyinfra sets no deadline. So each connection is asked now and then whether it lives
(RFC 4254, section 4: an SSH server answers any global request), as ServerAliveInterval of ssh(1)
does. How long a command itself takes does not matter.
"""

from __future__ import annotations

import contextlib
import functools
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import gevent
import paramiko
from gevent.lock import BoundedSemaphore
from pyinfra.api import DeployError, State
from pyinfra.api.exceptions import ConnectError
from pyinfra.api.host import Host

from operations.failure import print_reason
from operations.sudo import SudoError, install

PAUSE = 10.0
"""Seconds between two requests."""
SECONDS = 30
"""How long an answer may take: more than what a full SSH window takes on a slow line."""
_SLICE = 1.0
"""Counted one by one, so that a busy control machine is not taken for a silent host."""
BROKEN = (OSError, EOFError, paramiko.SSHException)
"""What paramiko raises where a connection breaks: whatever its reader saw last."""
SILENT = "it hangs, or the network to it is gone: SSH has not answered"
"""Begins what is told of such a host."""

_watched: WeakSet[paramiko.Transport] = WeakSet()
_states: WeakSet[State] = WeakSet()
_unreachable: WeakKeyDictionary[Host, ConnectError] = WeakKeyDictionary()
_back: WeakSet[Host] = WeakSet()
_connecting: WeakKeyDictionary[Host, BoundedSemaphore] = WeakKeyDictionary()


def send_all(channel: paramiko.Channel, data: bytes) -> None:
    """Send all of `data`, or fail, where paramiko's `sendall` would try for ever.

    That is so after `shutdown_write`, and where the other side closes just then: `send` says 0.

    Raises:
        OSError: the channel takes nothing more.
    """
    while data:
        sent = channel.send(data)
        if sent == 0:
            raise BrokenPipeError("the channel is closed for writing")
        data = data[sent:]


def transport(host: Host) -> paramiko.Transport | None:
    """The SSH connection of a host; None where it has none."""
    client = getattr(getattr(host, "connector", None), "client", None)
    open_transport: paramiko.Transport | None = (
        client.get_transport() if client is not None else None
    )
    return open_transport


def connect(host: Host, reason: str) -> None:
    """Connect to a host that is needed by others, if it is not connected to yet.

    A silent host is tried once a run: all callers wait for the same attempt, for a host of the run
    the one at the start. After `is_back` it is tried again.

    Args:
        reason: what for, for the log.

    Raises:
        ConnectError: it does not answer.
    """
    if host.connected:
        return
    with _connecting.setdefault(host, BoundedSemaphore(1)):
        if host.connected:
            return
        if host in _unreachable:
            raise _unreachable[host]
        if was_silent(host):
            raise ConnectError("it gave no answer when this run began")
        try:
            host.connect(reason=reason, raise_exceptions=True)
        except ConnectError as error:
            _unreachable[host] = error
            raise
    try:
        watch(host)
    except SudoError as error:
        raise ConnectError(str(error)) from None


def is_back(host: Host) -> None:
    """Note that a host may answer by SSH again, as a guest that this run has started."""
    _unreachable.pop(host, None)
    _back.add(host)


def was_silent(host: Host) -> bool:
    """Whether the run has left a host out at its start, since no connection could be made."""
    state = host.state
    left_out = host in state.failed_hosts and host not in state.activated_hosts
    return left_out and host not in _back


def silent_hosts(state: State) -> list[str]:
    """The names of the hosts that gave no answer when the run began, in order."""
    return sorted(failed.name for failed in state.failed_hosts if was_silent(failed))


def connected_transport(
    host: Host, reason: str, *, again: bool = False
) -> paramiko.Transport | None:
    """The SSH connection of a host, made where there is none, and watched.

    Args:
        host: it may be outside of --limit.
        reason: what for, for the log.
        again: make it again where it no longer carries anything.

    Returns:
        None where the host is reached by other means than SSH.

    Raises:
        ConnectError: it does not answer.
    """
    if again and host.connected and is_gone(host):
        with contextlib.suppress(*BROKEN):
            host.connector.disconnect()
        host.connected = False
    connect(host, reason)
    watch(host)
    return transport(host)


def watch_all(state: State) -> None:
    """Watch the connections of all hosts of a run from now on; a second call does nothing.

    One whose sudo does not answer is left out of the run, and says so.

    Raises:
        DeployError: a host's log-in lacks the rights by sudo that it is to have: every such host.
    """
    if state in _states:
        return
    _states.add(state)
    faults = []
    for host in state.inventory.get_active_hosts():
        try:
            watch(host)
        except SudoError as error:
            faults.append(str(error))
        except ConnectError as error:
            print_reason(host, str(error))
            state.fail_hosts({host})  # type: ignore[no-untyped-call]
    if faults:
        raise DeployError("\n".join(faults))


def watch(host: Host) -> None:
    """Close the connection of a host when it goes silent; its commands run as root from now on.

    Raises:
        SudoError: see `operations.sudo.arrange`.
        ConnectError: sudo does not answer, or the connection broke at that.
    """
    open_transport = transport(host)
    if open_transport is not None and open_transport not in _watched:
        try:
            install(host, open_transport, send_all)
        except BROKEN as error:
            reason = str(error) or type(error).__name__
            raise ConnectError(f"{host.name}: sudo does not answer there: {reason}") from None
        _told_as_ssh(host)
        _watched.add(open_transport)
        gevent.spawn(_watch, host, open_transport)


def _told_as_ssh(host: Host) -> None:
    """A connection that ends under a command is a fault of this host alone.

    pyinfra takes an SSHException for one, and ends the whole run at an EOFError, which paramiko
    raises where its reader found the socket closed.
    """
    connector: Any = host.connector
    run = connector.run_shell_command

    @functools.wraps(run)
    def run_or_tell(*words: Any, **options: Any) -> Any:
        try:
            return run(*words, **options)
        except EOFError as error:
            raise paramiko.SSHException("the connection broke") from error

    connector.run_shell_command = run_or_tell


def _watch(host: Host, open_transport: paramiko.Transport) -> None:
    gevent.sleep(PAUSE)
    while open_transport.is_active():
        asking = gevent.spawn(_ask, open_transport)
        for _ in range(SECONDS):
            asking.join(timeout=_SLICE)
            if asking.ready():
                break
        else:
            print_reason(host, f"{SILENT} for {SECONDS} s, so its connection is closed")
            open_transport.close()
            return
        gevent.sleep(PAUSE)


def _ask(open_transport: paramiko.Transport) -> None:
    with contextlib.suppress(*BROKEN):
        open_transport.global_request("keepalive@openssh.com")


def is_gone(host: Host) -> bool:
    """Whether a host had an SSH connection that no longer carries anything."""
    open_transport = transport(host)
    return open_transport is not None and not open_transport.is_active()
