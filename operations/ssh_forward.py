"""A byte stream to a port of an inventory host, over the SSH connection pyinfra already has.

A socket pair, not a listener: no other user of the control machine can step into the forward.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

import paramiko
from pyinfra.api.exceptions import ConnectError
from pyinfra.api.host import Host

from operations import connection
from phoenix.net.https import Dial

_PIECE = 32768


def dial_through(host: Host, address: str, port: int) -> Dial:
    """A `Dial` to `address`:`port` as seen from `host`; connects to `host` where needed.

    The host may be outside ``--limit``: it only carries the bytes.

    Raises (when it is called):
        OSError: no SSH connection, or the host can't reach the address.
    """

    def dial(timeout: float) -> socket.socket:
        try:
            transport = connection.connected_transport(host, "to reach an API through it")
        except ConnectError as error:
            raise OSError(f"{host.name} does not answer by SSH: {error}") from None
        if transport is None:
            raise OSError(f"{host.name} has no SSH connection to forward through")
        return dial_transport(transport, address, port, timeout)

    return dial


def dial_transport(
    transport: paramiko.Transport, address: str, port: int, timeout: float
) -> socket.socket:
    """One end of a socket pair whose other end is a direct-tcpip channel (RFC 4254, 7.2).

    Raises:
        OSError: the SSH server refuses, or can't connect.
    """
    try:
        channel = transport.open_channel(
            "direct-tcpip", (address, port), ("127.0.0.1", 0), timeout=timeout
        )
    except connection.BROKEN as error:
        raise OSError(f"SSH forward to {address}:{port}: {error}") from None
    local, remote = socket.socketpair()

    def pump(read: Callable[[int], bytes], write: Callable[[bytes], object]) -> None:
        with contextlib.suppress(OSError, EOFError):
            while data := read(_PIECE):
                write(data)
        # Either end finishes both: HTTP needs no half-closed connection.
        channel.close()
        with contextlib.suppress(OSError):
            remote.shutdown(socket.SHUT_RDWR)

    def send(data: bytes) -> None:
        connection.send_all(channel, data)

    for ends in ((remote.recv, send), (channel.recv, remote.sendall)):
        threading.Thread(target=pump, args=ends, daemon=True).start()
    local.settimeout(timeout)
    return local
