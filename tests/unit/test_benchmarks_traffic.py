"""What the SSH counters say, against the kernel's own count of the same connections."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import paramiko
import pytest
from paramiko import common

from benchmarks.counted_pyinfra import CountedSocket, Counts, Traffic, install

ADDRESS = "127.0.0.2"
REPLY = b"x" * 40_000


class _Server(paramiko.ServerInterface):
    def check_auth_password(self, username: str, password: str) -> int:
        return common.AUTH_SUCCESSFUL

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return common.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        def answer() -> None:
            channel.recv(1)  # the client's end of input: it has our reply to its request
            channel.sendall(REPLY)
            channel.send_exit_status(0)
            channel.close()

        threading.Thread(target=answer).start()
        return True


@contextmanager
def _ssh_server() -> Iterator[int]:
    """An SSH server on loopback that answers any command with REPLY; yields its port."""
    key = paramiko.RSAKey.generate(2048)
    transports: list[paramiko.Transport] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            transport = paramiko.Transport(connection)
            transport.add_server_key(key)
            transport.start_server(server=_Server())
            transports.append(transport)

    with socket.create_server((ADDRESS, 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        for transport in transports:
            transport.close()
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)


@pytest.fixture
def counts() -> Iterator[Counts]:
    actual: Counts = {}
    restore = install(actual)
    yield actual
    restore()


def _kernel(connection: socket.socket) -> tuple[int, int]:
    """tcpi_bytes_acked and tcpi_bytes_received of struct tcp_info (linux/tcp.h)."""
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    acked, received = struct.unpack_from("QQ", info, 120)
    return acked, received


def test_commands_and_bytes_of_real_sessions(counts: Counts) -> None:
    """The server end runs in this process too; its peer, 127.0.0.1, is counted apart."""
    with _ssh_server() as port, socket.create_connection((ADDRESS, port)) as connection:
        client = paramiko.SSHClient()
        client.set_missing_host_key_policy(paramiko.AutoAddPolicy())  # noqa: S507 - a test's own
        client.connect(ADDRESS, port, "root", "-", sock=connection, look_for_keys=False)
        for _ in range(3):
            _, output, _ = client.exec_command("anything")
            output.channel.shutdown_write()
            assert output.read() == REPLY
        own = counts[ADDRESS]
        assert (own.logins, own.commands, own.subsystems) == (1, 3, 0), counts
        assert own.received > 3 * len(REPLY), counts
        kernel = _kernel(connection)
        # Acknowledgements may be on their way still, and a SYN counts as one byte of its own.
        assert own.sent - 200 <= kernel[0] <= own.sent + 1, (kernel, counts)
        assert 0 <= kernel[1] - own.received <= 200, (kernel, counts)
        client.close()


def test_a_counted_socket_agrees_with_the_kernel() -> None:
    traffic = Traffic()
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as own,
    ):
        foreign, _ = listener.accept()
        counted = CountedSocket(own, traffic)
        for size in (1, 5000, 70_000):
            left = size
            while left:
                left -= counted.send(b"a" * left)
            while left < size:
                left += len(foreign.recv(65536))
        foreign.sendall(b"b" * 30_000)
        while traffic.received < 30_000:
            counted.recv(4096)
        foreign.close()
        assert counted.fileno() == own.fileno()
        assert (traffic.sent, traffic.received) == (75_001, 30_000)
        kernel = _kernel(own)
    # The connection's own SYN counts as one byte acknowledged, its FIN as one received.
    assert kernel[0] - traffic.sent in (0, 1), (kernel, traffic)
    assert kernel[1] - traffic.received in (0, 1), (kernel, traffic)


def test_paramiko_is_put_back() -> None:
    before = (paramiko.Transport.__init__, paramiko.Channel.exec_command)
    restore = install({})
    assert paramiko.Channel.exec_command is not before[1]
    restore()
    assert (paramiko.Transport.__init__, paramiko.Channel.exec_command) == before
