"""Passes a request on to another socket, byte for byte, streams and upgrades included."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
from collections.abc import Callable
from functools import cache
from urllib.parse import urlsplit

from .http import TLS_IDLE_SECONDS, Handler, body_chunks

DRAIN_SECONDS = 10.0  # for the last output of a session whose client has gone
SEND_SECONDS = 60.0

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
    try:
        wrapped = _unverified().wrap_socket(raw)
    except OSError:
        raw.close()
        raise
    wrapped.settimeout(TLS_IDLE_SECONDS)
    return wrapped


@cache
def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def relay(
    handler: Handler,
    upstream: socket.socket,
    target: str,
    extra: dict[str, str],
    answer_headers: dict[str, str] | None = None,
) -> None:
    """Sends the handler's request to `upstream` as `target` and everything back.

    One upstream connection carries one request ("Connection: close" marks its end). The client's
    carries the next one where the answer says how long it is. An upgraded connection becomes a
    two-way pipe.
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
    closes, handler.close_connection, is_sent = handler.close_connection, True, False
    with upstream:
        upstream.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        if upgrade:
            _send_head(upstream, handler, answer_headers or {})
            duplex(handler.connection, upstream, buffered(handler))
        else:
            # First all of the body, then the answer: a TLS object bears one thread at a time.
            with contextlib.suppress(OSError, ValueError):
                for chunk in body_chunks(handler, framed=True):
                    upstream.sendall(chunk)
                is_sent = True
            with contextlib.suppress(OSError, ValueError):
                has_end = _send_answer(upstream, handler, answer_headers or {})
                handler.close_connection = closes or not (is_sent and has_end)
        if handler.close_connection:
            with contextlib.suppress(OSError):
                handler.connection.shutdown(socket.SHUT_RDWR)


def _send_head(upstream: socket.socket, handler: Handler, extra: dict[str, str]) -> None:
    """Passes the status line on, with headers of our own right behind it."""
    if not extra:
        return
    with contextlib.suppress(OSError):
        head = b""
        while b"\r\n" not in head and (data := upstream.recv(65536)):
            head += data
        if head:
            status, _, headers = head.partition(b"\r\n")
            handler.wfile.write(b"\r\n".join([status, *_lines(extra), headers]))


def _lines(headers: dict[str, str]) -> list[bytes]:
    return [f"{name}: {value}".encode() for name, value in headers.items()]


def _send_answer(upstream: socket.socket, handler: Handler, extra: dict[str, str]) -> bool:
    """Passes an answer on, with headers of our own right behind its status line.

    Returns:
        Whether the client knows where it ends: by its length, its last chunk, or since it has no
        body at all (RFC 9112, section 6.3).
    """
    head = b""
    while b"\r\n\r\n" not in head:
        data = upstream.recv(65536)
        if not data:  # as Go's httputil.ReverseProxy answers
            handler.wfile.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            return False
        head += data
    head, _, body = head.partition(b"\r\n\r\n")
    status, *fields = head.split(b"\r\n")
    framing: dict[bytes, bytes] = {}
    for line in fields:
        name, _, value = line.partition(b":")
        framing[name.strip().lower()] = value.strip().lower()
    kept = [line for line in fields if not line.lower().startswith(b"connection:")]
    handler.wfile.write(b"\r\n".join([status, *_lines(extra), *kept, b"", body]))
    if handler.command == "HEAD" or status.split()[1] in (b"204", b"304"):
        return True
    length, is_chunked = framing.get(b"content-length"), framing.get(b"transfer-encoding")
    left = int(length) - len(body) if length is not None else None
    end = body[-5:]
    while left != 0 and (data := upstream.recv(65536)):
        handler.wfile.write(data)
        end = (end + data)[-5:]
        left = None if left is None else left - len(data)
    return left == 0 or (is_chunked == b"chunked" and end == b"0\r\n\r\n")


def buffered(handler: Handler) -> bytes:
    """What the connection has sent already and Python's reader holds."""
    handler.connection.setblocking(False)
    try:
        # peek is the buffered reader's; typeshed declares only the base class
        return handler.rfile.read1(len(handler.rfile.peek()))  # type: ignore[attr-defined]
    except OSError:  # nothing there: TLS says so by an exception
        return b""


def duplex(
    client: socket.socket,
    server: socket.socket,
    first: bytes = b"",
    to_server: Callable[[bytes], bytes | None] = lambda data: data,
    to_client: Callable[[bytes], bytes | None] = lambda data: data,
) -> None:
    """Copies both ways, in one thread, until `server` ends.

    Args:
        first: bytes of `client` that were read before.
        to_server, to_client: rewrite a piece; None ends the copy.

    An end of `client` is passed on where `server` can be half-closed; TLS can't in Python.
    """
    reading = [client, server]
    waiting: float | None = None
    with contextlib.suppress(OSError):
        if first and (changed := to_server(first)):
            _send(server, changed)
        while True:
            readable = _readable(reading, waiting)
            if not readable:
                return
            for sock in readable:
                data = _receive(sock)
                if data is None:
                    continue
                if not data:
                    if sock is server:
                        return
                    reading, waiting = [server], _pass_end_on(server)
                    break
                changed = (to_server if sock is client else to_client)(data)
                if changed is None:
                    return
                _send(server if sock is client else client, changed)


def _readable(reading: list[socket.socket], seconds: float | None) -> list[socket.socket]:
    """The sockets with something to read; those with bytes that TLS has decrypted come first."""
    buffered = [sock for sock in reading if isinstance(sock, ssl.SSLSocket) and sock.pending()]
    return list(buffered) or select.select(reading, [], [], seconds)[0]


def _pass_end_on(sock: socket.socket) -> float | None:
    """Half-closes where that's possible; returns how long to wait for the rest."""
    if isinstance(sock, ssl.SSLSocket):
        return DRAIN_SECONDS
    sock.shutdown(socket.SHUT_WR)
    return None


def _receive(sock: socket.socket) -> bytes | None:
    """What is there; None when it was only TLS's own traffic, b"" at the end."""
    sock.setblocking(False)
    try:
        return sock.recv(65536)
    except (ssl.SSLWantReadError, BlockingIOError):
        return None


def _send(sock: socket.socket, data: bytes) -> None:
    sock.settimeout(SEND_SECONDS)
    sock.sendall(data)
