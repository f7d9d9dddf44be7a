"""Whether an SSH server answers at an address, without logging in."""

from __future__ import annotations

import socket
from typing import Protocol


class Stream(Protocol):
    """What a greeting is read from: a socket, or a channel through another SSH server."""

    def recv(self, size: int, /) -> bytes:
        """Read at most `size` bytes; empty at the end."""


def answers(address: str, port: int, seconds: float = 3.0) -> bool:
    """Whether an SSH server greets there."""
    try:
        with socket.create_connection((address, port), timeout=seconds) as connection:
            return greets(connection)
    except OSError:
        return False


def greets(stream: Stream) -> bool:
    """Whether what comes first is an SSH server's greeting (RFC 4253, section 4.2).

    Raises:
        OSError: nothing comes in time.
    """
    return stream.recv(4) == b"SSH-"
