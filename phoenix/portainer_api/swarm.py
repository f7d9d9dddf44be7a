"""Stacks of a Docker Swarm through Portainer: services and tasks, seen as stacks and containers.

Portainer deploys one by ``docker stack deploy`` on a manager. Its services are on every node, so
Docker's lists of containers tell of none: tasks do. A task runs once its container is healthy, and
Docker replaces one that fails, so health is a matter of time and of the tasks before.

Source of paths and fields: the Docker Engine API, v1.41; labels: docker/cli,
cli/compose/convert.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import quote

from . import errors
from .client import PortainerClient
from .dockerlogs import demultiplex
from .models import (
    NAMESPACE_LABEL,
    PROJECT_LABEL,
    SERVICE_LABEL,
    ContainerSummary,
    Stack,
    StackType,
)
from .sync import ObservedStack, ServiceState, matching

OWN_LABEL = "phoenix.stack"
"""The label of secrets and configs that Phoenix has made: the stack's name."""
_IMAGE_LABEL = "com.docker.stack.image"
_UNDER_WAY = ("updating", "rollback_started")
_STOPPED = ("paused", "rollback_paused", "rollback_completed")
_ENDED = ("complete", "failed", "rejected", "shutdown", "orphaned", "remove")
_FAILURES, _RECENT_SECONDS = 3, 300
"""So many tasks of a service that failed in so long are a service that does not start."""


@dataclass(frozen=True)
class SwarmFile:
    """A file of a stack, as the swarm keeps it; it can be made and removed, and never changed.

    Attributes:
        name: of the secret or config: another content has another name.
        content: of the file; never shown.
        secret: whether it is a Swarm secret, which nobody can read back, or a config.
    """

    name: str
    content: bytes = field(repr=False)
    secret: bool

    @property
    def kind(self) -> str:
        """What Docker's API calls such things."""
        return "secrets" if self.secret else "configs"


