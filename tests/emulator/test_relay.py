"""Requests that the emulator passes on: what the client gets, and whether its connection lives on.

Real Portainer keeps a connection for the next request, as HTTP/1.1 has it.
"""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator

import pytest

from portainer_emulator.http import AppServer, Request
from portainer_emulator.relay import relay

ANSWERS = {
    "by its length": (b"Content-Length: 5\r\nConnection: close\r\n\r\nhello", True),
    "in chunks": (b"Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", True),
    "until the end of the connection": (b"X: y\r\n\r\nhello", False),
}
"""What follows the status line, and whether the client's connection stays."""
CUT = {
    "a length": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello",
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n",
}


class Passing:
    """A server that passes each request on to an upstream whose answer the test sets."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.heard: list[bytes] = []
        self.server = AppServer("127.0.0.1", 0, self._pass_on).start()

    def _pass_on(self, request: Request) -> None:
        near, far = socket.socketpair()
        threading.Thread(target=self._answer, args=(far,), daemon=True).start()
        relay(request.handler, near, "/target", {"X-Signature": "s"}, {"X-Extra": "e"})

    def _answer(self, far: socket.socket) -> None:
        with far:
            heard = b""
            while b"\r\n\r\n" not in heard or (heard[:4] == b"POST" and heard[-3:] != b"abc"):
                heard += far.recv(65536)
            self.heard.append(heard)
            for piece in self.pieces:
                far.sendall(piece)

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)


@pytest.fixture
def passing() -> Iterator[Passing]:
    server = Passing()
    yield server
    server.server.stop()


@pytest.mark.parametrize("kind", ANSWERS)
@pytest.mark.parametrize("in_pieces", [False, True], ids=["at once", "byte by byte"])
def test_an_answer_with_an_end_leaves_the_connection_open(
    passing: Passing, kind: str, in_pieces: bool
) -> None:
    answer, stays = ANSWERS[kind]
    answer = b"HTTP/1.1 200 OK\r\n" + answer
    passing.pieces = [bytes([byte]) for byte in answer] if in_pieces else [answer]
    connection = passing.connection()
    for number in range(2):
        connection.request("POST", "/docker/x", body=b"abc")
        sock = connection.sock
        response = connection.getresponse()
        assert response.read() == b"hello"
        assert (response.getheader("X-Extra"), response.getheader("Connection")) == ("e", None)
        assert (connection.sock is sock) is stays, "the client may use it again"
        assert len(passing.heard) == number + 1
        assert passing.heard[-1].startswith(b"POST /target HTTP/1.1\r\n")
        assert passing.heard[-1].endswith(b"\r\n\r\nabc")
        assert b"\r\nX-Signature: s\r\nConnection: close\r\n" in passing.heard[-1]


@pytest.mark.parametrize("what", CUT)
def test_an_answer_that_is_cut_ends_the_connection(passing: Passing, what: str) -> None:
    passing.pieces = [CUT[what]]
    connection = passing.connection()
    connection.request("GET", "/docker/x")
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        connection.getresponse().read()


def test_an_answer_without_all_its_headers_is_a_bad_gateway(passing: Passing) -> None:
    passing.pieces = [b"HTTP/1.1 200 OK\r\nContent-Le"]
    connection = passing.connection()
    connection.request("GET", "/docker/x")
    assert connection.getresponse().status == 502


def test_a_client_that_wants_no_further_request_is_hung_up_on(passing: Passing) -> None:
    passing.pieces = [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"]
    connection = passing.connection()
    connection.request("GET", "/docker/x", headers={"Connection": "close"})
    sock = connection.sock
    assert connection.getresponse().read() == b"hello"
    assert sock.recv(1) == b""


@pytest.mark.parametrize(
    ("method", "answer"), [("HEAD", b"200 OK\r\nContent-Length: 5"), ("GET", b"204 No Content")]
)
def test_an_answer_without_a_body_leaves_the_connection_open(
    passing: Passing, method: str, answer: bytes
) -> None:
    passing.pieces = [b"HTTP/1.1 " + answer + b"\r\n\r\n"]
    connection = passing.connection()
    for _ in range(2):
        connection.request(method, "/docker/x")
        assert connection.getresponse().read() == b""
        assert connection.sock is not None
