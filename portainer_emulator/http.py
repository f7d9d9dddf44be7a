"""A small threaded HTTP/1.1 server with Portainer's (Go's) error manners, plain or TLS."""

from __future__ import annotations

import email
import email.policy
import json
import re
import socket
import ssl
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TLS_IDLE_SECONDS = 86400.0


def not_in_database(bucket: str, key: object) -> str:
    """What the real database says of a row that it has not."""
    return f"Object not found inside the database (bucket={bucket}, key={key})"


class HttpError(Exception):
    """An error answer; `text` instead of message and details makes it plain text."""

    def __init__(
        self,
        status: int,
        message: str = "",
        details: str = "",
        *,
        text: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        """Details default to the message and begin with a capital, as Portainer writes them."""
        super().__init__(message)
        self.status = status
        self.message = message
        self.details = details or message
        self.text = text
        self.headers = headers or {}

    def answer(self) -> Answer:
        """The answer to send."""
        if self.text is not None:
            headers = {"Content-Type": "text/plain; charset=utf-8", **self.headers}
            return Answer(self.status, self.text.encode(), headers)
        details = self.details[:1].upper() + self.details[1:]
        body = {"message": self.message, "details": details}
        return json_answer({k: v for k, v in body.items() if v}, self.status, self.headers)


@dataclass
class Answer:
    """A complete answer; `None` from a handler means it has written its own."""

    status: int = 204
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def json_answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    """JSON as Portainer writes it: no trailing newline."""
    encoded = json.dumps(body, separators=(",", ":")).encode()
    return Answer(status, encoded, {"Content-Type": "application/json", **(headers or {})})


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: AppServer

    def setup(self) -> None:
        """Shakes hands here, in the connection's own thread, so that nobody blocks accept."""
        if isinstance(self.request, ssl.SSLSocket):
            self.request.settimeout(10)
            self.request.do_handshake()
            # A time-out keeps the socket non-blocking below: since Python 3.13 a blocking TLS read
            # holds a lock that a write of another thread would wait for.
            self.request.settimeout(TLS_IDLE_SECONDS)
        super().setup()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's own name
        """One line per request would hold tokens of query strings: nothing is logged."""

    def dispatch(self) -> None:
        """Answers one request."""
        request = Request(self)
        try:
            answer = self.server.app(request)
        except HttpError as error:
            answer = error.answer()
        except ConnectionError:
            self.close_connection = True
            return
        if answer is None:
            return
        request.drain()
        try:
            self.send_response_only(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if answer.status not in (204, 304):
                self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)
        except ConnectionError:
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = dispatch  # noqa: N815


class Request:
    """One request, its body read when asked for (a proxied body is streamed instead)."""

    def __init__(self, handler: Handler) -> None:
        """Parses the target."""
        self.handler = handler
        self.method = handler.command
        parts = urlsplit(handler.path)
        self.path = parts.path
        self.query_string = parts.query
        self.query = {k: v[0] for k, v in parse_qs(parts.query, keep_blank_values=True).items()}
        self.headers = handler.headers
        self.client = str(handler.client_address[0]) if handler.client_address else "local"
        self.args: dict[str, str] = {}
        self.user: dict[str, Any] = {}
        self.auth_method = ""
        self._body: bytes | None = None

    @property
    def body(self) -> bytes:
        """The whole body."""
        if self._body is None:
            chunks = list(body_chunks(self.handler))
            self._body = b"".join(chunks)
        return self._body

    def drain(self) -> None:
        """Reads what the handler left, so that the connection can carry the next request."""
        _ = self.body

    def json(self) -> dict[str, Any]:
        """The JSON object of the body, its keys in lower case: Go matches them without case.

        Raises:
            HttpError: 400, empty or broken.
        """
        try:
            fields = json.loads(self.body) if self.body else None
        except ValueError as error:
            raise HttpError(400, "Invalid request payload", str(error)) from None
        if not isinstance(fields, dict):
            raise HttpError(400, "Invalid request payload", "EOF")
        return {str(key).lower(): value for key, value in fields.items()}

    def form(self) -> dict[str, str]:
        """The text fields of a multipart or urlencoded body."""
        kind = self.headers.get("Content-Type", "")
        if kind.startswith("multipart/form-data"):
            head = f"Content-Type: {kind}\r\nMIME-Version: 1.0\r\n\r\n".encode()
            message = email.message_from_bytes(head + self.body, policy=email.policy.HTTP)
            fields = {}
            for part in message.iter_parts():
                name = part.get_param("name", header="content-disposition")
                payload = part.get_payload(decode=True)
                fields[str(name)] = payload.decode() if isinstance(payload, bytes) else ""
            return fields
        return {k: v[0] for k, v in parse_qs(self.body.decode(), keep_blank_values=True).items()}

    def number(self, name: str, *, optional: bool = False) -> int:
        """A numeric query parameter.

        Raises:
            HttpError: 400, missing or no number.
        """
        value = self.query.get(name)
        if value is None or value == "":
            if optional:
                return 0
            raise HttpError(400, f"Invalid query parameter: {name}", "Missing query parameter")
        try:
            return int(value)
        except ValueError:
            raise HttpError(
                400, f"Invalid query parameter: {name}", "Invalid query parameter"
            ) from None


def body_chunks(handler: Handler, *, framed: bool = False) -> Any:
    """The request's body in pieces; `framed` keeps the chunked framing, to pass it on."""
    if "chunked" in handler.headers.get("Transfer-Encoding", "").lower():
        while True:
            line = handler.rfile.readline()
            size = int(line.split(b";")[0] or b"0", 16)
            data = handler.rfile.read(size)
            end = handler.rfile.readline()
            if framed:
                yield line + data + end
            elif data:
                yield data
            if size == 0:
                return
    remaining = int(handler.headers.get("Content-Length") or 0)
    while remaining:
        data = handler.rfile.read1(min(remaining, 65536))
        if not data:
            return
        remaining -= len(data)
        yield data


App = Callable[[Request], Answer | None]


class AppServer(ThreadingHTTPServer):
    """Serves one app on one address; port 0 picks a free one."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, host: str, port: int, app: App, tls: ssl.SSLContext | None = None) -> None:
        """Binds at once; `start` begins to answer."""
        self.app = app
        self.tls = tls
        super().__init__((host, port), Handler)

    @property
    def port(self) -> int:
        """The bound port."""
        return int(self.server_address[1])

    def server_bind(self) -> None:
        """Without the base's look-up of the machine's own name, which can hang offline."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "portainer", int(self.server_address[1])

    def get_request(self) -> tuple[Any, Any]:
        """Accepts; the TLS handshake comes later, with the first read."""
        raw, address = super().get_request()
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.tls is None:
            return raw, address
        wrapped = self.tls.wrap_socket(raw, server_side=True, do_handshake_on_connect=False)
        return wrapped, address

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Clients that hang up, or do not speak TLS, are ignored; other errors are printed."""
        error = sys.exc_info()[1]
        if not isinstance(error, ConnectionError | ssl.SSLError | TimeoutError | OSError):
            traceback.print_exc()

    def start(self) -> AppServer:
        """Serves from a thread."""
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def stop(self) -> None:
        """Ends serving and frees the port."""
        self.shutdown()
        self.server_close()


Route = tuple[str, re.Pattern[str], App]


def route(method: str, pattern: str, app: App) -> Route:
    """A route; ``{name}`` matches digits, ``{name*}`` the rest of the path."""
    regex = re.sub(r"\{(\w+)\}", r"(?P<\1>\\d+)", pattern)
    regex = re.sub(r"\{(\w+)\*\}", r"(?P<\1>.*)", regex)
    return method, re.compile(regex), app


def find_route(routes: list[Route], request: Request) -> App:
    """The route of a request, its arguments set.

    Raises:
        HttpError: 404 as Go's mux writes it (plain text), 405 with an empty body.
    """
    allowed = False
    for method, pattern, app in routes:
        match = pattern.fullmatch(request.path)
        if match is None:
            continue
        if method in (request.method, "ANY"):
            request.args = match.groupdict()
            return app
        allowed = True
    if allowed:
        raise HttpError(405, text="")
    raise HttpError(404, text="404 page not found\n")
