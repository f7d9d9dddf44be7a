"""A stand-in for a TLS backend of the lab: HTTP/1.1 with keep-alive, WebSocket echo, uploads.

Runs inside a guest with nothing but its python3:  standin.py NAME=PORT [NAME=PORT ...]

It waits for the certificate that a deploy brings, and serves a renewed one to new connections
without a restart. Any path answers 200 with what the server saw of the request, as JSON;
`/status/CODE` answers that status, `/slow?ms=N` waits N milliseconds. `/stream?key=KEY&type=TYPE`
sends one event, then the last one when somebody asks for `/stream/continue?key=KEY`.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import http
import json
import os
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from weakref import WeakKeyDictionary

CHAIN = Path(os.environ.get("TLS_CERT_FILE", "/tls/fullchain.pem"))
KEY = Path(os.environ.get("TLS_KEY_FILE", "/tls/privkey.pem"))
POLL_SECONDS = 0.5
WEBSOCKET_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
MAX_FRAME = 16 * 1024 * 1024
MAX_HEAD = 64 * 1024
MAX_SLEEP_MS = 60_000
TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA  # RFC 6455, section 5.2


class Certificate:
    """A TLS server context whose certificate follows the files."""

    def __init__(self, chain: Path, key: Path) -> None:
        """Follow `chain` (leaf first) and its private `key`, both PEM."""
        self.chain, self.key = chain, key
        self.server_names: WeakKeyDictionary[object, str | None] = WeakKeyDictionary()
        self._stamp: tuple[int, ...] = ()
        self._current: ssl.SSLContext | None = None
        self.context = _tls_context()
        self.context.sni_callback = self._choose

    def refresh(self) -> bool:
        """Load the files if they changed; return whether a certificate is there to serve.

        A pair that does not fit (a renewal between its two renames) leaves the old one serving.
        """
        with suppress(OSError):
            stamp = tuple(
                number
                for path in (self.chain, self.key)
                for number in (path.stat().st_mtime_ns, path.stat().st_ino, path.stat().st_size)
            )
            if stamp != self._stamp:
                fresh = _tls_context()
                # ssl.SSLError is an OSError too, so a half-written pair is tried again later.
                fresh.load_cert_chain(self.chain, self.key)
                self._current, self._stamp = fresh, stamp
        return self._current is not None

    def _choose(
        self, connection: ssl.SSLObject, name: str | None, _context: ssl.SSLContext
    ) -> None:
        self.server_names[connection] = name
        if self._current is not None:
            connection.context = self._current


def _tls_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


@dataclass
class Request:
    """One HTTP request; header names are in lower case."""

    method: str
    target: str
    headers: dict[str, str]

    @property
    def path(self) -> str:
        """The path without its query."""
        return urlsplit(self.target).path

    @property
    def keeps_alive(self) -> bool:
        """Whether the client means to send more on this connection."""
        return self.headers.get("connection", "").lower() != "close"


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    """Read a request's head; None where the client is done. ValueError where it is not HTTP."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    lines = head.decode("latin-1").split("\r\n")
    method, target, _version = lines[0].split(" ")
    headers: dict[str, str] = {}
    for line in filter(None, lines[1:]):
        name, _, value = line.partition(":")
        name, value = name.strip().lower(), value.strip()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return Request(method, target, headers)


