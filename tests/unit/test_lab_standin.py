"""The lab's stand-in backends over real TLS on loopback."""

from __future__ import annotations

import asyncio
import base64
import datetime
import hashlib
import http.client
import json
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from lab import standin

NAME = "backend.test"


def issue(chain: Path, key_file: Path, *, serial: int, key_first: bool = True) -> None:
    """Write a self-signed certificate and its key as a renewal does, by renames."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now - datetime.timedelta(minutes=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    for path, content in (
        (key_file, pem),
        (chain, certificate.public_bytes(serialization.Encoding.PEM)),
    ):
        temporary = path.with_suffix(".new")
        temporary.write_bytes(content)
        temporary.replace(path)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@dataclass
class Running:
    port: int
    chain: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.chain))

    def connect(self, context: ssl.SSLContext | None = None) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=5)
        return (context or self.context()).wrap_socket(plain, server_hostname=NAME)

    def serial(self) -> int:
        with self.connect(insecure()) as connection:
            der = connection.getpeercert(binary_form=True)
        assert der is not None
        return x509.load_der_x509_certificate(der).serial_number

    def http(self) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection(NAME, self.port)
        connection.sock = self.connect()
        return connection


def insecure() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    chain, key, port = tmp_path / "fullchain.pem", tmp_path / "privkey.pem", free_port()
    loop = asyncio.new_event_loop()
    certificate = standin.Certificate(chain, key)
    work = standin.run({"qdrant": port}, certificate, "127.0.0.1")
    task = loop.create_task(work)

    def serve() -> None:
        try:
            loop.run_until_complete(task)
        except asyncio.CancelledError:
            pass
        finally:
            loop.close()

    thread = threading.Thread(target=serve)
    thread.start()
    time.sleep(0.1)
    with pytest.raises(ConnectionRefusedError):  # it waits for its certificate
        socket.create_connection(("127.0.0.1", port), timeout=1)
    issue(chain, key, serial=1)
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            break
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, "the stand-in did not start to listen"
            time.sleep(0.05)
    yield Running(port, chain, key)
    loop.call_soon_threadsafe(task.cancel)
    thread.join(60)
    assert not thread.is_alive()


def test_it_tells_what_it_saw_and_keeps_the_connection(running: Running) -> None:
    connection = running.http()
    first = connection.sock
    for number in range(3):
        connection.request("GET", f"/any/path?n={number}", headers={"X-Real-Ip": "198.19.77.250"})
        answer = connection.getresponse()
        observed = json.loads(answer.read())
        assert answer.status == 200, observed
        assert observed["service"] == "qdrant", observed
        assert observed["path"] == f"/any/path?n={number}", observed
        assert observed["method"] == "GET", observed
        assert observed["headers"]["x-real-ip"] == "198.19.77.250", observed
        assert observed["tls_server_name"] == NAME, observed
    assert connection.sock is first, "the connection was not kept"
    connection.close()


@pytest.mark.parametrize("chunked", [False, True])
def test_uploads_are_measured(running: Running, chunked: bool) -> None:
    body = os.urandom(300_000)
    connection = running.http()
    if chunked:
        pieces = (body[at : at + 70_000] for at in range(0, len(body), 70_000))
        connection.request("PUT", "/up", body=pieces, encode_chunked=True)
    else:
        connection.request("PUT", "/up", body=body)
    observed = json.loads(connection.getresponse().read())
    expected = {"length": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    assert observed["body"] == expected, observed
    connection.request("GET", "/after")
    assert json.loads(connection.getresponse().read())["path"] == "/after"
    connection.close()


def test_status_and_slow(running: Running) -> None:
    connection = running.http()
    for code in (204, 404, 503):
        connection.request("GET", f"/status/{code}")
        answer = connection.getresponse()
        answer.read()
        assert answer.status == code
    began = time.monotonic()
    connection.request("GET", "/slow?ms=200")
    assert connection.getresponse().status == 200
    assert time.monotonic() - began >= 0.2
    connection.close()


def test_stream_goes_on_when_it_is_asked_to(running: Running) -> None:
    stream, other = running.http(), running.http()
    stream.request("GET", "/stream?key=a&type=application/x-ndjson")
    answer = stream.getresponse()
    assert answer.getheader("content-type") == "application/x-ndjson"
    assert answer.readline() == b"data: first\n"
    for key, status in (("b", 404), ("a", 200), ("a", 404)):
        other.request("GET", f"/stream/continue?key={key}")
        output = other.getresponse()
        output.read()
        assert output.status == status, key
        if status == 200:
            assert answer.read() == b"\ndata: last\n\n"
    stream.request("GET", "/after")  # the stream was one whole answer
    assert json.loads(stream.getresponse().read())["path"] == "/after"
    stream.close()
    other.close()


@pytest.mark.parametrize("size", [0, 5, 200, 70_000])
def test_websocket_echo(running: Running, size: int) -> None:
    key = base64.b64encode(b"0123456789abcdef").decode()
    with running.connect() as connection:
        connection.sendall(
            f"GET /ws HTTP/1.1\r\nHost: {NAME}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        stream = connection.makefile("rb")
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += stream.readline()
        assert head.startswith(b"HTTP/1.1 101 "), head
        accept = standin.accept_value(key).encode()
        assert accept in head, head
        payload, mask = os.urandom(size), os.urandom(4)
        masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
        plain = standin.frame(0x82, payload)
        header = bytearray(plain[: len(plain) - size])
        header[1] |= 0x80
        connection.sendall(bytes(header) + mask + masked)
        assert stream.read(len(plain)) == plain
        connection.sendall(b"\x88\x80" + mask)
        assert stream.read(2) == b"\x88\x00"


def test_rfc_6455_handshake_example() -> None:
    """Section 1.3 gives the accept value of the sample nonce."""
    expected = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert standin.accept_value("dGhlIHNhbXBsZSBub25jZQ==") == expected


def test_a_renewed_certificate_is_served_without_a_restart(running: Running) -> None:
    assert running.serial() == 1
    old = running.http()
    issue(running.chain, running.key, serial=2)
    deadline = time.monotonic() + 60
    while running.serial() != 2:
        assert time.monotonic() < deadline, "the old certificate is still served"
        time.sleep(0.1)
    old.request("GET", "/")  # a connection made before the renewal lives on
    assert old.getresponse().status == 200
    old.close()


def test_a_half_done_renewal_leaves_the_old_one_serving(running: Running) -> None:
    key_before = running.key.read_bytes()
    other = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    running.key.write_bytes(other)
    time.sleep(3 * standin.POLL_SECONDS)
    assert running.serial() == 1
    running.key.write_bytes(key_before)
    time.sleep(3 * standin.POLL_SECONDS)
    assert running.serial() == 1


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_tls_1_1_is_refused(running: Running) -> None:
    context = insecure()
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError, match=r"alert protocol version|EOF"):
        running.connect(context)
