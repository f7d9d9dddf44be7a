"""The lab as tests see it: commands on its hosts, requests of its client, state of its units."""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from docker import DockerClient  # type: ignore[import-untyped]

from lab import inside
from lab.image import pack
from lab.settings import Settings
from lab.state import LabState
from phoenix.components.acme.phoenix_acme_conf import CERTIFICATES
from phoenix.components.guard.ruleset import UNIT as GUARD
from phoenix.components.nginx.nginx_conf import CLIENT_CERTIFICATE
from phoenix.derived import control_plane, firewall, routes
from phoenix.site.model import Host, Site
from tests.integration.project import Project, deadline_factor, missed

ROOT_FILE = "/root/phoenix-root.pem"
ASKED = "/root/asked-root.pem"
UNITS = {
    "hypervisor": "phoenix-dns.service",
    "ca": "step-ca.service",
    "traefik": "traefik.service",
    "gateway": "nginx.service",
}
UNIT_PROPERTIES = "InvocationID,MainPID,NRestarts,ActiveState,ActiveEnterTimestampMonotonic"


@dataclass(frozen=True)
class Output:
    """What a command in a container did."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """Both streams."""
        return self.out + self.err


@dataclass(frozen=True)
class Answer:
    """An HTTP answer to the client's curl; `status` is 0 where there was none, `error` says why."""

    status: int
    version: str
    headers: Mapping[str, str]
    body: str
    error: str


