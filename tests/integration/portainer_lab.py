"""Portainer and the stacks as tests see them: by curl, by Docker in the guests, never by our code.

Everything is asked of the lab's hosts themselves, so that a mistake of the project's own API client
cannot hide in its tests.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import pytest

from phoenix.components.portainer.compose_files import API_KEY_FILE
from phoenix.components.trust import ROOTS
from phoenix.derived.control_plane import portainer_url
from phoenix.site.model import Deployment
from tests.integration.project import Project, Run
from tests.integration.site_lab import ROOT_FILE, SiteLab, eventually

T = TypeVar("T")
BODY = "/root/phoenix-it-body.json"  # what is sent must not stand in a command line
EMULATOR = "phoenix-lab-portainer"
_REQUEST = re.compile(r"request (?P<method>[A-Z]+) (?P<path>\S+) (?P<status>\d+)")


@dataclass(frozen=True)
class Container:
    """What Docker says of one container; equal before and after: it went on untouched."""

    name: str
    id: str
    image: str
    started: str
    restarts: int
    status: str
    health: str


@dataclass(frozen=True)
class PortainerLab:
    """The control plane of a converged lab."""

    site: SiteLab

    @cached_property
    def server(self) -> str:
        """The guest with Portainer's server."""
        assert self.site.site.portainer
        return self.site.site.portainer.name

    @cached_property
    def agent(self) -> str:
        """The guest with the agent and the stacks."""
        (agent,) = self.site.site.agents
        return agent.name

    @cached_property
    def stacks(self) -> dict[str, Deployment]:
        """The agent's declared stacks, by name."""
        return {stack.name: stack for stack in self.site.site.host(self.agent).docker_stacks}

    @cached_property
    def qdrant(self) -> str:
        """Qdrant's project."""
        return self.stacks["qdrant_service"].project

    @cached_property
    def app(self) -> str:
        """The application's project."""
        return self.stacks["thinkheads_ai_app"].project

    @property
    def endpoint_name(self) -> str:
        """Its environment's name in Portainer."""
        return self.site.site.host(self.agent).portainer_environment

    # -- Docker in the guests ------------------------------------------------------------------

    def containers(self, project: str, host: str | None = None) -> dict[str, Container]:
        """All containers of a compose project, stopped ones too."""
        label = f"label=com.docker.compose.project={project}"
        listed = self.site.sh(
            host or self.agent,
            f"docker ps -aq --no-trunc --filter {label} | xargs -r docker inspect",
            ok=True,
        ).out
        by_name = {}
        for row in json.loads(listed or "[]"):
            state, name = row["State"], row["Name"].lstrip("/")
            health = state.get("Health", {}).get("Status", "")
            by_name[name] = Container(
                name, row["Id"], row["Config"]["Image"], state["StartedAt"], row["RestartCount"],
                state["Status"], health,
            )  # fmt: skip
        return by_name

    def running(self) -> dict[str, dict[str, Container]]:
        """Every project's containers: both stacks, the server and the agent."""
        return {
            self.qdrant: self.containers(self.qdrant),
            self.app: self.containers(self.app),
            "server": self.containers("phoenix-portainer", self.server),
            "agent": self.containers("phoenix-portainer-agent"),
        }

    def container_of(self, project: str) -> Container:
        """The one container of a stack."""
        containers_seen = self.containers(project)
        assert len(containers_seen) == 1, f"{project} has {containers_seen}"
        return next(iter(containers_seen.values()))

    # -- Portainer's API -----------------------------------------------------------------------

    def api(
        self, method: str, path: str, body: object = None, *, key: str = f"@{API_KEY_FILE}"
    ) -> tuple[int, Any]:
        """Ask the server from its own guest: status and JSON (or text)."""
        data = ""
        if body is not None:
            self.site.put(self.server, BODY, json.dumps(body), 0o600)
            data = f"-H 'Content-Type: application/json' --data-binary @{BODY}"
        answer = self.site.sh(
            self.server,
            f"curl -sS --max-time 120 --cacert {ROOTS} "
            f"-H '{key}' -X {method} {data} -w '\\n%{{http_code}}' "
            f"'{portainer_url(self.site.site)}/api{path}'; rm -f {BODY}",
        )
        text, _, status = answer.out.rpartition("\n")
        assert status.isdigit(), answer
        try:
            return int(status), json.loads(text)
        except ValueError:
            return int(status), text

    def get(self, path: str) -> Any:
        """A 200 answer's JSON."""
        status, answer = self.api("GET", path)
        assert status == 200, (path, status, answer)
        return answer

    def endpoint(self) -> dict[str, Any]:
        """The agent's endpoint: exactly one, and no other."""
        endpoints = self.get("/endpoints?excludeSnapshots=true")
        assert [row["Name"] for row in endpoints] == [self.endpoint_name], endpoints
        row: dict[str, Any] = endpoints[0]
        return row

    def stack(self, project: str) -> dict[str, Any]:
        """One stack's row: exactly one of its name."""
        rows = [row for row in self.get("/stacks") if row["Name"] == project]
        assert len(rows) == 1, f"{project}: {rows}"
        row: dict[str, Any] = rows[0]
        return row

    def stack_file(self, project: str) -> str:
        """The compose file that Portainer has."""
        content: str = self.get(f"/stacks/{self.stack(project)['Id']}/file")["StackFileContent"]
        return content

    def change_stack(
        self, project: str, method: str, action: str = "", body: object = None
    ) -> None:
        """What a person does in Portainer's pages."""
        row = self.stack(project)
        path = f"/stacks/{row['Id']}{action}?endpointId={row['EndpointId']}"
        status, answer = self.api(method, path, body)
        assert status in (200, 204), (path, status, answer)

    def login(self, password: str) -> tuple[int, Any]:
        """A person's login, from the client through the gateway."""
        self.site.put("client", BODY, json.dumps({"username": "admin", "password": password}))
        answer = self.site.curl(
            f"{self.url}/api/auth", "-H", "Content-Type: application/json",
            "--data-binary", f"@{BODY}",
        )  # fmt: skip
        self.site.sh("client", f"rm {BODY}")
        return answer.status, json.loads(answer.body) if answer.body else answer.error

    @property
    def url(self) -> str:
        """Portainer as people know it."""
        return f"https://portainer.{self.site.site.domain}"

    def requests(self) -> list[tuple[str, str, int]]:
        """Method, path and status of every request since the server's container was made."""
        if not self.site.state.images["portainer"].startswith(EMULATOR):
            pytest.skip("upstream's Portainer keeps no log of requests")
        output = self.site.sh(self.server, "docker logs portainer 2>&1", ok=True).out
        matches = [match for line in output.splitlines() if (match := _REQUEST.fullmatch(line))]
        return [(match["method"], match["path"], int(match["status"])) for match in matches]

    def sent_by(self, run: Callable[[], T]) -> tuple[T, list[tuple[str, str, int]]]:
        """What `run` gives, and the requests that reached Portainer meanwhile."""
        before = self.requests()
        done = run()
        after = self.requests()
        assert after[: len(before)] == before, "the server's container was replaced meanwhile"
        return done, after[len(before) :]

    # -- the client ----------------------------------------------------------------------------

    def serving(self) -> dict[str, int]:
        """Status of each routed service for a client that trusts the root alone."""
        return {
            route.fqdn: self.site.curl(f"https://{route.fqdn}{route.health_path}").status
            for route in self.site.backends
        }

    def assert_serving(self) -> None:
        """Portainer and both stacks answer."""
        statuses = self.serving()
        assert len(statuses) >= 3, statuses
        assert set(statuses.values()) == {200}, statuses

    def eventually(self, what: str, look: Callable[[], bool], seconds: float = 90) -> None:
        """Wait until `look` is true."""
        eventually(what, look, seconds, self.running)

    def wait_well(self) -> None:
        """Wait until the stacks' containers are healthy."""
        self.eventually(
            "every container is healthy",
            lambda: all(
                container.health == "healthy"
                for project in (self.qdrant, self.app)
                for container in self.containers(project).values()
            ),
        )


def planned(project: Project, *deploys: str) -> Run:
    """What a run would change, as `pyinfra --dry` says it in JSON; it changes nothing."""
    return project.start("inventories/lab.py", *deploys, "--dry", "--json", "--diff").finish()


__all__ = ["BODY", "ROOT_FILE", "Container", "PortainerLab", "planned"]
