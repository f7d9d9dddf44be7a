"""Passes a request on to another socket, byte for byte, streams and upgrades included."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from urllib.parse import urlsplit

from .http import TLS_IDLE_SECONDS, Handler, body_chunks

_HOP = {"connection", "keep-alive", "proxy-connection", "expect", "host"}
_CREDENTIALS = {"x-api-key", "authorization", "cookie"}


def connect_unix(path: str, timeout: float = 10) -> socket.socket:
    """Connects to a Docker socket.

    Raises:
        OSError: nobody listens.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(timeout)
    try:
        sock.connect(path)
    except OSError:
        sock.close()
        raise
    sock.settimeout(None)
    return sock


def connect_agent(url: str, timeout: float = 10) -> ssl.SSLSocket:
    """TLS to an agent, unverified: its certificate is self-signed and new at each start.

    Raises:
        OSError: nobody listens, or it speaks no TLS.
    """
    parts = urlsplit(url if "//" in url else f"//{url}")
    raw = socket.create_connection((parts.hostname or "", parts.port or 9001), timeout=timeout)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        wrapped = context.wrap_socket(raw)
    except OSError:
        raw.close()
        raise
    wrapped.settimeout(TLS_IDLE_SECONDS)
    return wrapped


def relay(
    handler: Handler,
    upstream: socket.socket,
    target: str,
    extra: dict[str, str],
    answer_headers: dict[str, str] | None = None,
) -> None:
    """Sends the handler's request to `upstream` as `target` and everything back.

    One upstream connection carries one request ("Connection: close" marks its end), so neither
    side's framing has to be understood. An upgraded connection becomes a two-way pipe.
    """
    connection = handler.headers.get("Connection", "").lower()
    upgrade = "upgrade" in connection
    lines = [f"{handler.command} {target} HTTP/1.1", "Host: docker"]
    lines += [
        f"{name}: {value}"
        for name, value in handler.headers.items()
        if name.lower() not in _HOP | _CREDENTIALS and not name.lower().startswith("x-portainer")
    ]
    lines += [f"{name}: {value}" for name, value in extra.items()]
    lines.append("Connection: Upgrade" if upgrade else "Connection: close")
    handler.close_connection = True
    with upstream:
        upstream.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        up = threading.Thread(target=_pump_up, args=(handler, upstream, upgrade), daemon=True)
        up.start()
        _pump_down(upstream, handler, answer_headers or {})
        with contextlib.suppress(OSError):
            handler.connection.shutdown(socket.SHUT_RDWR)


def _pump_up(handler: Handler, upstream: socket.socket, upgrade: bool) -> None:
    with contextlib.suppress(OSError, ValueError):
        for chunk in body_chunks(handler, framed=True):
            upstream.sendall(chunk)
        while upgrade:
            data = handler.rfile.read1(65536)
            if not data:
                break
            upstream.sendall(data)
        if upgrade and not isinstance(upstream, ssl.SSLSocket):
            upstream.shutdown(socket.SHUT_WR)  # TLS has no half-close in Python


def _pump_down(upstream: socket.socket, handler: Handler, extra: dict[str, str]) -> None:
    head = b""
    with contextlib.suppress(OSError):
        while extra and b"\r\n" not in head:  # headers of our own go right behind the status line
            data = upstream.recv(65536)
            if not data:
                break
            head += data
        if extra and head:
            status, _, rest = head.partition(b"\r\n")
            added = "".join(f"{name}: {value}\r\n" for name, value in extra.items()).encode()
            head = status + b"\r\n" + added + rest
        if head:
            handler.wfile.write(head)
        while data := upstream.recv(65536):
            handler.wfile.write(data)


def two_way(
    read_a: Callable[[], bytes],
    write_a: Callable[[bytes], object],
    read_b: Callable[[], bytes],
    write_b: Callable[[bytes], object],
    end: Callable[[], object],
) -> None:
    """Pumps a to b and b to a until either side ends; `end` must make both reads return."""

    def pump(read: Callable[[], bytes], write: Callable[[bytes], object]) -> None:
        with contextlib.suppress(OSError, ValueError):
            while data := read():
                write(data)
        with contextlib.suppress(OSError):
            end()

    other = threading.Thread(target=pump, args=(read_a, write_b), daemon=True)
    other.start()
    pump(read_b, write_a)
    other.join(timeout=5)
