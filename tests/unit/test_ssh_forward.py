"""The SSH forward, against a real SSH server (paramiko's own) on loopback."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import paramiko
import pytest
from paramiko import common

from operations.ssh_forward import dial_transport


class Server(paramiko.ServerInterface):
    def check_auth_none(self, username: str) -> int:
        return common.AUTH_SUCCESSFUL

    def get_allowed_auths(self, username: str) -> str:
        return "none"

    def check_channel_direct_tcpip_request(
        self, chanid: int, origin: tuple[str, int], destination: tuple[str, int]
    ) -> int:
        if destination == ("inside", 9443):
            return common.OPEN_SUCCEEDED
        return common.OPEN_FAILED_CONNECT_FAILED


@pytest.fixture
def transport() -> Iterator[paramiko.Transport]:
    near, far = socket.socketpair()
    server = paramiko.Transport(far)
    server.add_server_key(paramiko.RSAKey.generate(2048))
    server.start_server(event=threading.Event(), server=Server())  # does not block

    def echo() -> None:
        channel = server.accept(10)
        if channel is None:
            return
        # The test may end, and close the connection, while the last bytes go back.
        with contextlib.suppress(OSError, EOFError), channel:
            while data := channel.recv(65536):
                channel.sendall(data)

    threading.Thread(target=echo, daemon=True).start()
    client = paramiko.Transport(near)
    client.start_client(timeout=10)
    client.auth_none("test")
    yield client
    client.close()
    server.close()


def test_bytes_go_both_ways_and_an_end_ends_both(transport: paramiko.Transport) -> None:
    sock = dial_transport(transport, "inside", 9443, 10)
    blob = bytes(range(256)) * 4096
    threading.Thread(target=sock.sendall, args=(blob,), daemon=True).start()
    got = b""
    while len(got) < len(blob):
        data = sock.recv(65536)
        assert data, f"ended after {len(got)} of {len(blob)} bytes"
        got += data
    assert got == blob
    sock.shutdown(socket.SHUT_WR)
    assert sock.recv(1) == b""


def test_refused_address_is_an_os_error(transport: paramiko.Transport) -> None:
    with pytest.raises(OSError, match="forward to inside:1"):
        dial_transport(transport, "inside", 1, 10)
