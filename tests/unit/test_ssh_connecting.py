"""How often a host is dialled, and by what limits: with pyinfra's own connector."""

from __future__ import annotations

import contextlib
import errno
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import paramiko
import pytest
from paramiko.common import AUTH_SUCCESSFUL, OPEN_FAILED_CONNECT_FAILED, OPEN_SUCCEEDED
from paramiko.ssh_exception import NoValidConnectionsError, SSHException
from pyinfra.api.exceptions import ConnectError
from pyinfra.connectors.ssh import SSHConnector

from operations import ssh_connecting
from phoenix.declaration.inventory import CONNECTING
from phoenix.net.ssh_faults import cause_of

ROOT = Path(__file__).parents[2]
NO_ROUTE = NoValidConnectionsError({("10.0.0.9", 22): OSError(errno.EHOSTUNREACH, "No route")})
REFUSED = NoValidConnectionsError({("10.0.0.9", 22): OSError(errno.ECONNREFUSED, "refused")})


class Dialled:
    """A connector whose host fails so each time, after `seconds` on the clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: Exception, seconds: float) -> None:
        self.tries, now = 0, [0.0]

        def once(_: SSHConnector) -> None:
            self.tries += 1
            now.append(now.pop() + seconds)
            raise error

        monkeypatch.setattr(ssh_connecting, "_once", once)
        monkeypatch.setattr(ssh_connecting, "time", SimpleNamespace(monotonic=lambda: now[0]))
        monkeypatch.setattr(SSHConnector, "_connect", ssh_connecting._connect)
        monkeypatch.setattr("pyinfra.connectors.ssh.sleep", lambda _: None)
        host: Any = SimpleNamespace(name="proxy")
        connector = SSHConnector.__new__(SSHConnector)
        connector.host = host
        connector.data = {**CONNECTING}  # type: ignore[typeddict-item]
        with pytest.raises(ConnectError) as raised:
            connector.connect()
        self.error = raised.value


@pytest.mark.parametrize("error", [TimeoutError("timed out"), NO_ROUTE])
def test_a_silent_host_is_dialled_once(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    dialled = Dialled(monkeypatch, error, 3)
    assert dialled.tries == 1
    assert dialled.error.__context__ is error  # what the cause is told by


@pytest.mark.parametrize("error", [REFUSED, EOFError(), SSHException("banner"), OSError("reset")])
def test_one_that_hangs_up_is_dialled_twice(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    assert Dialled(monkeypatch, error, 0.1).tries == 2


@pytest.mark.parametrize(
    "seconds", [ssh_connecting.DIAL_SECONDS, ssh_connecting.KEY_EXCHANGE_SECONDS]
)
def test_one_that_hangs_is_dialled_once(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    error = SSHException("Error reading SSH protocol banner")
    assert Dialled(monkeypatch, error, seconds).tries == 1


@pytest.mark.parametrize(
    ("says", "waited_for"),
    [(b"", "protocol banner"), (b"SSH-2.0-OpenSSH_9.2p1\r\n", "No existing session")],
)
def test_a_server_that_says_nothing_is_waited_for_as_one_that_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, says: bytes, waited_for: str
) -> None:
    """One that has said who it is has time for its keys; paramiko's own limit would end it."""
    monkeypatch.setattr(ssh_connecting, "DIAL_SECONDS", 0.1)
    monkeypatch.setattr(ssh_connecting, "KEY_EXCHANGE_SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as listener, paramiko.SSHClient() as client:
        open_ones: list[socket.socket] = []

        def answer() -> None:
            open_ones.append(listener.accept()[0])
            open_ones[0].sendall(says)

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(SSHException, match=waited_for) as caught:
            client.connect(
                "127.0.0.1",
                listener.getsockname()[1],
                timeout=5.0,
                transport_factory=ssh_connecting.SlowKexTransport,
            )
    assert cause_of(caught.value) == "hangs"


def test_no_limit_of_paramiko_ends_a_key_exchange_before_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(paramiko.Transport, "start_client", lambda *_: None)
    session = ssh_connecting.SlowKexTransport.__new__(ssh_connecting.SlowKexTransport)
    session.start_client(timeout=ssh_connecting.DIAL_SECONDS)
    assert session.banner_timeout == ssh_connecting.DIAL_SECONDS
    assert session.handshake_timeout > ssh_connecting.KEY_EXCHANGE_SECONDS


def test_a_key_exchange_may_take_longer_than_the_dialling(monkeypatch: pytest.MonkeyPatch) -> None:
    timeouts: list[float | None] = []
    monkeypatch.setattr(
        paramiko.Transport, "start_client", lambda _self, _event, timeout: timeouts.append(timeout)
    )
    session = ssh_connecting.SlowKexTransport.__new__(ssh_connecting.SlowKexTransport)
    session.start_client(timeout=ssh_connecting.DIAL_SECONDS)
    assert timeouts == [ssh_connecting.KEY_EXCHANGE_SECONDS]
    assert ssh_connecting.KEY_EXCHANGE_SECONDS > ssh_connecting.DIAL_SECONDS


def test_each_message_is_sent_at_once() -> None:
    """Else each small one waits 40 ms for the answer to the one before."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        with contextlib.closing(ssh_connecting.SlowKexTransport(client)):
            assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_connection_that_is_no_tcp_is_taken_as_it_is() -> None:
    """As the channel through a jump host."""
    near, _far = socket.socketpair()
    ssh_connecting.SlowKexTransport(near).close()


class FewSessions(paramiko.ServerInterface):
    """An SSH server with MaxSessions 1."""

    def __init__(self) -> None:
        self.open: list[int] = []

    def check_auth_none(self, username: str) -> int:
        return AUTH_SUCCESSFUL

    def check_channel_request(self, kind: str, chanid: int) -> int:
        if self.open:
            return OPEN_FAILED_CONNECT_FAILED
        self.open.append(chanid)
        return OPEN_SUCCEEDED


@pytest.fixture
def few_sessions() -> Iterator[tuple[ssh_connecting.SlowKexTransport, FewSessions]]:
    near, far = socket.socketpair()
    served = paramiko.Transport(far)
    served.add_server_key(paramiko.ECDSAKey.generate())
    server = FewSessions()
    served.start_server(event=threading.Event(), server=server)
    client = ssh_connecting.SlowKexTransport(near)
    client.start_client(timeout=10)
    client.auth_none("root")
    yield client, server
    client.close()
    served.close()


def test_a_session_waits_for_another_to_end_where_the_server_allows_no_more(
    few_sessions: tuple[ssh_connecting.SlowKexTransport, FewSessions],
) -> None:
    client, server = few_sessions
    client.open_session()
    threading.Timer(0.5, server.open.clear).start()
    assert client.open_session().active
    assert len(server.open) == 1


def test_a_server_that_refuses_sessions_for_good_is_told(
    few_sessions: tuple[ssh_connecting.SlowKexTransport, FewSessions],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client, _ = few_sessions
    monkeypatch.setattr(ssh_connecting, "SESSION_SECONDS", 0.2)
    client.open_session()
    with pytest.raises(paramiko.ChannelException):
        client.open_session()


def test_every_run_dials_so() -> None:
    """pyinfra reads config.py before it connects to the first host."""
    program = """
import runpy
from types import SimpleNamespace
from pyinfra_cli.main import main
from pyinfra.api import Config
from pyinfra.connectors.ssh import SSHConnector
from pyinfra.context import ctx_config
with ctx_config.use(Config()):
    runpy.run_path("config.py")
connector = SSHConnector.__new__(SSHConnector)
connector.host = SimpleNamespace(name="proxy")
connector.state = SimpleNamespace(config=Config())
connector.data = dict.fromkeys(SSHConnector.data_cls.__annotations__)
given = connector.make_paramiko_kwargs()
print(given["timeout"], given["transport_factory"].__name__, connector._connect.__module__)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["8.0", "SlowKexTransport", "operations.ssh_connecting"], (
        done.stderr
    )
