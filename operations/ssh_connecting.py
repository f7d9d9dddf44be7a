"""How a run dials its hosts: a silent one is named soon, and is dialled once.

pyinfra has one time limit for the TCP connection and the key exchange. A kernel answers the first
however busy its machine is. An sshd that lives says who it is next, before it computes anything
(RFC 4253, section 4.2). The key exchange may take long. pyinfra also tries again after each failure
(`phoenix.declaration.inventory.CONNECTING`), and everybody waits for that: all hosts are connected
to before the first step.
"""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

import paramiko
from paramiko.ssh_exception import SSHException
from pyinfra.connectors.ssh import SSHConnector
from pyinfra.connectors.ssh_util import raise_connect_error
from typing_extensions import override

from phoenix.net.ssh_command import CONNECT_SECONDS
from phoenix.net.ssh_faults import Cause, cause_of

DIAL_SECONDS = 8.0
"""For the TCP connection: Linux asks after 0, 1, 3 and 7 seconds (tcp_syn_retries of tcp(7)).
And for the first line of the SSH server after it."""
KEY_EXCHANGE_SECONDS = float(CONNECT_SECONDS)
"""For that line and the key exchange. A busy host needs longer than pyinfra's ten seconds."""
SESSION_SECONDS = 30.0
"""How long a server may refuse a further session: as prefetched answers take (`prefetch`)."""
SILENT: frozenset[Cause] = frozenset({"timeout", "no_route"})
"""Nobody answered. One that refuses or hangs up may be an sshd that starts, and is tried again,
unless it has kept us waiting for `DIAL_SECONDS`: it hangs."""


class SlowKexTransport(paramiko.Transport):
    """An SSH connection whose key exchange may take longer than its TCP connection did."""

    def __init__(self, sock: Any, **options: Any) -> None:
        """As paramiko's; `sock` may be a channel through a jump host.

        Each message is sent at once: of two small ones the second would wait for the answer to the
        first, which the other side delays (TCP_NODELAY of tcp(7)).
        """
        super().__init__(sock, **options)
        if isinstance(sock, socket.socket) and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @override
    def open_session(
        self, window_size: int | None = None, max_packet_size: int | None = None,
        timeout: float | None = None,
    ) -> paramiko.Channel:  # fmt: skip
        """A new session; where the server allows no more at once, when one of them has ended.

        That is MaxSessions of sshd_config(5), ten unless somebody has hardened the server.

        Raises:
            SSHException: the server refuses it for `SESSION_SECONDS`, or the connection broke.
        """
        began = time.monotonic()
        while True:
            try:
                return super().open_session(window_size, max_packet_size, timeout)
            except paramiko.ChannelException:
                if time.monotonic() - began > SESSION_SECONDS:
                    raise
                time.sleep(0.1)

    @override
    def start_client(
        self, event: threading.Event | None = None, timeout: float | None = None
    ) -> None:
        """Begin the session; `timeout` is that of the TCP connection."""
        self.banner_timeout = DIAL_SECONDS
        # Else 15 s. It must not pass first: paramiko tells that as a connection that was closed.
        self.handshake_timeout = 2 * KEY_EXCHANGE_SECONDS
        super().start_client(event, None if timeout is None else KEY_EXCHANGE_SECONDS)


_arguments = SSHConnector.make_paramiko_kwargs
_once = SSHConnector._connect


def _patient_arguments(self: SSHConnector) -> dict[str, object]:
    return {**_arguments(self), "timeout": DIAL_SECONDS, "transport_factory": SlowKexTransport}


def _connect(self: SSHConnector) -> None:
    began = time.monotonic()
    try:
        _once(self)
    except (OSError, SSHException) as error:
        if cause_of(error) in SILENT or time.monotonic() - began >= DIAL_SECONDS:
            raise_connect_error(self.host, "Could not connect", error)
        raise


def install() -> None:
    """Have pyinfra dial so, in this process."""
    SSHConnector.make_paramiko_kwargs = _patient_arguments  # type: ignore[method-assign]
    SSHConnector._connect = _connect  # type: ignore[method-assign]