class SwarmStacks:
    """A `StackEngine` for the Swarm stacks of the swarm that an environment's manager is in.

    Args:
        client: a client that is logged in.
        files: of the one stack that is deployed by this engine.
    """

    def __init__(self, client: PortainerClient, files: Sequence[SwarmFile] = ()) -> None:
        """Ask nothing yet."""
        self.client = client
        self.files = tuple(files)
        self.clock: Callable[[], float] = client.clock
        self.sleep: Callable[[float], None] = client.sleep

    def _docker(
        self, method: str, endpoint_id: int, path: str, *,
        query: Mapping[str, str | int] | None = None, body: Any = None,
    ) -> Any:  # fmt: skip
        return self.client.docker_json(method, endpoint_id, path, query=query, body=body)

    def _of_stack(self, endpoint_id: int, kind: str, project: str) -> list[dict[str, Any]]:
        return self.client.of_swarm_stack(endpoint_id, kind, project)

    def _swarm(self, endpoint_id: int) -> tuple[str, datetime | None]:
        """The swarm's id, and the manager's time.

        Raises:
            errors.InvalidInputError: the environment's Docker is no manager.
        """
        info = self._docker("GET", endpoint_id, "/info")
        swarm = info.get("Swarm") or {}
        cluster = (swarm.get("Cluster") or {}).get("ID")
        if not swarm.get("ControlAvailable") or not cluster:
            why = swarm.get("Error") or swarm.get("LocalNodeState") or "nothing is told"
            raise errors.InvalidInputError(
                f"Docker there is no manager of a swarm that works ({why}): a Swarm stack needs "
                "one, and `phoenix sync swarm` makes it"
            )
        return str(cluster), _time(info.get("SystemTime"))

    # -- reads ---------------------------------------------------------------------------------

    def observe(self, name: str, endpoint_id: int) -> ObservedStack:
        """The stack of this (normalised) name, its file, and its tasks as containers."""
        swarm, now = self._swarm(endpoint_id)
        rows = self.client.stacks()
        matches = matching(rows, name, endpoint_id, StackType.SWARM)
        elsewhere = [
            row
            for row in rows
            if (row.type, row.swarm, row.name.lower()) == (StackType.SWARM, swarm, name)
        ]
        services = self._of_stack(endpoint_id, "services", name)
        return ObservedStack(
            matches,
            self.client.stored_file(matches),
            self._tasks(endpoint_id, name, services, now),
            elsewhere=None if matches else next(iter(elsewhere), None),
            rewrites=False,
            services={_service_name(row, name): _state(row) for row in services},
            other=next(iter(matching(rows, name, endpoint_id, StackType.COMPOSE)), None),
        )

    def containers(self, endpoint_id: int, project: str) -> tuple[ContainerSummary, ...]:
        """The tasks of a stack that are to run, one container each; its id is the service's."""
        _, now = self._swarm(endpoint_id)
        services = self._of_stack(endpoint_id, "services", project)
        return self._tasks(endpoint_id, project, services, now)

    def _tasks(
        self, endpoint_id: int, project: str, services: Iterable[Mapping[str, Any]],
        now: datetime | None,
    ) -> tuple[ContainerSummary, ...]:  # fmt: skip
        tasks = self._of_stack(endpoint_id, "tasks", project)
        containers: list[ContainerSummary] = []
        for service in services:
            name = _service_name(service, project)
            own = [task for task in tasks if task.get("ServiceID") == service["ID"]]
            found_by = _Containers(service, name, project)
            containers += found_by.of(own, now)
        return tuple(containers)

    def current(self, stack: Stack) -> Stack:
        """The stack, read again."""
        return self.client.current(stack)

    def container_logs(self, endpoint_id: int, container_id: str, lines: int = 20) -> list[str]:
        """The last lines of the task of a service that failed last; else of all of its tasks."""
        of_service: dict[str, str | int] = {"filters": json.dumps({"service": [container_id]})}
        tasks = self._docker("GET", endpoint_id, "/tasks", query=of_service) or ()
        failed = _last_failed(tasks)
        query: dict[str, str | int] = {"stdout": 1, "stderr": 1, "tail": lines}
        path = f"/services/{quote(container_id)}/logs"
        if failed is not None:
            path = f"/tasks/{quote(failed['ID'])}/logs"
        answer = self.client.docker_bytes("GET", endpoint_id, path, query=query)
        return demultiplex(answer)[-lines:]

    def hidden_labels(self) -> frozenset[tuple[str, str]]:
        """None: Portainer hides containers, and no tasks."""
        return frozenset()

    def image_present(self, endpoint_id: int, image: str) -> bool:  # noqa: ARG002
        """Yes: each node fetches what its tasks need by itself, and a task says what it lacks."""
        return True

    def pull_image(self, endpoint_id: int, image: str) -> str | None:  # noqa: ARG002
        """Nothing: see `image_present`."""
        return None

    # -- changes -------------------------------------------------------------------------------

    def create_stack(
        self, endpoint_id: int, name: str, content: str, env: Mapping[str, str]
    ) -> Stack:
        """Make the stack's secrets and configs, store it and start it."""
        self._make_files(endpoint_id, name)
        swarm, _ = self._swarm(endpoint_id)
        return self.client.create_swarm_stack(endpoint_id, swarm, name, content, env)

    def update_stack(self, stack: Stack, content: str, env: Mapping[str, str]) -> Stack:
        """Make what is new of its secrets and configs, replace file and variables, and start it.

        Services that the file has no more are removed.
        """
        self._make_files(stack.endpoint_id, stack.name)
        return self.client.update_stack(stack, content, env)

    def start_stack(self, stack: Stack) -> Stack:
        """Start a stopped stack as it is stored."""
        self._make_files(stack.endpoint_id, stack.name)
        return self.client.start_stack(stack)

    def delete_stack(self, stack: Stack) -> None:
        """Remove services, networks, secrets and configs; volumes stay."""
        self.client.delete_stack(stack)

    def wait_deployed(self, stack: Stack, seconds: float, *, poll: float = 1.0) -> Stack:
        """Follow a deployment to its end: to the answer of ``docker stack deploy``."""
        return self.client.wait_deployed(stack, seconds, poll=poll)

    def keep_good(self, stack: Stack) -> None:
        """Remove the secrets and configs of earlier versions that no service uses any more."""
        used: set[str] = set()
        for service in self._of_stack(stack.endpoint_id, "services", stack.name):
            container = service["Spec"]["TaskTemplate"].get("ContainerSpec") or {}
            used |= {str(secret["SecretID"]) for secret in container.get("Secrets") or ()}
            used |= {str(config["ConfigID"]) for config in container.get("Configs") or ()}
        for kind in ("secrets", "configs"):
            for row in self._of_stack(stack.endpoint_id, kind, stack.name):
                if row["ID"] in used or OWN_LABEL not in (row["Spec"].get("Labels") or {}):
                    continue
                with contextlib.suppress(errors.ApiError):  # in use after all: Docker refuses
                    self._docker("DELETE", stack.endpoint_id, f"/{kind}/{quote(row['ID'])}")

    def _make_files(self, endpoint_id: int, project: str) -> None:
        for kind in dict.fromkeys(file.kind for file in self.files):
            names = {
                row["Spec"]["Name"] for row in self._of_stack(endpoint_id, kind, project)
            }  # fmt: skip
            for file in self.files:
                if file.kind != kind or file.name in names:
                    continue
                body = {
                    "Name": file.name,
                    "Labels": {NAMESPACE_LABEL: project, OWN_LABEL: project},
                    "Data": base64.b64encode(file.content).decode(),
                }
                with contextlib.suppress(errors.ConflictError):  # a lost answer: it is there
                    self._docker("POST", endpoint_id, f"/{kind}/create", body=body)

    def restart_container(self, endpoint_id: int, container_id: str) -> None:
        """Nothing: Docker replaces a task whose container is unhealthy by itself."""

    def remove_container(self, endpoint_id: int, container_id: str) -> None:
        """Remove one service, with its tasks; its volumes stay."""
        with contextlib.suppress(errors.NotFoundError):
            self._docker("DELETE", endpoint_id, f"/services/{quote(container_id)}")

    def associate_stack(self, stack: Stack, endpoint_id: int) -> Stack:
        """Give the stack to the environment of another manager of its swarm; no task is touched."""
        return self.client.associate_stack(stack, endpoint_id, stack.swarm)


