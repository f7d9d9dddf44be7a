"""Run pyinfra in this process and count what really crosses its SSH connections.

    python -m benchmarks.counted_pyinfra COUNTS.json INVENTORY DEPLOY [pyinfra's options]

The counts are taken below pyinfra and below this project's code: exec and subsystem requests at
paramiko's channels, bytes at the sockets that paramiko is given, so neither can leave one out.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass
class Traffic:
    """What went over SSH to one address. Bytes are TCP payload, handshakes included."""

    logins: int = 0
    commands: int = 0
    """`exec` requests (RFC 4254, section 6.5)."""
    subsystems: int = 0
    """`subsystem` requests of the same section: file transfers by SFTP."""
    sent: int = 0
    received: int = 0

    @property
    def bytes(self) -> int:
        """Bytes of both directions."""
        return self.sent + self.received


Counts = dict[str, Traffic]


class CountedSocket:
    """A socket that adds its bytes to a Traffic."""

    def __init__(self, inner: Any, traffic: Traffic) -> None:
        self._inner, self._traffic = inner, traffic

    def send(self, data: bytes) -> int:
        """As socket.send: bytes accepted by the kernel, which may be fewer than given."""
        count: int = self._inner.send(data)
        self._traffic.sent += count
        return count

    def recv(self, size: int) -> bytes:
        """As socket.recv."""
        data: bytes = self._inner.recv(size)
        self._traffic.received += len(data)
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def install(counts: Counts) -> Callable[[], None]:
    """Count every SSH connection that paramiko opens from now on, by address of the peer.

    Returns:
        A function that restores paramiko.
    """
    import paramiko  # only after pyinfra_cli, whose gevent patches must come first

    originals: dict[tuple[Any, str], Any] = {
        (paramiko.Transport, "__init__"): paramiko.Transport.__init__,
        (paramiko.Channel, "exec_command"): paramiko.Channel.exec_command,
        (paramiko.Channel, "invoke_subsystem"): paramiko.Channel.invoke_subsystem,
    }

    def begin(self: Any, sock: Any, *args: Any, **options: Any) -> None:
        traffic = counts.setdefault(sock.getpeername()[0], Traffic())
        traffic.logins += 1
        self.phoenix_traffic = traffic
        originals[paramiko.Transport, "__init__"](
            self, CountedSocket(sock, traffic), *args, **options
        )

    def counted(name: str, counter: str) -> Callable[..., Any]:
        original = originals[paramiko.Channel, name]

        @functools.wraps(original)
        def request(self: Any, *args: Any, **options: Any) -> Any:
            traffic = self.get_transport().phoenix_traffic
            setattr(traffic, counter, getattr(traffic, counter) + 1)
            return original(self, *args, **options)

        return request

    replacements = {
        (paramiko.Transport, "__init__"): begin,
        (paramiko.Channel, "exec_command"): counted("exec_command", "commands"),
        (paramiko.Channel, "invoke_subsystem"): counted("invoke_subsystem", "subsystems"),
    }

    def put(functions: dict[Any, Any]) -> None:
        for (owner, name), function in functions.items():
            setattr(owner, name, function)

    put(replacements)
    return lambda: put(originals)


def read(path: Path) -> Counts:
    """The counts that a run has written, by address."""
    return {address: Traffic(**entry) for address, entry in json.loads(path.read_text()).items()}


def main(arguments: list[str]) -> None:
    """Run pyinfra with all arguments but the first, which names the file for the counts."""
    from pyinfra_cli.main import main as pyinfra

    output = Path(arguments[0])
    sys.argv = ["pyinfra", *arguments[1:]]
    counts: Counts = {}
    install(counts)
    try:
        pyinfra()
    finally:
        totals = {address: asdict(traffic) for address, traffic in counts.items()}
        output.write_text(json.dumps(totals))


if __name__ == "__main__":
    main(sys.argv[1:])
