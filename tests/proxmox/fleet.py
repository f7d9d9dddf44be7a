"""SSH servers that stand for the hypervisor and its guests, each up while the double says it runs.

They carry forwards to the double's API, and answer commands as fresh machines that remember
nothing: each command succeeds, facts are empty but for those that are needed to go on.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import paramiko
from paramiko.common import AUTH_SUCCESSFUL, OPEN_FAILED_CONNECT_FAILED, OPEN_SUCCEEDED

from tests.questions import printed

LOCK = "phoenix-site.lock"
SEES = {
    "root-shell": "yes",
    " existing-services ": "",  # nobody stands in Phoenix's places
    "ss -Hltnup": "node .\ntcp LISTEN 0 128 0.0.0.0:22 0.0.0.0:*\ntcp LISTEN 0 128 *:8006 *:*",
    "uname -m": "x86_64\nID=debian\nVERSION_ID=13",
    "dpkg-query": "installed dpkg",
}


@dataclass
class Machine:
    """One of them. `runs` tells whether it is up; `keys` what the hypervisor sees in its guests."""

    name: str
    address: str
    runs: Callable[[], bool]
    api: tuple[str, int] | None = None
    keys: Callable[[], str] = lambda: ""
    key: paramiko.PKey = field(default_factory=paramiko.ECDSAKey.generate)
    commands: list[str] = field(default_factory=list)
    _listener: socket.socket | None = None

    @property
    def public(self) -> str:
        return f"{self.key.get_name()} {self.key.get_base64()}"

    def start(self) -> None:
        """Listen on port 22 of its address.

        Raises:
            OSError: that port can't be had here.
        """
        self._listener = socket.create_server((self.address, 22))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def stop(self) -> None:
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                if not self.runs():
                    connection.close()
                    continue
                transport, server = paramiko.Transport(connection), _Server(self)
                transport.add_server_key(self.key)
                with contextlib.suppress(paramiko.SSHException, OSError, EOFError):
                    transport.start_server(event=threading.Event(), server=server)
                threading.Thread(target=server.carry, args=(transport,), daemon=True).start()

    def answer(self, command: str) -> str:
        """What it prints."""
        lines = printed(command, lambda question: self._output_of(question).splitlines())
        if lines is None:
            return self._output_of(command)
        return "".join(f"{line}\n" for line in lines)

    def _output_of(self, command: str) -> str:
        if "ssh_host_" in command and "== $1" in command:
            return self.keys()
        return next((text for mark, text in SEES.items() if mark in command), "")


class _Server(paramiko.ServerInterface):
    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.forwards: set[int] = set()

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return AUTH_SUCCESSFUL

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return OPEN_SUCCEEDED

    def check_channel_direct_tcpip_request(
        self, chanid: int, origin: tuple[str, int], destination: tuple[str, int]
    ) -> int:
        self.forwards.add(chanid)
        return OPEN_SUCCEEDED if self.machine.api else OPEN_FAILED_CONNECT_FAILED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        run = threading.Thread(target=self._run, args=(channel, command.decode()), daemon=True)
        run.start()
        return True

    def _run(self, channel: paramiko.Channel, command: str) -> None:
        with contextlib.suppress(OSError, EOFError):
            if LOCK in command and "flock 8" in command:
                channel.sendall(b"mine\n\n.\n")  # nothing was deployed, the register is empty
                while channel.recv(4096):
                    pass
            else:
                channel.settimeout(None if command.rstrip("'").endswith("sh") else 0.3)
                text = command + self._input(channel)
                self.machine.commands.append(text)
                channel.sendall(self.machine.answer(text).encode())
            channel.send_exit_status(0)
            channel.close()

    def _input(self, channel: paramiko.Channel) -> str:
        pieces = []
        with contextlib.suppress(TimeoutError):
            while piece := channel.recv(65536):
                pieces.append(piece)
        return b"".join(pieces).decode(errors="replace")

    def carry(self, transport: paramiko.Transport) -> None:
        """Forwards: the hypervisor alone has any, and to the API alone."""
        channels = []  # one that nobody holds is closed
        while transport.is_active():
            channel = transport.accept(1)
            channels.append(channel)
            if channel is not None and channel.get_id() in self.forwards:
                assert self.machine.api
                api = socket.create_connection(self.machine.api)
                for read, write in ((channel.recv, api.sendall), (api.recv, channel.sendall)):
                    threading.Thread(target=_pump, args=(read, write), daemon=True).start()


def _pump(read: Callable[[int], bytes], write: Callable[[bytes], object]) -> None:
    with contextlib.suppress(OSError, EOFError):
        while piece := read(32768):
            write(piece)
