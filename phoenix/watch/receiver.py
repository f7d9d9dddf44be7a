"""Takes the hosts' reports: HTTP by TLS, each host known by its certificate alone.

A host can put its own report there: the certificate says whose it is, and a report that names
another host is refused. What the last look found is for one reader each: the start page for the
host that serves it, the metrics for the declared scraper.
"""

from __future__ import annotations

import hashlib
import ssl
import sys
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any, NamedTuple

from phoenix.watch.atomic_file import write
from phoenix.watch.report import LONGEST, ReportError, parse

SECONDS = 15
"""How long a client may take for each read, its handshake included."""
_AT_ONCE = 32


def context(pair: str, hosts: str) -> ssl.SSLContext:
    """TLS 1.3, and a client's certificate must be one of those that are known.

    Args:
        pair: file with the watcher's own certificate and key.
        hosts: file with the certificates of all hosts.
    """
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.minimum_version = ssl.TLSVersion.TLSv1_3
    tls.load_cert_chain(pair)
    tls.load_verify_locations(cafile=hosts)
    tls.verify_mode = ssl.CERT_REQUIRED
    return tls


class Readable(NamedTuple):
    """A file, the SHA-256 of each certificate that may read it, and its type."""

    file: Path
    readers: frozenset[str]
    content_type: str


class Receiver(ThreadingHTTPServer):
    """The server; reports are kept in `folder`, the newest of each host, by the host's name."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self, place: tuple[str, int], tls: ssl.SSLContext, hosts: Mapping[str, str], folder: Path,
        readable: Mapping[str, Readable] | None = None,
    ) -> None:  # fmt: skip
        """Listen.

        Args:
            place: address and port.
            tls: see `context`.
            hosts: the name of the host by the SHA-256 of its certificate.
            folder: where reports are kept.
            readable: what may be read, by its path.
        """
        self.hosts, self.folder = dict(hosts), folder
        self.readable = dict(readable or {})
        self._tls, self._free = tls, BoundedSemaphore(_AT_ONCE)
        super().__init__(place, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Close what is too much at once: nobody who only connects can use up the machine."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one client, in a thread of its own."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def finish_request(self, request: Any, client_address: Any) -> None:
        """The handshake belongs to the client's thread: one that hangs holds up nobody."""
        request.settimeout(SECONDS)
        with self._tls.wrap_socket(request, server_side=True) as secured:
            super().finish_request(secured, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """A line in the journal, no traceback: anybody may connect and say nonsense."""
        error = sys.exc_info()[1]
        if not isinstance(error, (TimeoutError, ConnectionError, ssl.SSLEOFError)):
            print(f"{client_address[0]}: {error}", flush=True)  # noqa: T201 - the journal


class _Handler(BaseHTTPRequestHandler):
    server: Receiver
    timeout = SECONDS

    def do_GET(self) -> None:
        file = self.server.readable.get(self.path)
        if file is None or self._fingerprint() not in file.readers:
            self._end(HTTPStatus.FORBIDDEN, "this certificate may not read that")
            return
        try:
            body = file.file.read_bytes()
        except OSError:
            self._end(HTTPStatus.SERVICE_UNAVAILABLE, "the watcher has not looked yet")
            return
        self.send_response_only(HTTPStatus.OK)
        self.send_header("content-type", file.content_type)
        self.send_header("content-length", str(len(body)))
        self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def _fingerprint(self) -> str:
        certificate = self.connection.getpeercert(binary_form=True)
        return hashlib.sha256(certificate or b"").hexdigest()

    def do_POST(self) -> None:
        host = self.server.hosts.get(self._fingerprint())
        length = self.headers.get("content-length", "")
        if host is None:
            self._end(HTTPStatus.FORBIDDEN, "nobody known has this certificate")
        elif not (length.isascii() and length.isdigit() and int(length) <= LONGEST):
            self._end(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "content-length is missing or too large")
        else:
            self._take(host, self.rfile.read(int(length)))

    def _take(self, host: str, body: bytes) -> None:
        text = body.decode(errors="replace")
        if self.path != "/report":
            self._end(HTTPStatus.NOT_FOUND, "there is /report alone")
            return
        try:
            report = parse(text)
        except ReportError as error:
            self._end(HTTPStatus.BAD_REQUEST, str(error))
            return
        if report.host != host:
            self._end(HTTPStatus.FORBIDDEN, f"{host} reports as {report.host}")
            return
        write(self.server.folder / host, text)
        self._end(HTTPStatus.NO_CONTENT, "")

    def _end(self, status: HTTPStatus, why: str) -> None:
        if why:
            print(f"refused {self.client_address[0]}: {why!r}", flush=True)  # noqa: T201
        self.send_response_only(status, why.encode("ascii", "replace").decode()[:100] or None)
        self.send_header("content-length", "0")
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True
