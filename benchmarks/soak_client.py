"""Runs on the lab's client: constant requests until its standard input ends; a report as JSON.

`soak_client.py ROOT ADDRESS STREAMS`: STREAMS is a file of JSON, a list of {"name", "host", "path",
"headers", "keep": whether a connection is kept}. It resolves no names: every stream goes to
ADDRESS, port 443 or ADDRESS:PORT, and verifies the name by the certificates in ROOT, which it reads
anew for each connection. It needs the standard library alone.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import sys
import threading
import time
from pathlib import Path
from typing import Any

PAUSE = 0.02
"""Seconds between the requests of one stream."""
SECONDS = 30.0
"""How long a request may take."""
CLOSED = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError, ssl.SSLEOFError)
"""How a kept connection shows that the server has ended it while nothing was under way."""


class Stream(threading.Thread):
    """One request after the other, each answer counted."""

    def __init__(self, root: str, address: tuple[str, int], entry: dict[str, Any]) -> None:
        """Do nothing yet.

        Args:
            root: path of the trusted certificates.
            address: of the gateway.
            entry: the stream, as in the module's description.
        """
        super().__init__(daemon=True)
        self.root, self.address, self.wanted = root, address, entry
        self.ends = threading.Event()
        self.requests = self.connections = 0
        self.failures: list[tuple[float, str]] = []
        self.gap = 0.0
        self.socket: ssl.SSLSocket | None = None

    def run(self) -> None:
        """Ask until `ends` is set."""
        last = time.monotonic()
        while not self.ends.is_set():
            fault = self.ask()
            now = time.monotonic()
            self.requests += 1
            if fault:
                self.failures.append((time.time(), fault))
            else:
                self.gap, last = max(self.gap, now - last), now
            self.ends.wait(PAUSE)
        self.gap = max(self.gap, time.monotonic() - last)
        self.hang_up()

    def ask(self) -> str:
        """One request; empty where the answer is 200, else what it was.

        A kept connection that the server has closed meanwhile is no lost request: a client sends
        it again on a new one (RFC 9110, section 9.2.2; RFC 9112, section 9.3.1).
        """
        for again in (self.socket is not None, False):
            try:
                return self.answer()
            except (OSError, http.client.HTTPException) as error:
                self.hang_up()
                if not (again and isinstance(error, CLOSED)):
                    return f"{type(error).__name__}: {error}"
        raise AssertionError("a second try has returned")

    def answer(self) -> str:
        """One request on the connection that is kept, or on a new one."""
        host = self.wanted["host"]
        if self.socket is None:
            context = ssl.create_default_context(cafile=self.root)
            plain = socket.create_connection(self.address, SECONDS)
            try:
                self.socket = context.wrap_socket(plain, server_hostname=host)
            except BaseException:
                plain.close()
                raise
            self.connections += 1
        lines = [f"GET {self.wanted['path']} HTTP/1.1", f"Host: {host}"]
        lines += [f"{name}: {value}" for name, value in self.wanted["headers"].items()]
        if not self.wanted["keep"]:
            lines.append("Connection: close")
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode())
        response = http.client.HTTPResponse(self.socket)
        response.begin()
        response.read()
        if response.will_close or not self.wanted["keep"]:
            self.hang_up()
        return "" if response.status == 200 else f"status {response.status}"

    def hang_up(self) -> None:
        """Close the connection, if there is one."""
        if self.socket is not None:
            self.socket.close()
            self.socket = None


def main(root: str, address: str, file: str) -> None:
    """Run the streams until the end of standard input, and print what they got."""
    host, _, port = address.partition(":")
    streams = [
        Stream(root, (host, int(port or 443)), entry)
        for entry in json.loads(Path(file).read_text())
    ]
    for stream in streams:
        stream.start()
    sys.stdin.read()
    for stream in streams:
        stream.ends.set()
    report = []
    for stream in streams:
        stream.join(2 * SECONDS)
        report.append(
            {
                "name": stream.wanted["name"],
                "requests": stream.requests,
                "connections": stream.connections,
                "failures": stream.failures,
                "gap": stream.gap,
            }
        )
    sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
