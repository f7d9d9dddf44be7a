"""The agent: Docker's socket behind TLS and Portainer's signature headers."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import socket
import ssl
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from .console import serve_exec
from .http import Answer, AppServer, HttpError, Request
from .relay import connect_unix, relay
from .signing import DEFAULT_MESSAGE, PUBLIC_KEY_HEADER, SIGNATURE_HEADER, verify

DOCKER_SOCKET = "/var/run/docker.sock"
INTERNAL_PORT = 9005  # of the loopback, whatever AGENT_HOST and AGENT_PORT say


@dataclass
class Agent:
    """One agent process.

    Attributes:
        docker_socket: the Docker Engine it stands for.
        secret: AGENT_SECRET; "" pins the first server's public key in memory instead.
        version: what it reports.
    """

    docker_socket: str = DOCKER_SOCKET
    secret: str = ""
    version: str = "2.39.1"
    _pinned: str | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def headers(self) -> dict[str, str]:
        """The headers of every answer."""
        return {
            "Portainer-Agent": self.version,
            "Portainer-Agent-API-Version": "2",
            "Portainer-Agent-Platform": "1",
        }

    def __call__(self, request: Request) -> Answer | None:
        """Answers one request."""
        try:
            return self._answer(request)
        except HttpError as error:
            answer = error.answer()
            answer.headers |= self.headers
            return answer

    def _answer(self, request: Request) -> Answer | None:
        if request.path == "/ping":
            return Answer(204, headers=self.headers)
        self._authenticate(request)
        if request.path == "/websocket/exec":
            serve_exec(request, self.docker_socket)
            return None
        target = request.handler.path
        for prefix in ("/v1/", "/v2/"):
            if target.startswith(prefix):
                target = target[len(prefix) - 1 :]
        try:
            upstream = connect_unix(self.docker_socket)
        except OSError as error:
            raise HttpError(
                500, "Unable to proxy the request via the Docker socket", str(error)
            ) from None
        relay(request.handler, upstream, target, {}, self.headers)
        return None

    def _authenticate(self, request: Request) -> None:
        public = request.headers.get(PUBLIC_KEY_HEADER)
        signature = request.headers.get(SIGNATURE_HEADER)
        if not public or not signature:
            raise HttpError(403, "Missing request signature headers", "Unauthorized")
        if not self.secret:
            with self._lock:  # pinned before the signature is looked at, as the real one does
                self._pinned = self._pinned or public
                if public != self._pinned:
                    raise HttpError(403, "Invalid request signature", "Unauthorized")
        if not verify(public, signature, self.secret or DEFAULT_MESSAGE):
            raise HttpError(403, "Invalid request signature", "Unauthorized")


def make_key() -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey:
    """A fresh key of the certificate: RSA 2048, as the real agent's."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def self_signed_context() -> ssl.SSLContext:
    """A fresh certificate for each start: a year, ``localhost`` and our address."""
    key = make_key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    addresses = {"127.0.0.1"}
    with contextlib.suppress(OSError):  # no name of its own: the loopback address has to do
        addresses |= {str(info[4][0]) for info in socket.getaddrinfo(socket.gethostname(), None)}
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=365))
        .add_extension(
            x509.SubjectAlternativeName(
                [
                    x509.DNSName("localhost"),
                    *(x509.IPAddress(ipaddress.ip_address(a)) for a in sorted(addresses)),
                ]
            ),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "pair.pem"
        path.touch(0o600)
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.TraditionalOpenSSL,
                serialization.NoEncryption(),
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context.load_cert_chain(path)
    return context


def serve(agent: Agent, host: str = "0.0.0.0", port: int = 9001) -> AppServer:  # noqa: S104
    """Starts the agent's listener.

    Raises:
        OSError: Docker isn't reachable: the real agent ends there too.
    """
    connect_unix(agent.docker_socket).close()
    return AppServer(host, port, agent, self_signed_context()).start()
