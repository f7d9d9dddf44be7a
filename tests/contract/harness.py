"""What the contract runs against: the emulator on loopback, or a real server by PORTAINER_URL.

A real server is given by the environment:
    PORTAINER_URL        https://name:9443
    PORTAINER_CA         a file with the root certificate to trust
    PORTAINER_USER, PORTAINER_PASSWORD
    PORTAINER_MODE       sync (2.21 to 2.39, the default) or async (2.45)
    PORTAINER_AGENT_URL  tcp://host:9001 of an agent whose Docker may be used
    PORTAINER_IMAGE      an image that this Docker has, which runs on (sleeps, serves)
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import socket
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from phoenix.net.https import Dial
from phoenix.portainer_api.transport import session
from portainer_emulator import agent as agent_module
from portainer_emulator import server as server_module
from portainer_emulator.http import AppServer
from tests.contract.docker_double import DockerDouble

REAL = os.environ.get("PORTAINER_URL", "")
PASSWORD = os.environ.get("PORTAINER_PASSWORD", "a long enough password")
USER = os.environ.get("PORTAINER_USER", "admin")
FAKE_DOCKER = (sys.executable, "-ISE", str(Path(__file__).with_name("fake_docker.py")), "compose")


def make_certificate(directory: Path) -> tuple[Path, Path]:
    """A server certificate for localhost that is its own root: (certificate, key)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "contract root")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = directory / "tls.crt", directory / "tls.key"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files


def dial_tcp(host: str, port: int) -> Dial:
    """A `Dial` to a fixed address, in place of a forward through SSH."""

    def dial(timeout: float) -> socket.socket:
        return socket.create_connection((host, port), timeout=timeout)

    return dial


@dataclass
class Portainer:
    """One server to talk to.

    `call` sends the credentials that it is given alone; `admin` asks as the administrator.
    """

    url: str
    ca: Path
    asynchronous: bool
    agent_url: str
    image: str = "double/image:1"
    double: DockerDouble | None = None
    server: server_module.Portainer | None = None
    listener: AppServer | None = None
    agent: AppServer | None = None
    directory: Path = Path("/nonexistent")
    http: requests.Session = field(default_factory=requests.Session)
    token: str = ""
    endpoint_id: int = 0
    stacks_made: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        # Its own TLS context: pyinfra's test helpers patch ssl after urllib3 was imported, and
        # then the contexts urllib3 makes recurse without end (gevent issue 1016).
        self.http = session(self.ca.read_text())

    def call(self, method: str, path: str, **kwargs: Any) -> requests.Response:
        return self.http.request(
            method, f"{self.url}/api{path}", allow_redirects=False, timeout=90, **kwargs
        )

    def admin(self, method: str, path: str, **kwargs: Any) -> requests.Response:
        if not self.token:
            answer = self.call("POST", "/auth", json={"username": USER, "password": PASSWORD})
            assert answer.status_code == 200, answer.text
            self.token = answer.json()["jwt"]
        headers = {"Authorization": f"Bearer {self.token}", **kwargs.pop("headers", {})}
        return self.call(method, path, headers=headers, **kwargs)

    def register(self, name: str, url: str, **form: str) -> requests.Response:
        fields = {
            "Name": name,
            "EndpointCreationType": "2",
            "URL": url,
            "TLS": "true",
            "TLSSkipVerify": "true",
            "TLSSkipClientVerify": "true",
            **form,
        }
        files = {key: (None, value) for key, value in fields.items() if value}
        return self.admin("POST", "/endpoints", files=files)

    def endpoint(self) -> int:
        """The id of the one registered endpoint."""
        if not self.endpoint_id:
            answer = self.register(f"contract-{uuid.uuid4().hex[:8]}", self.agent_url)
            assert answer.status_code == 200, answer.text
            self.endpoint_id = answer.json()["Id"]
        return self.endpoint_id

    # -- stacks --------------------------------------------------------------------------------

    def compose(self, image: str | None = None, service: str = "web", **labels: str) -> str:
        lines = ["services:", f"  {service}:", f"    image: {image or self.image}"]
        lines += ["    labels:"] if labels else []
        lines += [f"      double.{key}: {value!r}" for key, value in labels.items()]
        return "\n".join(lines) + "\n"

    def name(self) -> str:
        return f"contract{uuid.uuid4().hex[:8]}"

    def create(
        self, name: str, content: str, env: Any = None, *, wait: bool = True
    ) -> requests.Response:
        body = {"Name": name, "StackFileContent": content, "Env": env}
        answer = self.admin(
            "POST",
            f"/stacks/create/standalone/string?endpointId={self.endpoint()}",
            json=body,
        )
        if answer.status_code == 200:
            self.stacks_made.append(answer.json()["Id"])
            if wait:
                self.settle(answer.json()["Id"])
        return answer

    def update(
        self, stack_id: int, content: str, *, wait: bool = True, **body: Any
    ) -> requests.Response:
        answer = self.admin(
            "PUT",
            f"/stacks/{stack_id}?endpointId={self.endpoint()}",
            json={"StackFileContent": content, **body},
        )
        if answer.status_code == 200 and wait:
            self.settle(stack_id)
        return answer

    def stack(self, stack_id: int) -> dict[str, Any]:
        answer = self.admin("GET", f"/stacks/{stack_id}")
        assert answer.status_code == 200, answer.text
        stack: dict[str, Any] = answer.json()
        return stack

    def settle(self, stack_id: int) -> dict[str, Any]:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            stack = self.stack(stack_id)
            if stack["Status"] != 3:
                return stack
            time.sleep(0.02)
        raise AssertionError(f"stack {stack_id} is still deploying")

    def file(self, stack_id: int) -> str:
        return str(self.admin("GET", f"/stacks/{stack_id}/file").json()["StackFileContent"])

    def containers(self, project: str) -> list[dict[str, Any]]:
        query = {
            "all": "1",
            "filters": f'{{"label":["com.docker.compose.project={project}"]}}',
        }
        path = f"/endpoints/{self.endpoint()}/docker/containers/json"
        containers: list[dict[str, Any]] = self.admin("GET", path, params=query).json()
        return containers

    def clean(self) -> None:
        """Removes what the tests made: a real server is somebody's."""
        for stack_id in self.stacks_made:
            self.admin("DELETE", f"/stacks/{stack_id}?endpointId={self.endpoint_id}")
        if self.endpoint_id:
            self.admin("DELETE", f"/endpoints/{self.endpoint_id}")

    def restart(self, **settings: Any) -> None:
        """Ends the emulator's server process in effect, and starts it on the same data.

        Args:
            settings: what the new process has otherwise.
        """
        assert self.server is not None
        assert self.listener is not None
        port = self.listener.port
        self.listener.stop()
        self.http.close()
        self.server.close()
        self.server = server_module.Portainer(
            replace(self.server.settings, **settings), lambda _: None
        )
        self.listener = server_module.serve(
            self.server, "127.0.0.1", port, self.ca, self.ca.with_suffix(".key")
        )


