"""Whether an SSH server answers at an address, without logging in."""

from __future__ import annotations

import socket


def answers(address: str, port: int = 22, seconds: float = 3.0) -> bool:
    """Whether an SSH server greets there (RFC 4253, section 4.2)."""
    try:
        with socket.create_connection((address, port), timeout=seconds) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False
