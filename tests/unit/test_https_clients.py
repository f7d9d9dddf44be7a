"""Phoenix' HTTPS clients against real TLS servers on loopback: whom they speak to, and how."""

from __future__ import annotations

import hashlib
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from pydantic import SecretStr

from phoenix.net.https import Dial
from phoenix.portainer_api import PortainerClient, errors
from phoenix.portainer_api.transport import session
from phoenix.proxmox.client import Client
from phoenix.proxmox.errors import ProxmoxError
from phoenix.proxmox.transport import Endpoint, Trust, connect
from tests.contract.harness import dial_tcp

TOKEN = SecretStr("phoenix@pve!deploy=s3cret")
KEY = SecretStr("a key of Portainer's, of this test alone")
OLD = "ALL:@SECLEVEL=0"
"""Ciphers with which OpenSSL itself allows TLS 1.0 and 1.1."""


class Server(ThreadingHTTPServer):
    """Answers each request with `answer`, and keeps what arrived."""

    daemon_threads = True
    request_queue_size = 32

    def __init__(self, pair: tuple[Path, Path], address: str, context: ssl.SSLContext) -> None:
        super().__init__((address, 0), Handler)
        self.certificate = pair[0]
        self.arrived: list[tuple[str, str, dict[str, str]]] = []
        self.answer: tuple[int, dict[str, str]] = (200, {})
        context.load_cert_chain(*pair)
        self.socket = context.wrap_socket(self.socket, server_side=True)

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        return f"https://{self.server_address[0]!s}:{self.port}"

    @property
    def fingerprint(self) -> str:
        der = ssl.PEM_cert_to_DER_cert(self.certificate.read_text())
        return hashlib.sha256(der).hexdigest()


class Handler(BaseHTTPRequestHandler):
    server: Server

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        named = {name.lower(): value for name, value in self.headers.items()}
        self.server.arrived.append((self.command, self.path, named))
        status, headers = self.server.answer
        self.send_response(status)
        for name, value in {"content-type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(b'{"data": {}}')

    do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815

    def log_message(self, *_words: Any) -> None:
        """Say nothing."""


@contextmanager
def serving(
    folder: Path, address: str = "127.0.0.1", context: ssl.SSLContext | None = None
) -> Iterator[Server]:
    """A server whose certificate, which is its own root, is for 127.0.0.1 and localhost."""
    folder.mkdir(exist_ok=True)
    pair = (folder / "tls.crt", folder / "tls.key")
    if not pair[0].exists():  # of two with one subject, OpenSSL would look at the first alone
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-nodes", "-days", "1", "-subj", f"/CN={folder.name}", "-addext",
             "subjectAltName=DNS:localhost,IP:127.0.0.1", "-out", pair[0], "-keyout", pair[1]],
            check=True, capture_output=True,
        )  # fmt: skip
    with Server(pair, address, context or ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path / "server") as server:
        yield server


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Server]:
    """Another server at the same name, with a certificate that nobody was told of."""
    with serving(tmp_path / "other") as server:
        yield server


def of_proxmox(trust: Trust, url: str, dial: Dial | None) -> requests.Session:
    known: requests.Session = connect(Endpoint(url, TOKEN, trust, dial))._store["session"]
    return known


Make = Callable[[Server, str, Dial | None], requests.Session]
BY_ROOT: dict[str, Make] = {
    "portainer": lambda known, _, dial: session(known.certificate.read_text(), dial),
    "proxmox": lambda known, url, dial: of_proxmox(
        Trust(ca_file=str(known.certificate)), url, dial
    ),
}
BY_FINGERPRINT: dict[str, Make] = {
    "portainer, fingerprint": lambda known, _, dial: session(
        None, dial, fingerprint=known.fingerprint
    ),
    "proxmox, fingerprint": lambda known, url, dial: of_proxmox(
        Trust(fingerprint=known.fingerprint), url, dial
    ),
    "proxmox, fingerprints": lambda known, url, dial: of_proxmox(
        Trust(fingerprints=frozenset({"ab" * 32, known.fingerprint})), url, dial
    ),
}
CLIENTS = BY_ROOT | BY_FINGERPRINT