@contextmanager
def emulator(
    directory: Path, *, asynchronous: bool, agent_secret: str = "", **settings: Any
) -> Iterator[Portainer]:
    """A fresh emulator of server and agent over a fresh Docker double."""
    certificate, key = make_certificate(directory)
    double = DockerDouble(directory / "docker.sock")
    version = "2.45.0" if asynchronous else "2.39.1"
    stand_in = agent_module.Agent(str(directory / "docker.sock"), agent_secret, version)
    agent = agent_module.serve(stand_in, "127.0.0.1", 0)
    chosen = {
        "admin_password": PASSWORD, "agent_secret": agent_secret, "version": version,
        "environment": {"HOME": "/", "AGENT_SECRET": agent_secret},
        "certificate": (certificate, key),
    }  # fmt: skip

    def say(line: str) -> None:
        (directory / "log").write_text(line)

    server = server_module.Portainer(
        server_module.Settings(
            data=directory / "data",
            asynchronous=asynchronous,
            compose=FAKE_DOCKER,
            **{**chosen, **settings},
        ),
        say,
    )
    listener = server_module.serve(server, "127.0.0.1", 0, certificate, key)
    portainer = Portainer(
        f"https://localhost:{listener.port}",
        certificate,
        asynchronous,
        f"tcp://127.0.0.1:{agent.port}",
        double=double,
        server=server,
        listener=listener,
        agent=agent,
        directory=directory,
    )
    try:
        yield portainer
    finally:
        if portainer.listener:
            portainer.listener.stop()
        if portainer.server:
            portainer.server.close()
        agent.stop()
        double.stop()


def real() -> Portainer:
    """The server of PORTAINER_URL."""
    return Portainer(
        REAL.rstrip("/"),
        Path(os.environ["PORTAINER_CA"]),
        os.environ.get("PORTAINER_MODE", "sync") == "async",
        os.environ["PORTAINER_AGENT_URL"],
        os.environ["PORTAINER_IMAGE"],
    )
