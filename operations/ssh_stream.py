"""A stream from a command on one host to a command on another, through this process's memory.

The hosts need no log-in at each other and no open port: both legs are the SSH connections that the
run has. Nothing of it reaches this machine's disk.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

import paramiko
from pyinfra.api.exceptions import ConnectError, OperationError
from pyinfra.api.host import Host

from operations import connection

_PIECE = 1 << 18
_WINDOW = 1 << 23
_SECONDS = 900.0
"""How long either end may be silent in the middle of a stream."""


class _Command:
    """One command on one host."""

    def __init__(self, host: Host, channel: paramiko.Channel) -> None:
        self.host = host
        self.channel = channel
        self.said = b""
        # Both outputs share one window: what it writes on standard error, unread, stops the stream.
        self._hearing = threading.Thread(target=self._hear, daemon=True)
        self._hearing.start()

    def _hear(self) -> None:
        with suppress(*connection.BROKEN):
            while piece := self.channel.recv_stderr(_PIECE):
                self.said = (self.said + piece)[-4000:]

    def end(self) -> None:
        """Wait for its end.

        Raises:
            OperationError: it failed, with its own words; or the connection broke.
        """
        transport = self.channel.get_transport()
        while not self.channel.exit_status_ready():
            self.channel.status_event.wait(0.2)
            if transport is None or not transport.is_active():
                raise OperationError(f"{self.host.name}: the connection broke")
        self._hearing.join()
        status = self.channel.recv_exit_status()
        if status == -1:  # paramiko's word for none: the channel went without it
            raise OperationError(f"{self.host.name}: the connection broke")
        if status != 0:
            message = self.said.decode(errors="replace").strip() or f"status {status}"
            raise OperationError(f"{self.host.name}: {message}")


def _transport(host: Host) -> paramiko.Transport:
    """The SSH connection to a host; made, or made again, where there is none.

    Raises:
        OperationError: it does not answer.
    """
    try:
        open_transport = connection.connected_transport(host, "for a move", again=True)
    except ConnectError as error:
        raise OperationError(f"{host.name} does not answer by SSH: {error}") from None
    if open_transport is None:
        raise OperationError(f"{host.name} has no SSH connection")
    return open_transport


def ask(host: Host, line: str) -> str:
    """Standard output of a command on a host.

    Raises:
        OperationError: it failed, or the connection broke.
    """
    (answer,) = ask_each([(host, line)])
    return answer


def ask_each(lines: list[tuple[Host, str]]) -> list[str]:
    """Standard output of commands on several hosts, which run at the same time.

    Raises:
        OperationError: one failed, or a connection broke.
    """
    commands = [_begin(host, line) for host, line in lines]
    answers = []
    try:
        for command in commands:
            output = b""
            while piece := command.channel.recv(_PIECE):
                output += piece
            command.end()
            answers.append(output.decode(errors="replace"))
    except connection.BROKEN as error:
        raise OperationError(f"{command.host.name}: the connection broke: {error}") from None
    finally:
        for command in commands:
            command.channel.close()
    return answers


def stream(source: tuple[Host, str], target: tuple[Host, str], tell: Callable[[int], None]) -> int:
    """Standard output of one command as standard input of another.

    Args:
        source: the host and the command that gives.
        target: the host and the command that takes.
        tell: called with the number of bytes so far.

    Returns:
        How many bytes went.

    Raises:
        OperationError: one of the two failed, or a connection broke.
    """
    taker = _begin(*target)
    giver = _begin(*source)
    count = 0
    whole = True
    try:
        giver.channel.settimeout(_SECONDS)
        taker.channel.settimeout(_SECONDS)
        while piece := giver.channel.recv(_PIECE):
            try:
                connection.send_all(taker.channel, piece)
            except connection.BROKEN:  # it has ended early, and tells why
                whole = False
                break
            count += len(piece)
            tell(count)
        if whole:
            giver.end()
            taker.channel.shutdown_write()
        taker.end()
        if not whole:
            raise OperationError(f"{taker.host.name} took no more of the stream")
    except connection.BROKEN as error:
        raise OperationError(
            f"the stream from {giver.host.name} to {taker.host.name} broke: {error or 'time-out'}"
        ) from None
    finally:
        giver.channel.close()
        taker.channel.close()
    return count


def _begin(host: Host, line: str) -> _Command:
    try:
        channel = _transport(host).open_session(window_size=_WINDOW)
        channel.exec_command(line)
    except connection.BROKEN as error:
        raise OperationError(f"{host.name}: the connection broke: {error}") from None
    return _Command(host, channel)