def asks(make: Make, known: Server, url: str, dial: Dial | None = None) -> int:
    """The status of a GET of `url` by a client that knows the certificate of `known`."""
    with make(known, url, dial) as client:
        return client.get(f"{url}/x", timeout=20).status_code


@pytest.mark.parametrize("kind", CLIENTS)
def test_the_server_that_is_known_is_asked(server: Server, kind: str) -> None:
    assert asks(CLIENTS[kind], server, server.url) == 200
    through = dial_tcp("127.0.0.1", server.port)
    assert asks(CLIENTS[kind], server, "https://localhost:1", through) == 200
    assert [(method, path) for method, path, _ in server.arrived] == [("GET", "/x")] * 2


@pytest.mark.parametrize("kind", CLIENTS)
def test_one_with_another_certificate_is_told_nothing(
    server: Server, other: Server, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Of the same name, and trusted by the machine and by what requests reads."""
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(name, str(other.certificate))
    with pytest.raises(requests.exceptions.SSLError):
        asks(CLIENTS[kind], server, other.url)
    with pytest.raises(requests.exceptions.SSLError):
        asks(CLIENTS[kind], server, server.url, dial_tcp("127.0.0.1", other.port))
    assert (server.arrived, other.arrived) == ([], [])


@pytest.mark.parametrize("kind", BY_ROOT)
def test_one_that_proves_another_name_is_told_nothing(tmp_path: Path, kind: str) -> None:
    """As whoever took the address of one of ours, with a certificate of the same CA."""
    with serving(tmp_path / "server", "127.0.0.2") as server:
        with pytest.raises(requests.exceptions.SSLError, match=r"127\.0\.0\.2"):
            asks(BY_ROOT[kind], server, server.url)
        through = dial_tcp("127.0.0.2", server.port)
        with pytest.raises(requests.exceptions.SSLError, match=r"host\.lab\.example"):
            asks(BY_ROOT[kind], server, "https://host.lab.example:8006", through)
        assert server.arrived == []
        assert asks(BY_ROOT[kind], server, "https://localhost:8006", through) == 200


def context_of(client: requests.Session) -> ssl.SSLContext:
    context: ssl.SSLContext = client.get_adapter("https://")._context  # type: ignore[attr-defined]
    return context


@pytest.mark.parametrize("kind", [*BY_ROOT, "the machine's roots"])
def test_tls_itself_compares_the_name(
    server: Server, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Inside the handshake: urllib3 compares as well, but once the handshake is done."""
    monkeypatch.setenv("SSL_CERT_FILE", str(server.certificate))
    client = BY_ROOT[kind](server, server.url, None) if kind in BY_ROOT else session(None)
    for name, proven in (("host.lab.example", False), ("localhost", True)):
        through = socket.create_connection(("127.0.0.1", server.port), timeout=20)
        with through, nullcontext() if proven else pytest.raises(ssl.SSLCertVerificationError):
            context_of(client).wrap_socket(through, server_hostname=name).close()


def test_the_machine_s_own_roots_verify_where_nothing_else_is_given(
    server: Server, other: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(server.certificate))

    def by_machine(_known: Server, _url: str, dial: Dial | None) -> requests.Session:
        return session(None, dial)

    assert asks(by_machine, server, server.url) == 200
    with pytest.raises(requests.exceptions.SSLError):
        asks(by_machine, server, other.url)
    with pytest.raises(requests.exceptions.SSLError, match=r"host\.lab\.example"):
        asks(by_machine, server, "https://host.lab.example", dial_tcp("127.0.0.1", server.port))
    assert (len(server.arrived), other.arrived) == (1, [])


def up_to(version: ssl.TLSVersion) -> ssl.SSLContext:
    """A server's context that speaks nothing newer."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers(OLD)
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = version
    return context


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1", "TLSv1_2"])
def test_tls_older_than_1_2_is_not_spoken(tmp_path: Path, kind: str, version: str) -> None:
    """By Phoenix' own choice: on a machine whose OpenSSL would allow it as well."""
    with serving(tmp_path / "server", context=up_to(ssl.TLSVersion[version])) as server:
        client = CLIENTS[kind](server, server.url, None)
        context = context_of(client)
        context.set_ciphers(OLD)
        if version == "TLSv1_2":
            assert client.get(server.url, timeout=20).status_code == 200
            return
        with pytest.raises(requests.exceptions.SSLError, match=r"(?i)protocol|version"):
            client.get(server.url, timeout=20)
        assert server.arrived == []
        # The server does speak it: to one who asks for it.
        context.minimum_version = ssl.TLSVersion[version]
        assert client.get(server.url, timeout=20).status_code == 200


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_portainer_s_client_follows_no_redirect(
    server: Server, tmp_path: Path, status: int
) -> None:
    """Another server of the same root, at which requests would show the key and the body."""
    with serving(tmp_path / "server", "127.0.0.1") as elsewhere:
        client = PortainerClient(
            server.url, server.certificate.read_text(), api_key=KEY, sleep=lambda _: None
        )
        for place in (f"{elsewhere.url}/api/stacks", "/api/other"):
            server.answer = (status, {"location": place})
            server.arrived.clear()
            with pytest.raises(errors.PortainerError, match=f"HTTP {status}"):
                client.stacks()
            with pytest.raises(errors.PortainerError):
                client.create_stack(1, "app", "services: {}", {"PASSWORD": "planted"})
            assert [(method, path.partition("?")[0]) for method, path, _ in server.arrived] == [
                ("GET", "/api/stacks"), ("POST", "/api/stacks/create/standalone/string")
            ]  # fmt: skip
            assert {sent["x-api-key"] for _, _, sent in server.arrived} == {KEY.get_secret_value()}
        client.close()
        assert elsewhere.arrived == [], "it saw the key"


@pytest.mark.parametrize("status", [301, 302, 307])
def test_the_proxmox_client_follows_no_redirect(
    server: Server, tmp_path: Path, status: int
) -> None:
    with serving(tmp_path / "server", "127.0.0.1") as elsewhere:
        endpoint = Endpoint(server.url, TOKEN, Trust(ca_file=str(server.certificate)))
        client = Client(connect(endpoint), sleep=lambda _: None)
        for place in (f"{elsewhere.url}/api2/json/version", f"{server.url}/other"):
            server.answer = (status, {"location": place})
            server.arrived.clear()
            with pytest.raises(ProxmoxError, match=f"redirects to {place}"):
                client.get("version")
            with pytest.raises(ProxmoxError, match=f"redirects to {place}"):
                client.write("POST", "nodes/x/lxc", {"vmid": 100})
            assert [(method, path) for method, path, _ in server.arrived] == [
                ("GET", "/api2/json/version"), ("POST", "/api2/json/nodes/x/lxc")
            ]  # fmt: skip
        assert elsewhere.arrived == [], "it saw the token"


@pytest.mark.parametrize("kind", CLIENTS)
def test_neither_the_machine_s_proxy_nor_its_netrc_is_used(
    server: Server, other: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password planted\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.setenv(name, other.url)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert asks(CLIENTS[kind], server, server.url) == 200
    assert other.arrived == []
    ((_, _, sent),) = server.arrived
    assert "basic" not in sent.get("authorization", "").lower(), "from ~/.netrc"


@pytest.mark.parametrize("kind", ["portainer", "portainer, fingerprint"])
def test_portainer_s_client_keeps_no_cookie_and_speaks_no_plain_http(
    server: Server, kind: str
) -> None:
    server.answer = (200, {"set-cookie": "portainer_api_key=planted; Path=/"})
    with CLIENTS[kind](server, server.url, None) as client:
        for _ in range(2):
            client.get(server.url, timeout=20)
        assert [sent for _, _, sent in server.arrived if "cookie" in sent] == []
        with pytest.raises(requests.exceptions.InvalidSchema):
            client.get(server.url.replace("https", "http"), timeout=20)
    assert len(server.arrived) == 2