def _service_name(row: Mapping[str, Any], project: str) -> str:
    return str(row["Spec"]["Name"]).removeprefix(f"{project}_")


def _state(row: Mapping[str, Any]) -> ServiceState:
    spec = row["Spec"]
    image = str((spec["TaskTemplate"].get("ContainerSpec") or {}).get("Image") or "")
    replicated = (spec.get("Mode") or {}).get("Replicated") or {}
    return ServiceState(
        replicas=replicated.get("Replicas"),
        image=image.partition("@")[0],
        deployed_image=str((spec.get("Labels") or {}).get(_IMAGE_LABEL) or ""),
    )


@dataclass
class _Containers:
    """The tasks of one service, in the words that Docker has for containers."""

    service: Mapping[str, Any]
    name: str
    project: str

    def of(
        self, tasks: Sequence[Mapping[str, Any]], now: datetime | None
    ) -> list[ContainerSummary]:
        """What of the service is to run; or the one fault that keeps it from that."""
        update = self.service.get("UpdateStatus") or {}
        if update.get("State") in _STOPPED:
            why = _last_fault(tasks) or update.get("Message") or update["State"]
            return [self._container(self.name, "dead", f"its update ended: {why}")]
        running = [task for task in tasks if task.get("DesiredState") not in _ENDED]
        states = [self._task(task, now) for task in running]
        failed = [task for task in tasks if _failed(task) and self._is_recent(task, now)]
        if len(failed) >= _FAILURES and not all(state.is_steady for state in states):
            return [
                self._container(
                    self.name, "dead", f"{len(failed)} tasks failed: {_last_fault(failed)}"
                )
            ]
        if update.get("State") in _UNDER_WAY:
            states.append(self._starting("its update is under way"))
        wanted_count = _state(self.service).replicas
        if not states and tasks and _newest(tasks)["Status"]["State"] == "complete":
            return [self._container(self.name, "exited", "Exited (0)")]
        if not states and wanted_count != 0:
            states.append(self._starting("no task yet"))
        return states

    def _is_recent(self, task: Mapping[str, Any], now: datetime | None) -> bool:
        ended, updated = (
            _time(task["Status"].get("Timestamp")),
            _time(self.service.get("UpdatedAt")),
        )
        created = _time(task.get("CreatedAt"))
        if ended is None or now is None:
            return False
        since_update = updated is None or created is None or created >= updated
        return since_update and (now - ended).total_seconds() < _RECENT_SECONDS

    def _task(self, task: Mapping[str, Any], now: datetime | None) -> ContainerSummary:
        status = task["Status"]
        label = f"{self.name}.{task.get('Slot') or str(task.get('NodeID') or '')[:12]}"
        if status["State"] != "running":
            why = f": {status['Err']}" if status.get("Err") else ""
            return self._starting(f"{status['State']}{why}", label)
        began = _time(status.get("Timestamp"))
        seconds = int((now - began).total_seconds()) if began and now else 0
        container = task["Spec"].get("ContainerSpec") or {}
        checked = bool(((container.get("Healthcheck") or {}).get("Test") or ["NONE"])[0] != "NONE")
        text = f"Up {_up(max(seconds, 0))}{' (healthy)' if checked else ''}"
        return self._container(label, "running", text)

    def _starting(self, why: str, label: str = "") -> ContainerSummary:
        return self._container(
            f"{label or self.name} ({why})", "running", "Up 1 second (health: starting)"
        )

    def _container(self, name: str, state: str, status: str) -> ContainerSummary:
        return ContainerSummary(
            id=str(self.service["ID"]), names=(name,), state=state, status=status,
            labels={PROJECT_LABEL: self.project, SERVICE_LABEL: self.name},
        )  # fmt: skip


def _failed(task: Mapping[str, Any]) -> bool:
    return task["Status"]["State"] in ("failed", "rejected")


def _newest(tasks: Iterable[Mapping[str, Any]]) -> Mapping[str, Any]:
    return max(tasks, key=lambda task: str(task.get("CreatedAt")))


def _last_failed(tasks: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    failed = [task for task in tasks if _failed(task)]
    return max(failed, key=lambda task: str(task["Status"].get("Timestamp")), default=None)


def _last_fault(tasks: Iterable[Mapping[str, Any]]) -> str:
    """What Docker says of the task that failed last."""
    failed = _last_failed(tasks)
    return "" if failed is None else str(failed["Status"].get("Err") or "it failed")


def _up(seconds: int) -> str:
    """So many seconds as Docker's status says it (go-units, HumanDuration)."""
    if seconds < 60:
        return f"{seconds} seconds"
    return f"{seconds // 60} minutes" if seconds < 3600 else "2 hours"


_NANOSECONDS = re.compile(r"(\.\d{6})\d+")


def _time(text: object) -> datetime | None:
    """A time as Docker writes it, to the nanosecond; None where it is none."""
    try:
        return datetime.fromisoformat(_NANOSECONDS.sub(r"\1", str(text)))
    except ValueError:
        return None