async def body_chunks(request: Request, reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """The request's body piece by piece, of a known length or chunked (RFC 9112, section 7.1)."""
    if "chunked" in request.headers.get("transfer-encoding", "").lower():
        while size := int((await reader.readline()).split(b";")[0], 16):
            yield await reader.readexactly(size)
            await reader.readline()
        while (await reader.readline()).strip():  # trailers
            pass
        return
    remaining = int(request.headers.get("content-length", "0"))
    while remaining:
        piece = await reader.read(min(remaining, 65536))
        if not piece:
            raise ConnectionError("the client stopped in the middle of its upload")
        remaining -= len(piece)
        yield piece


class Service:
    """One stand-in: a name, answering on a port."""

    def __init__(self, name: str, certificate: Certificate) -> None:
        """Answer as `name`, with the server names that `certificate` has seen."""
        self.name, self.certificate = name, certificate
        self._streams: dict[str, asyncio.Event] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer requests on one connection until one side closes it."""
        with suppress(
            ConnectionError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError
        ):
            while (request := await read_request(reader)) is not None:
                if request.headers.get("upgrade", "").lower() == "websocket":
                    await echo_websocket(request, reader, writer)
                    break
                if request.headers.get("expect", "").lower() == "100-continue":
                    writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                await self._answer(request, reader, writer)
                if not request.keeps_alive:
                    break
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    async def _answer(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        digest, length = hashlib.sha256(), 0
        async for piece in body_chunks(request, reader):
            digest.update(piece)
            length += len(piece)
        status = 200
        query = parse_qs(urlsplit(request.target).query)
        key = query.get("key", [""])[0]
        if request.path == "/stream":
            await self._stream(writer, key, query.get("type", ["text/event-stream"])[0])
            return
        if request.path == "/stream/continue":
            status = 200 if key in self._streams else 404
            if key in self._streams:
                self._streams[key].set()
        elif request.path == "/slow":
            await asyncio.sleep(min(int(query.get("ms", ["0"])[0]), MAX_SLEEP_MS) / 1000)
        elif request.path.startswith("/status/"):
            status = int(request.path.removeprefix("/status/"))
        observed: dict[str, object] = {
            "service": self.name,
            "path": request.target,
            "method": request.method,
            "headers": request.headers,
            "tls_server_name": self.certificate.server_names.get(
                writer.get_extra_info("ssl_object")
            ),
        }
        if length:
            observed["body"] = {"length": length, "sha256": digest.hexdigest()}
        writer.write(response(status, json.dumps(observed).encode(), head=request.method == "HEAD"))
        await writer.drain()

    async def _stream(self, writer: asyncio.StreamWriter, key: str, kind: str) -> None:
        """Two events (WHATWG HTML, section 9.2), the second one when `key` is asked to go on.

        ConnectionError where nobody asks within MAX_SLEEP_MS: the answer then stays unfinished.
        """
        continued = self._streams[key] = asyncio.Event()
        try:
            head = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n"
            writer.write(head.encode() + chunk(b"data: first\n\n"))
            await writer.drain()
            await asyncio.wait_for(continued.wait(), MAX_SLEEP_MS / 1000)
        except TimeoutError:
            raise ConnectionError("nobody asked for the rest of the stream") from None
        finally:
            del self._streams[key]
        writer.write(chunk(b"data: last\n\n") + chunk(b""))
        await writer.drain()


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body; an empty one ends it (RFC 9112, section 7.1)."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def response(status: int, body: bytes, *, head: bool = False) -> bytes:
    """A whole HTTP response with a JSON body; 204 and 304 have none (RFC 9110, section 6.4.1)."""
    reason = http.HTTPStatus(status).phrase
    bodiless = status in (204, 304)
    length = "" if bodiless else f"content-length: {len(body)}\r\n"
    start = f"HTTP/1.1 {status} {reason}\r\ncontent-type: application/json\r\n{length}\r\n"
    return start.encode() + (b"" if head or bodiless else body)


async def echo_websocket(
    request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Upgrade and send every text or binary frame back (RFC 6455)."""
    accept = accept_value(request.headers.get("sec-websocket-key", ""))
    writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
        + f"sec-websocket-accept: {accept}\r\n\r\n".encode()
    )
    while True:
        first, payload = await read_frame(reader)
        kind = first & 0x0F
        if kind == PING:
            writer.write(frame(0x80 | PONG, payload))
        elif kind != PONG:
            writer.write(frame(first, payload))
        await writer.drain()
        if kind == CLOSE:
            return


def accept_value(key: str) -> str:
    """The Sec-WebSocket-Accept of a client's key (RFC 6455, section 4.2.2, step 5.4)."""
    digest = hashlib.sha1(f"{key}{WEBSOCKET_GUID}".encode(), usedforsecurity=False).digest()
    return base64.b64encode(digest).decode()


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """A client's frame: its first byte (FIN and opcode) and the unmasked payload."""
    first, second = await reader.readexactly(2)
    size = second & 0x7F
    if size >= 126:
        size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8), "big")
    if size > MAX_FRAME or not second & 0x80:  # section 5.1: a client must mask
        raise ValueError("a frame that is too long or not masked")
    mask = await reader.readexactly(4)
    payload = await reader.readexactly(size)
    keystream = (mask * (size // 4 + 1))[:size]
    plain = int.from_bytes(payload, "big") ^ int.from_bytes(keystream, "big")
    return first, plain.to_bytes(size, "big")


def frame(first: int, payload: bytes) -> bytes:
    """A server's frame, which is never masked (RFC 6455, section 5.1)."""
    size = len(payload)
    if size < 126:
        length = bytes([size])
    elif size < 65536:
        length = b"\x7e" + size.to_bytes(2, "big")
    else:
        length = b"\x7f" + size.to_bytes(8, "big")
    return bytes([first]) + length + payload


async def run(
    services: dict[str, int],
    certificate: Certificate,
    address: str = "0.0.0.0",  # noqa: S104
    service: type[Service] = Service,
) -> None:
    """Wait for the certificate, then serve every service until cancelled.

    Args:
        services: name -> TCP port.
        service: what answers, made with a name and the certificate.
    """
    while not certificate.refresh():
        await asyncio.sleep(POLL_SECONDS)
    servers = [
        await asyncio.start_server(
            service(name, certificate).serve,
            address,
            port,
            ssl=certificate.context,
            limit=MAX_HEAD,
            backlog=1024,
        )
        for name, port in services.items()
    ]
    print(f"serving {services}", flush=True)
    try:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            certificate.refresh()
    finally:
        for server in servers:
            server.close()


def main(arguments: list[str]) -> None:
    """Run the services that the command line names."""
    services = {}
    for argument in arguments:
        name, separator, port = argument.partition("=")
        if not separator or not port.isdigit():
            sys.exit("usage: standin.py NAME=PORT [NAME=PORT ...]")
        services[name] = int(port)
    asyncio.run(run(services, Certificate(CHAIN, KEY)))


if __name__ == "__main__":
    main(sys.argv[1:])
