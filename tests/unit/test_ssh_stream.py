"""A stream between two SSH servers (paramiko's own, on loopback) that run real commands."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import paramiko
import pytest
from paramiko import common
from pyinfra.api.exceptions import OperationError
from pyinfra.api.host import Host

from operations import connection
from operations.ssh_stream import ask, ask_each, stream


class Server(paramiko.ServerInterface):
    """Runs what it is asked to run; `processes` are all of them."""

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []

    def check_auth_none(self, username: str) -> int:
        return common.AUTH_SUCCESSFUL

    def get_allowed_auths(self, username: str) -> str:
        return "none"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return common.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        # paramiko answers the request when this returns; sshd does before the command can end.
        process = subprocess.Popen(
            ["sh", "-c", f"sleep 0.1; {command.decode()}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.processes.append(process)
        for work in (self._input, self._output):
            threading.Thread(target=work, args=(channel, process), daemon=True).start()
        return True

    def _input(self, channel: paramiko.Channel, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin
        try:
            while data := channel.recv(65536):
                process.stdin.write(data)
            process.stdin.close()
        except (OSError, EOFError):
            return

    def _output(self, channel: paramiko.Channel, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout
        assert process.stderr
        errors = threading.Thread(target=lambda: self._errors(channel, process.stderr), daemon=True)
        errors.start()
        try:
            while data := os.read(process.stdout.fileno(), 65536):
                channel.sendall(data)
            errors.join()
            channel.send_exit_status(max(process.wait(), 0))
            channel.close()
        except (OSError, EOFError):
            process.kill()

    @staticmethod
    def _errors(channel: paramiko.Channel, stream_: Any) -> None:
        try:
            while data := os.read(stream_.fileno(), 65536):
                channel.sendall_stderr(data)
        except (OSError, EOFError):
            return


@dataclass(eq=False)
class Machine:
    """As much of pyinfra's host as a stream needs."""

    name: str
    connected: bool = True
    connector: Any = None
    server: Server = field(default_factory=Server)
    far: paramiko.Transport = field(init=False)

    def __post_init__(self) -> None:
        near, far = socket.socketpair()
        self.far = paramiko.Transport(far)
        self.far.add_server_key(paramiko.RSAKey.generate(2048))
        self.far.start_server(event=threading.Event(), server=self.server)
        client = paramiko.Transport(near)
        client.start_client(timeout=10)
        client.auth_none("test")
        self.connector = SimpleNamespace(
            client=SimpleNamespace(get_transport=lambda: client), disconnect=client.close
        )

    @property
    def host(self) -> Host:
        return cast(Host, self)

    def connect(self, **_: object) -> None:
        raise AssertionError("it is connected")


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Machine, Machine]]:
    monkeypatch.setattr(connection, "watch", lambda _: None)
    old, new = Machine("old"), Machine("new")
    yield old, new
    for machine in (old, new):
        machine.far.close()
        machine.connector.client.get_transport().close()
        for process in machine.server.processes:
            process.kill()
            process.wait()


def test_every_byte_arrives_and_progress_is_told(
    ends: tuple[Machine, Machine], tmp_path: Path
) -> None:
    old, new = ends
    content = os.urandom(3_000_000)
    (tmp_path / "from").write_bytes(content)
    counts: list[int] = []
    source = (old.host, f"cat {tmp_path}/from")
    count = stream(source, (new.host, f"cat >{tmp_path}/to"), counts.append)
    assert (tmp_path / "to").read_bytes() == content
    assert count == counts[-1] == len(content)
    assert counts == sorted(counts)


def test_what_gives_and_fails_is_an_error_in_its_own_words(
    ends: tuple[Machine, Machine], tmp_path: Path
) -> None:
    old, new = ends
    source = (old.host, "head -c 100000 /dev/zero; echo file changed >&2; exit 1")
    with pytest.raises(OperationError, match="old: file changed"):
        stream(source, (new.host, f"cat >{tmp_path}/to"), lambda _: None)


def test_what_takes_and_fails_early_is_an_error_in_its_own_words(
    ends: tuple[Machine, Machine],
) -> None:
    old, new = ends
    target = (new.host, "head -c 10 >/dev/null; echo no space left >&2; exit 2")
    with pytest.raises(OperationError, match="new: no space left"):
        stream((old.host, "cat /dev/zero"), target, lambda _: None)


def test_many_words_on_standard_error_stop_nothing(
    ends: tuple[Machine, Machine], tmp_path: Path
) -> None:
    old, new = ends
    noisy = "yes socket ignored | head -c 9000000 >&2; echo done"
    assert stream((old.host, noisy), (new.host, f"cat >{tmp_path}/to"), lambda _: None) == 5
    assert (tmp_path / "to").read_text() == "done\n"


@pytest.mark.parametrize("gone", [0, 1])
def test_a_connection_that_breaks_is_an_error_and_ends_the_other_side(
    ends: tuple[Machine, Machine], gone: int
) -> None:
    old, new = ends

    def cut(count: int) -> None:
        if count > 1_000_000:
            ends[gone].far.close()

    with pytest.raises(OperationError, match=r"broke|took no more"):
        stream((old.host, "cat /dev/zero"), (new.host, "cat >/dev/null"), cut)


def test_answers_of_two_hosts_at_once(ends: tuple[Machine, Machine], tmp_path: Path) -> None:
    old, new = ends
    os.mkfifo(tmp_path / "fifo")  # each waits for the other: one after the other would not end
    outputs = ask_each(
        [(old.host, f"echo hello >{tmp_path}/fifo; echo a"), (new.host, f"cat {tmp_path}/fifo")]
    )
    assert outputs == ["a\n", "hello\n"]


def test_a_question_that_fails(ends: tuple[Machine, Machine]) -> None:
    old, _ = ends
    assert ask(old.host, "printf '%s' one") == "one"
    with pytest.raises(OperationError, match="old: phoenix: no"):
        ask(old.host, "echo 'phoenix: no' >&2; exit 3")
    with pytest.raises(OperationError, match="old: status 3"):
        ask(old.host, "exit 3")


def test_nothing_of_a_stream_is_kept_here(
    ends: tuple[Machine, Machine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond what the target writes, no file of this process grows."""
    old, new = ends
    opened: list[str] = []
    monkeypatch.setattr("builtins.open", lambda *words, **_: opened.append(str(words)))
    digest = f"sha256sum >{tmp_path}/sum"
    stream((old.host, "head -c 2000000 /dev/zero"), (new.host, digest), lambda _: None)
    monkeypatch.undo()
    assert opened == []
    assert (tmp_path / "sum").read_text().split()[0] == hashlib.sha256(bytes(2_000_000)).hexdigest()


def test_sending_ends_where_the_channel_takes_nothing_more(ends: tuple[Machine, Machine]) -> None:
    """paramiko's own `sendall` goes on for ever then, and so did a run as it left its hosts."""
    client = ends[0].connector.client.get_transport()
    channel = client.open_session(timeout=10)
    channel.exec_command("cat")
    connection.send_all(channel, b"whole")
    channel.shutdown_write()
    with pytest.raises(OSError, match="closed"):
        connection.send_all(channel, b"too late")
    assert channel.recv(100) == b"whole"


def test_nobody_uses_paramiko_s_own() -> None:
    root = Path(__file__).parents[2]
    for folder in ("operations", "facts", "deploys", "phoenix"):
        for file in (root / folder).rglob("*.py"):
            assert "channel.sendall" not in file.read_text(), file
