"""Environments (endpoints): registration with its ping and snapshot, and the Docker proxy."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from cryptography.hazmat.primitives.asymmetric import ec

from .console import serve_exec
from .http import Answer, HttpError, Request, json_answer, not_in_database
from .registries import Registries
from .relay import connect_agent, connect_unix, relay
from .signing import DEFAULT_MESSAGE, sign
from .store import Row, Store

_NO_ENDPOINT = "Unable to find an environment with the specified identifier inside the database"
_NOT_UNIQUE = "Name is not unique"
_LOCAL, _AGENT = 1, 2
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


@dataclass
class Environments:
    """The endpoints of the server.

    Attributes:
        key: signs every request to an agent.
        secret: AGENT_SECRET of this process; "" signs the well-known text instead.
    """

    store: Store
    key: ec.EllipticCurvePrivateKey
    secret: str
    registries: Registries

    def signature(self) -> dict[str, str]:
        """The headers an agent wants."""
        return sign(self.key, self.secret or DEFAULT_MESSAGE)

    def get(self, endpoint_id: int) -> Row:
        """One endpoint.

        Raises:
            HttpError: 404.
        """
        row = self.store.find("endpoints", endpoint_id)
        if row is None:
            raise HttpError(404, _NO_ENDPOINT, not_in_database("endpoints", endpoint_id))
        return row

    # -- handlers ------------------------------------------------------------------------------

    def index(self, request: Request) -> Answer:
        """GET /endpoints."""
        rows = self.store.rows("endpoints")
        name = request.query.get("name")
        matches = [row for row in rows if name is None or row["Name"] == name]
        counts = {"X-Total-Count": str(len(matches)), "X-Total-Available": str(len(rows))}
        bare = request.query.get("excludeSnapshots") == "true"
        return json_answer([_public(row, bare) for row in matches], headers=counts)

    def show(self, request: Request) -> Answer:
        """GET /endpoints/{id}."""
        bare = request.query.get("excludeSnapshot") == "true"
        return json_answer(_public(self.get(int(request.args["id"])), bare))

    def create(self, request: Request) -> Answer:
        """POST /endpoints: multipart; the agent is pinged and a snapshot taken first."""
        form = request.form()
        name = form.get("Name", "")
        kind = form.get("EndpointCreationType", "")
        if not name or kind not in ("1", "2"):
            raise HttpError(400, "Invalid request payload", "Invalid environment name or type")
        if any(row["Name"] == name for row in self.store.rows("endpoints")):
            raise HttpError(409, _NOT_UNIQUE)
        tls = form.get("TLS") == "true"
        if tls and form.get("TLSSkipVerify") != "true" and "TLSCACertFile" not in form:
            raise HttpError(400, "Invalid request payload", "Invalid CA certificate file")
        if tls and form.get("TLSSkipClientVerify") != "true" and "TLSCertFile" not in form:
            raise HttpError(400, "Invalid request payload", "Invalid certificate file")
        row = _row(name, int(kind), form, tls)
        if "://" not in row["URL"]:
            with self.store.lock:
                self.store.next_id("endpoints")  # it is used up all the same
                self.store.save()
            raise HttpError(
                500,
                "Unable to initiate communications with environment",
                f"unable to parse docker host `{row['URL']}`",
            )
        if row["Type"] == _AGENT:
            row["Agent"]["Version"] = self._ping(row["URL"], tls)
        self._snapshot(row)
        row["Snapshots"] = []
        with self.store.lock:
            row["Id"] = self.store.next_id("endpoints")
            self.store.rows("endpoints").append(row)
            self.store.save()
        return json_answer(row)

    def update(self, request: Request) -> Answer:
        """PUT /endpoints/{id}: absent fields stay; nothing is tested."""
        row, body = self.get(int(request.args["id"])), request.json()
        name = body.get("name")
        with self.store.lock:
            duplicates = [
                r for r in self.store.rows("endpoints") if r["Name"] == name and r is not row
            ]
            if duplicates:
                raise HttpError(409, _NOT_UNIQUE)
            for field, key in (("Name", "name"), ("URL", "url"), ("PublicURL", "publicurl"),
                               ("GroupId", "groupid"), ("TagIds", "tagids")):  # fmt: skip
                if body.get(key) is not None:
                    row[field] = body[key]
            for field, key in (("TLS", "tls"), ("TLSSkipVerify", "tlsskipverify")):
                if body.get(key) is not None:
                    row["TLSConfig"][field] = body[key]
            self.store.save()
        return json_answer(row)

    def delete(self, request: Request) -> Answer:
        """DELETE /endpoints/{id}: its stacks become orphans."""
        with self.store.lock:
            self.store.rows("endpoints").remove(self.get(int(request.args["id"])))
            self.store.save()
        return Answer(204)

    def snapshot(self, request: Request) -> Answer:
        """POST /endpoints/{id}/snapshot: 204 even when unreachable; that shows as Status 2."""
        self.refresh(self.get(int(request.args["id"])))
        return Answer(204)

    def refresh(self, row: Row) -> None:
        """Takes a snapshot and stores the status it shows."""
        try:
            self._snapshot(row)
            row["Status"] = 1
        except HttpError:
            row["Status"] = 2
        self.store.save()

    def proxy(self, request: Request) -> Answer | None:
        """ANY /endpoints/{id}/docker/...: the environment's Docker, streams included."""
        row = self.get(int(request.args["id"]))
        target = "/" + request.args["path"]
        if request.query_string:
            target += "?" + request.query_string
        if request.method == "GET" and request.args["path"].endswith("containers/json"):
            return self._containers(row, target)
        pulls = request.method == "POST" and request.args["path"].endswith("images/create")
        login = self.registries.put_credentials(request) if pulls else {}
        return self._forward(request, row, target, login)

    def _containers(self, row: Row, target: str) -> Answer:
        """A list of containers is rewritten: those with a hidden label are left out, admin or not.

        The server wants to know the type of what it reads: without one it answers 502.
        """
        try:
            status, kind, data = self.ask(row, "GET", target)
        except OSError as error:
            return self._away(row, error)
        if not kind:
            return Answer(502, b"mime: no media type\n", {"Content-Type": "text/plain"})
        if status != 200:
            return Answer(status, data, {"Content-Type": kind})
        hidden = {(pair["name"], pair["value"]) for pair in self.store.data.get("hidden", [])}
        rows = json.loads(data) or []
        return json_answer([row for row in rows if not hidden & set(row["Labels"].items())])

    def websocket(self, request: Request) -> Answer | None:
        """GET /websocket/exec: handed to the agent, which owns the session."""
        row = self.get(request.number("endpointId"))
        if row["Type"] != _AGENT:
            serve_exec(request, row["URL"].removeprefix("unix://"))
            return None
        return self._forward(
            request, row, f"/websocket/exec?id={quote(request.query.get('id', ''))}"
        )

    def _forward(
        self, request: Request, row: Row, target: str, more: Mapping[str, str] = _NO_HEADERS
    ) -> Answer | None:
        try:
            upstream, headers = self._open(row)
        except OSError as error:
            return self._away(row, error)
        relay(request.handler, upstream, target, headers | dict(more))
        return None

    @staticmethod
    def _away(row: Row, error: OSError) -> Answer:
        if row["Type"] == _AGENT:
            return Answer(502)  # Go's reverse proxy: no body at all
        words = "Unable to proxy the request via the Docker socket"
        return HttpError(500, words, str(error)).answer()

    # -- talking to Docker ---------------------------------------------------------------------

    def _open(self, row: Row) -> tuple[socket.socket, dict[str, str]]:
        if row["Type"] == _AGENT:
            return connect_agent(row["URL"]), self.signature()
        return connect_unix(row["URL"].removeprefix("unix://")), {}

    def ask(self, row: Row, method: str, target: str) -> tuple[int, str, bytes]:
        """One small request of the server's own to the environment's Docker.

        Returns:
            Status, Content-Type and body.

        Raises:
            OSError: unreachable.
        """
        upstream, headers = self._open(row)
        upstream.settimeout(30)
        connection = http.client.HTTPConnection("docker")
        connection.sock = upstream
        with contextlib.closing(connection):
            connection.request(method, target, headers={**headers, "Connection": "close"})
            answer = connection.getresponse()
            return answer.status, answer.getheader("Content-Type") or "", answer.read()

    def call(self, row: Row, method: str, target: str) -> tuple[int, Any]:
        """Status and JSON of such a request; None for a body that is not JSON.

        Raises:
            OSError: unreachable.
        """
        status, _, data = self.ask(row, method, target)
        try:
            return status, json.loads(data)
        except ValueError:
            return status, None

    def project_containers(self, row: Row, project: str) -> list[Row]:
        """The containers with the project's label, running or not.

        Raises:
            OSError: Docker can't be asked.
        """
        filters = quote(json.dumps({"label": [f"com.docker.compose.project={project}"]}))
        status, containers = self.call(row, "GET", f"/containers/json?all=1&filters={filters}")
        if status != 200:
            raise OSError(f"Docker answered {status}")
        return containers or []

    def stack_services(self, row: Row, stack: str) -> list[Row]:
        """The services of a swarm that have a stack's label.

        Raises:
            OSError: Docker can't be asked, or is no manager.
        """
        filters = quote(json.dumps({"label": [f"com.docker.stack.namespace={stack}"]}))
        status, services = self.call(row, "GET", f"/services?filters={filters}")
        if status != 200:
            raise OSError(f"Docker answered {status}")
        return services or []

    def _ping(self, url: str, tls: bool) -> str:
        """The agent's version, by ``GET /ping`` with three seconds to answer."""
        failed = HttpError(500, "Unable to get environment type", "agent ping failed")
        if not tls:
            raise failed  # the ping is https with verification then; a self-signed one fails
        try:
            upstream = connect_agent(url, timeout=3)
            upstream.settimeout(3)
            connection = http.client.HTTPConnection("agent")
            connection.sock = upstream
            with contextlib.closing(connection):
                connection.request("GET", "/ping")
                answer = connection.getresponse()
                version = answer.getheader("Portainer-Agent")
                if answer.status != 204 or not version:
                    raise failed
                return version
        except (OSError, http.client.HTTPException) as error:
            failed.details = str(error)
            raise failed from None

    def _snapshot(self, row: Row) -> None:
        failed = "Unable to initiate communications with environment"
        try:
            status, info = self.call(row, "GET", "/info")
        except (OSError, http.client.HTTPException) as error:
            raise HttpError(500, failed, str(error)) from None
        if status == 403:
            raise HttpError(500, failed, "Agent already paired with another Portainer instance")
        if status != 200 or not isinstance(info, dict):
            raise HttpError(500, failed, f"Docker answered {status}")
        row["Snapshots"] = [
            {
                "Time": int(time.time()),
                "DockerVersion": info.get("ServerVersion", ""),
                "Swarm": bool((info.get("Swarm") or {}).get("ControlAvailable")),
                "RunningContainerCount": info.get("ContainersRunning", 0),
            }
        ]


def _row(name: str, kind: int, form: dict[str, str], tls: bool) -> Row:
    url = form.get("URL") or "unix:///var/run/docker.sock"
    return {
        "Id": 0,
        "Name": name,
        "Type": kind,
        "ContainerEngine": form.get("ContainerEngine", ""),
        "URL": url,
        "GroupId": int(form.get("GroupID") or 1),
        "PublicURL": form.get("PublicURL", ""),
        "Gpus": [],
        "TLSConfig": {"TLS": tls, "TLSSkipVerify": form.get("TLSSkipVerify") == "true"},
        "TagIds": json.loads(form.get("TagIds") or "[]"),
        "Status": 1,
        "Snapshots": [],
        "UserAccessPolicies": {},
        "TeamAccessPolicies": {},
        "AzureCredentials": {"ApplicationID": "", "TenantID": "", "AuthenticationKey": ""},
        "EdgeKey": "",
        "EdgeCheckinInterval": 5,
        "Kubernetes": {"Snapshots": None, "Configuration": {"UseLoadBalancer": False}},
        "Agent": {"Version": ""},
    }


def _public(row: Row, bare: bool) -> Row:
    return {**row, "Snapshots": []} if bare else row