@dataclass(frozen=True)
class SiteLab:
    """A lab whose site is converged."""

    docker: DockerClient
    settings: Settings
    state: LabState
    site: Site
    project: Project

    @cached_property
    def roles(self) -> dict[str, str]:
        """The hosts that tests speak of, by role."""
        site = self.site
        assert site.gateway
        assert site.traefik
        assert site.ca
        return {
            "hypervisor": site.hypervisor.name,
            "ca": site.ca.name,
            "traefik": site.traefik.name,
            "gateway": site.gateway.name,
        }

    @property
    def backends(self) -> list[routes.Route]:
        """The routes that end at a stand-in."""
        return [route for route in routes.routes(self.site) if route.kind == "backend"]

    @property
    def secrets(self) -> dict[str, str]:
        """What the deploys generated for this lab."""
        values: dict[str, str] = json.loads((self.settings.directory / "secrets.json").read_text())
        return values

    def sh(self, host: str, command: str, *, ok: bool = False) -> Output:
        """Run a shell command as root on a host, a role, or the client; `ok`: it must succeed."""
        name = self.roles.get(host, host)
        container = self.docker.containers.get(self.state.container(name))
        done = inside.run(container, "sh", "-c", command)
        output = Output(done.returncode, done.stdout, done.stderr)
        assert output.code == 0 or not ok, (
            f"{name}: {command}\nexit code {output.code}\n{output.text}"
        )
        return output

    def root_given(self) -> None:
        """Client and hosts have the CA's root as a file of the tests' own."""
        root = self.sh("ca", "cat /etc/step-ca/certs/root_ca.crt", ok=True).out
        for host in ("client", *self.state.hosts):
            self.put(host, ROOT_FILE, root)

    def put(self, host: str, path: str, content: str | bytes, mode: int = 0o644) -> None:
        """Write a file on a host or on the client."""
        data = content.encode() if isinstance(content, str) else content
        container = self.docker.containers.get(self.state.container(self.roles.get(host, host)))
        container.put_archive("/", pack({path: (data, mode)}))

    def address(self, host: str) -> str:
        """IPv4 address of a host or role."""
        return self.state.hosts[self.roles.get(host, host)]

    def curl(self, url: str, *options: str, host: str = "client") -> Answer:
        """Ask from the client, which trusts the site's root alone."""
        words = ["curl", "-sS", "-i", "--max-time", "20", "--cacert", ROOT_FILE, *options, url]
        done = self.sh(host, shlex.join(words))
        head, _, body = done.out.replace("\r\n", "\n").partition("\n\n")
        while head.startswith(("HTTP/1.1 1", "HTTP/2 1")):  # 100 Continue comes before the answer
            head, _, body = body.partition("\n\n")
        first, *rest = head.splitlines() or [""]
        version, status = first.split(" ")[:2] if first else ("", "0")
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in rest)
        }
        return Answer(int(status), version, headers, body, done.err.strip())

    def qdrant(self, path: str, *options: str, host: str = "client") -> Answer:
        """Ask Qdrant through the gateway, with its API key."""
        key = self.secrets["qdrant_service_api_key"]
        url = f"https://qdrant.{self.site.domain}{path}"
        return self.curl(url, "-H", f"api-key: {key}", *options, host=host)

    def s_client(self, address: str, name: str, *options: str, host: str = "client") -> Output:
        """`openssl s_client` to port 443 (or ADDRESS:PORT) with server name `name`."""
        target = address if ":" in address else f"{address}:443"
        words = ["openssl", "s_client", "-connect", target, "-servername", name,
                 "-CAfile", ROOT_FILE, *options]  # fmt: skip
        return self.sh(host, f"timeout 15 {shlex.join(words)} </dev/null")

    def asker(self, address: str, port: int) -> str:
        """Who may connect there by TCP: the client, if a flow says so, else a host of the site."""
        for flow in firewall.flows(self.site):
            if (
                isinstance(flow.destination, Host)
                and str(flow.destination.address) == address
                and flow.port == port
            ):
                return flow.source.name if isinstance(flow.source, Host) else "client"
        raise LookupError(f"no flow leads to {address} port {port}")

    def _shown(self, address: str, port: int) -> tuple[str, ...]:
        """openssl's options for the certificate that a client must show there."""
        if address == self.address("traefik"):
            return ("-cert", CLIENT_CERTIFICATE, "-key", CLIENT_CERTIFICATE)
        agents = (control_plane.agent(self.site, host) for host in self.site.agents)
        if (address, port) not in {(str(agent.owner.address), agent.port) for agent in agents}:
            return ()
        pair = f"{CERTIFICATES}/host"
        chain = f"{pair}/fullchain.pem"
        return ("-cert", chain, "-cert_chain", chain, "-key", f"{pair}/privkey.pem")

    def handshake(self, where: str, name: str, *options: str, roots: str = "") -> Output:
        """`openssl s_client` with ADDRESS:PORT, where it is let in; the name must be `name`.

        Its certificate must verify by `roots` (PEM) alone, else by what the client trusts.
        """
        address, port = where.split(":")
        host, proof = self.asker(address, int(port)), self._shown(address, int(port))
        self.put(host, ASKED, roots or self.sh("client", f"cat {ROOT_FILE}", ok=True).out)
        words = ["openssl", "s_client", "-connect", where, "-servername", name,
                 "-verify_hostname", name, "-verify_return_error",
                 "-no-CApath", "-no-CAstore", "-CAfile", ASKED, *proof, *options]  # fmt: skip
        return self.sh(host, f"timeout 15 {shlex.join(words)} </dev/null")

    def leaf(self, where: str, name: str, *look: str) -> str:
        """What `openssl x509` says of the leaf that is served and verified there; else empty."""
        done = self.handshake(where, name)
        if done.code != 0 or "BEGIN CERTIFICATE" not in done.out:
            return ""
        self.put("client", "/root/leaf.pem", done.out)
        words = ["openssl", "x509", "-in", "/root/leaf.pem", "-noout", *look]
        return self.sh("client", shlex.join(words), ok=True).out

    def serves(self, route: routes.Route) -> str:
        """Empty where the client gets 200 for a route, else what it got."""
        answer = self.curl(f"https://{route.fqdn}{route.health_path}")
        return "" if answer.status == 200 else f"{route.fqdn}: {answer}"

    def unit(self, role: str) -> dict[str, str]:
        """What systemd knows of a role's service; equal before and after: it went on untouched."""
        return self.units_of(role, [UNITS[role]])[UNITS[role]]

    def units_of(self, host: str, units: Sequence[str]) -> dict[str, dict[str, str]]:
        """`UNIT_PROPERTIES` of units of a host."""
        words = shlex.join(["systemctl", "show", "-p", f"Id,{UNIT_PROPERTIES}", *units])
        blocks = self.sh(host, words, ok=True).out.strip().split("\n\n")
        properties = [dict(line.split("=", 1) for line in block.splitlines()) for block in blocks]
        return {block["Id"]: block for block in properties}

    def workers(self) -> str:
        """Process ids of nginx's workers: a reload replaces them."""
        return self.sh("gateway", "pgrep -f '^nginx: worker process$'", ok=True).out

    @contextmanager
    def unguarded(self, *hosts: str) -> Iterator[None]:
        """Without these hosts' guards, for what else stands in an attacker's way."""
        for host in hosts:
            self.sh(host, f"systemctl stop {GUARD}", ok=True)
        try:
            yield
        finally:
            for host in hosts:
                self.sh(host, f"systemctl start {GUARD}", ok=True)

    def ssh(self, host: str, *options: str) -> subprocess.CompletedProcess[str]:
        """Log in from this machine as the operator does, and run `true`."""
        return subprocess.run(
            ["ssh", "-i", str(self.state.ssh_key), "-o", "IdentitiesOnly=yes",
             "-o", f"UserKnownHostsFile={self.state.known_hosts}", "-o", "BatchMode=yes",
             "-o", "StrictHostKeyChecking=yes", "-o", "ConnectTimeout=10", *options,
             f"root@{self.address(host)}", "true"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip


def print_figure(label: str, value: Any) -> None:
    """Say what a test measured (`pytest -s`, or on failure)."""
    print(f"{label}: {value}")  # noqa: T201


def eventually(
    what: str,
    look: Callable[[], bool],
    seconds: float = 120,
    instead: Callable[[], object] = lambda: "",
) -> None:
    """Wait for a state; fails where it does not come, saying what, and what is seen instead.

    Args:
        seconds: what a quiet machine may need; a slow one gets more.
    """
    seconds *= deadline_factor()
    deadline = time.monotonic() + seconds
    while not look():
        if time.monotonic() > deadline:
            raise missed(what, seconds, str(instead()))
        time.sleep(0.5)
