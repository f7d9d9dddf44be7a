"""The WebSocket console: an exec session of Docker's behind RFC 6455 frames."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import socket
import struct

from .http import HttpError, Request
from .relay import buffered, connect_unix, duplex

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
_TEXT, _BINARY, _CLOSE, _PING, _PONG = 1, 2, 8, 9, 10


def accept_key(key: str) -> str:
    """The handshake's answer (RFC 6455, 4.2.2)."""
    return base64.b64encode(hashlib.sha1((key + _GUID).encode()).digest()).decode()  # noqa: S324


def encode_frame(data: bytes, opcode: int = _BINARY) -> bytes:
    """One unmasked, final frame: servers don't mask (RFC 6455, 5.1)."""
    size = len(data)
    if size < 126:
        head = struct.pack("!BB", 0x80 | opcode, size)
    elif size < 65536:
        head = struct.pack("!BBH", 0x80 | opcode, 126, size)
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, 127, size)
    return head + data


def serve_exec(request: Request, docker_socket: str) -> None:
    """Bridges the client's WebSocket and ``POST /exec/{id}/start``.

    Raises:
        HttpError: 400 no WebSocket or no exec id; 500 Docker refuses.
    """
    key = request.headers.get("Sec-WebSocket-Key")
    exec_id = request.query.get("id", "")
    if not key or "websocket" not in request.headers.get("Upgrade", "").lower():
        raise HttpError(400, "the client is not using the websocket protocol")
    if not exec_id.isalnum():
        raise HttpError(400, "Invalid query parameter: id", "Missing query parameter")
    docker = _start_exec(docker_socket, exec_id)
    handler = request.handler
    handler.close_connection = True
    handler.wfile.write(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept_key(key).encode() + b"\r\n\r\n"
    )

    frames = _Frames(handler.connection)
    with docker:
        duplex(
            handler.connection,
            docker,
            buffered(handler),
            frames.feed,
            encode_frame,
        )
    with contextlib.suppress(OSError):
        handler.connection.settimeout(5)
        handler.connection.sendall(encode_frame(b"\x03\xe8", _CLOSE))  # 1000: normal closure
        handler.connection.shutdown(socket.SHUT_RDWR)


def _start_exec(docker_socket: str, exec_id: str) -> socket.socket:
    try:
        docker = connect_unix(docker_socket)
    except OSError as error:
        raise HttpError(500, "Unable to reach Docker", str(error)) from None
    body = json.dumps({"Detach": False, "Tty": True}).encode()
    docker.sendall(
        f"POST /exec/{exec_id}/start HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\n"
        f"Upgrade: tcp\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    head = b""
    while not head.endswith(b"\r\n\r\n"):  # byte by byte: what follows is the session's
        byte = docker.recv(1)
        if not byte:
            break
        head += byte
    status = head.split(b" ", 2)[1:2]
    if status not in ([b"101"], [b"200"]):
        docker.close()
        raise HttpError(500, "Unable to start the exec session", head[:200].decode("latin-1"))
    return docker


class _Frames:
    """The client's frames, unmasked as they come in."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.buffer = b""

    def feed(self, data: bytes) -> bytes | None:
        """The payload of all whole frames; None once the client closes. Answers pings."""
        self.buffer += data
        payload = b""
        while (frame := self._take()) is not None:
            opcode, body = frame
            if opcode == _CLOSE:
                return None
            if opcode == _PING:
                self.connection.settimeout(5)
                self.connection.sendall(encode_frame(body, _PONG))
            elif opcode in (0, _TEXT, _BINARY):
                payload += body
        return payload

    def _take(self) -> tuple[int, bytes] | None:
        buffer = self.buffer
        if len(buffer) < 2:
            return None
        if not buffer[1] & 0x80:  # clients must mask (RFC 6455, 5.1)
            return _CLOSE, b""
        size, at = buffer[1] & 0x7F, 2
        extended = {126: 2, 127: 8}.get(size, 0)
        if extended:
            size = int.from_bytes(buffer[2 : 2 + extended], "big")
            at += extended
        end = at + 4 + size
        if len(buffer) < end:
            return None
        mask = buffer[at : at + 4]
        body = bytes(byte ^ mask[i % 4] for i, byte in enumerate(buffer[at + 4 : end]))
        self.buffer = buffer[end:]
        return buffer[0] & 0x0F, body
