"""A double of the Docker Engine on a Unix socket: just what Portainer and compose ask of it.

What a service does is in its compose file: an image with ``missing`` in its name can't be pulled;
the labels ``double.unhealthy``, ``double.crash`` and ``double.slow`` (seconds, or ``held``: until
`go_on` is set) do what they say.
"""

from __future__ import annotations

import hashlib
import json
import re
import socketserver
import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

from tests.contract.swarm_double import SwarmDouble

LOG_LINE = "double: the service's own last words"


class DockerDouble:
    def __init__(self, socket_path: Path) -> None:
        self.containers: dict[str, dict[str, Any]] = {}
        self.swarm = SwarmDouble()
        self.requests: list[str] = []
        self.pulled: list[str] = []
        self.registry_auth: list[str] = []
        self.content_type = "application/json"  # as of every answer of the real Engine
        self.lock = threading.Lock()
        self.begun, self.go_on = threading.Event(), threading.Event()
        double = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def address_string(self) -> str:
                return "unix"

            def log_message(self, *args: object) -> None:
                pass

            def do(self) -> None:
                double.answer(self)

            do_GET = do_POST = do_DELETE = do_HEAD = do  # noqa: N815

        class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
            daemon_threads = True
            request_queue_size = 64

        self.server = Server(str(socket_path), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    # -- the engine ----------------------------------------------------------------------------

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        query = {k: v[0] for k, v in parse_qs(parts.query).items()}
        path = re.sub(r"^/v1\.\d+", "", unquote(parts.path))
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        self.requests.append(f"{handler.command} {path}")
        if path == "/images/create":
            self.registry_auth.append(handler.headers.get("X-Registry-Auth") or "")
        if path.startswith("/exec/") and path.endswith("/start"):
            self.echo(handler)
            return
        status, content = self.swarm.route(handler.command, path, query, body) or self.route(
            handler.command, path, query, body
        )
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        handler.send_response(status)
        if self.content_type:
            handler.send_header("Content-Type", self.content_type)
        handler.send_header("Content-Length", str(len(data)))
        if handler.headers.get("Connection") == "close":
            handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(data)

    def route(self, method: str, path: str, query: dict[str, str], body: bytes) -> tuple[int, Any]:
        if path == "/_ping":
            return 200, b"OK"
        if path == "/info":
            running = len(self.containers)
            return 200, {
                "ServerVersion": "double", "ContainersRunning": running, **self.swarm.info(),
            }  # fmt: skip
        if path == "/double/up":
            return self.up(json.loads(body))
        if path == "/double/down":
            return self.down(json.loads(body)["project"])
        if path == "/containers/json":
            return 200, self.listed(json.loads(query.get("filters", "{}")))
        if path == "/images/create":
            if "missing" in query["fromImage"]:
                return 404, {"message": f"manifest for {query['fromImage']} not found"}
            self.pulled.append(query["fromImage"])
            return 200, b'{"status":"Pulling"}\n{"status":"Downloaded"}\n'
        if path.startswith("/images/"):
            image = path.removeprefix("/images/").removesuffix("/json")
            present = "missing" not in image
            return (200, {"Id": image}) if present else (404, {"message": "No such image"})
        match = re.fullmatch(r"/containers/(\w+)(/\w+)?", path)
        container = self.containers.get(match[1]) if match else None
        if match is None or container is None:
            return 404, {"message": f"No such container or page: {path}"}
        return self.route_container(method, match[2], container)

    def listed(self, filters: dict[str, list[str]]) -> list[dict[str, Any]]:
        """The containers that have all labels of the filters."""
        pairs = [label.partition("=")[::2] for label in filters.get("label", ())]
        return [
            row
            for row in self.containers.values()
            if all(row["Labels"].get(name) == value for name, value in pairs)
        ]

    def route_container(
        self, method: str, action: str | None, container: dict[str, Any]
    ) -> tuple[int, Any]:
        if method == "DELETE":
            del self.containers[container["Id"]]
            return 204, b""
        if action == "/logs":
            line = f"{LOG_LINE} {container['Env'].get('PASSWORD', '')}\n".encode()
            return 200, b"\x02\0\0\0" + len(line).to_bytes(4, "big") + line
        if action == "/stop":
            container.update(State="exited", Status="Exited (0) 1 second ago")
            return 204, b""
        if action == "/restart":
            container.update(State="running", Status="Up 1 second (healthy)")
            return 204, b""
        if action == "/exec":
            return 201, {"Id": "e" * 64}
        run = {"StartedAt": container.get("StartedAt")}
        return 200, container | {"State": run, "RestartCount": container.get("RestartCount", 0)}

    def echo(self, handler: BaseHTTPRequestHandler) -> None:
        """An exec session that says what it hears."""
        handler.close_connection = True
        handler.wfile.write(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
        while data := handler.rfile.read1(4096):
            handler.wfile.write(b"echo:" + data)

    # -- compose -------------------------------------------------------------------------------

    def up(self, ask: dict[str, Any]) -> tuple[int, Any]:
        content = ask["content"]
        for name, value in {**ask["env"], **ask["outer"]}.items():
            content = content.replace(f"${{{name}}}", value)
        services = yaml.safe_load(content)["services"]
        if ask["prune"]:  # compose removes what is left over before it makes anything
            for container in self.of(ask["project"]):
                if container["Labels"]["com.docker.compose.service"] not in services:
                    del self.containers[container["Id"]]
        for name, service in services.items():
            for port in self.ports(service):
                holder = self.holder(port, ask["project"], name)
                if holder:
                    words = f"Bind for 0.0.0.0:{port} failed: port is already allocated"
                    return 500, f"{name} Error driver failed programming: {words}".encode()
            if "missing" in service["image"]:
                return 500, f"{name} Error manifest for {service['image']} not found".encode()
            self._take_time(service.get("labels", {}).get("double.slow", "0"))
        with self.lock:
            for name, service in services.items():
                self.service_up(ask, name, service)
        return 200, b"done"

    def _take_time(self, slow: str) -> None:
        if slow == "held":
            self.begun.set()
            self.go_on.wait(60)
        else:
            time.sleep(float(slow))

    @staticmethod
    def ports(service: dict[str, Any]) -> list[str]:
        """The host's ports that a service publishes, from the form HOST:CONTAINER."""
        return [str(port).partition(":")[0] for port in service.get("ports", [])]

    def holder(self, port: str, project: str, service: str) -> dict[str, Any] | None:
        """The running container of another service that has the host's port."""
        for container in self.containers.values():
            labels = container["Labels"]
            own = (labels["com.docker.compose.project"], labels["com.docker.compose.service"])
            if own != (project, service) and port in container["HostPorts"]:
                return container if container["State"] == "running" else None
        return None

    def service_up(self, ask: dict[str, Any], name: str, service: dict[str, Any]) -> None:
        text = json.dumps([ask["project"], name, service])
        digest = hashlib.sha256(text.encode()).hexdigest()
        old = [
            c for c in self.of(ask["project"]) if c["Labels"]["com.docker.compose.service"] == name
        ]
        if old and old[0]["Labels"]["hash"] == digest and not ask["recreate"]:
            if old[0]["State"] != "running":
                old[0].update(State="running", Status="Up 1 second (healthy)")
            return
        for container in old:
            del self.containers[container["Id"]]
        labels = service.get("labels", {})
        state, status = "running", "Up 1 second (healthy)"
        if "double.unhealthy" in labels:
            status = "Up 1 second (unhealthy)"
        if "double.crash" in labels:
            state, status = "exited", "Exited (3) 1 second ago"
        identity = self.add(
            ask["project"], name, ask["directory"], state, status, digest, ask["env"]
        )
        own = {key: str(value) for key, value in labels.items()}
        self.containers[identity]["Labels"] = own | self.containers[identity]["Labels"]
        self.containers[identity]["HostPorts"] = self.ports(service)

    def add(
        self,
        project: str,
        service: str,
        directory: str,
        state: str = "running",
        status: str = "Up 1 second (healthy)",
        digest: str = "",
        env: dict[str, str] | None = None,
    ) -> str:
        stamp = f"{project}{service}{time.monotonic_ns()}".encode()
        identity = hashlib.sha256(stamp).hexdigest()
        self.containers[identity] = {
            "Id": identity,
            "Names": [f"/{project}-{service}-1"],
            "Image": "image",
            "State": state,
            "Status": status,
            "Env": env or {},
            "HostPorts": [],
            "Labels": {
                "com.docker.compose.project": project,
                "com.docker.compose.service": service,
                "com.docker.compose.project.working_dir": re.sub(
                    r"^.*/data/compose", "/data/compose", directory
                ),
                "hash": digest,
            },
        }
        return identity

    def of(self, project: str) -> list[dict[str, Any]]:
        return [
            c
            for c in list(self.containers.values())
            if c["Labels"]["com.docker.compose.project"] == project
        ]

    def down(self, project: str) -> tuple[int, Any]:
        with self.lock:
            for container in self.of(project):
                del self.containers[container["Id"]]
        return 200, b"done"
