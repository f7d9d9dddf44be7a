"""The questions to a host's Docker Engine, whoever carries them: Portainer, or SSH.

Source of the paths and fields: the Docker Engine API, v1.41.
"""

from __future__ import annotations

import contextlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from . import errors
from .dockerlogs import demultiplex
from .models import PROJECT_LABEL, ContainerDetails, ContainerSummary, answer_as

READ_SECONDS = 60.0
DEPLOY_SECONDS = 930.0  # Portainer gives a deployment 15 minutes; synchronous ones hold the answer


def _value(answer: bytes) -> Any:
    """An answer of the Engine's as a value.

    Raises:
        errors.AnswerError: it is not JSON.
    """
    try:
        return json.loads(answer)
    except ValueError:
        raise errors.AnswerError("Docker's is not JSON") from None


def _rows(answer: bytes) -> list[Any]:
    rows = _value(answer) or []
    if not isinstance(rows, list):
        raise errors.AnswerError("Docker's is no list")
    return rows


class DockerEngine(ABC):
    """A Docker Engine behind `_docker`."""

    deploy_seconds: float = DEPLOY_SECONDS

    @abstractmethod
    def _docker(
        self,
        method: str,
        endpoint_id: int,
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
        read_seconds: float = READ_SECONDS,
    ) -> bytes:
        """Ask the Engine of an environment.

        Raises:
            errors.ApiError: its answer is an error; NotFoundError for 404.
            errors.UnreachableError: it does not answer.
        """

    def containers(self, endpoint_id: int, project: str) -> tuple[ContainerSummary, ...]:
        """The containers of one compose project, stopped ones too.

        How often a container was restarted is asked of those alone that have not run for long.
        """
        return tuple(
            self._with_restarts(endpoint_id, answer_as(ContainerSummary, row))
            for row in self._container_rows(endpoint_id, project)
        )

    def _container_rows(self, endpoint_id: int, project: str = "") -> list[Any]:
        """Docker's rows of the containers of one compose project; of all where none is named."""
        query: dict[str, str | int] = {"all": 1}
        if project:
            query["filters"] = json.dumps({"label": [f"{PROJECT_LABEL}={project}"]})
        return _rows(self._docker("GET", endpoint_id, "/containers/json", query=query))

    def _with_restarts(self, endpoint_id: int, container: ContainerSummary) -> ContainerSummary:
        if not container.is_young:
            return container
        path = f"/containers/{quote(container.id)}/json"
        try:
            answer = self._docker("GET", endpoint_id, path)
        except errors.NotFoundError:  # gone since
            return container
        details = answer_as(ContainerDetails, _value(answer))
        return container.model_copy(update={"details": details})

    def container_logs(self, endpoint_id: int, container_id: str, lines: int = 20) -> list[str]:
        """The last `lines` lines of both streams."""
        query: dict[str, str | int] = {"stdout": 1, "stderr": 1, "tail": lines}
        path = f"/containers/{quote(container_id)}/logs"
        return demultiplex(self._docker("GET", endpoint_id, path, query=query))[-lines:]

    def restart_container(self, endpoint_id: int, container_id: str) -> None:
        """Restarts one container: compose never touches an unhealthy one by itself."""
        path = f"/containers/{quote(container_id)}/restart"
        self._docker("POST", endpoint_id, path, read_seconds=120.0)

    def remove_container(self, endpoint_id: int, container_id: str) -> None:
        """Stops a container and removes it; its volumes stay. Already gone counts as done."""
        path = f"/containers/{quote(container_id)}"
        with contextlib.suppress(errors.NotFoundError):
            self._docker("POST", endpoint_id, f"{path}/stop", read_seconds=120.0)
            self._docker("DELETE", endpoint_id, path, query={"force": 1}, read_seconds=120.0)

    def image_present(self, endpoint_id: int, image: str) -> bool:
        """Whether the environment's Docker already has this image."""
        try:
            self._docker("GET", endpoint_id, f"/images/{quote(image, safe='/:@')}/json")
        except errors.NotFoundError:
            return False
        return True

    def pull_image(self, endpoint_id: int, image: str) -> str | None:
        """Pulls an image; returns Docker's reason when it can't, None when it's there.

        Docker answers a pull with 200 and a stream of JSON lines; a failure may be a status or
        the ``error`` of the last line.
        """
        try:
            answer = self._docker(
                "POST",
                endpoint_id,
                "/images/create",
                query={"fromImage": image},
                headers=self._registry_headers(image),
                read_seconds=self.deploy_seconds,
            )
        except errors.ApiError as error:
            return error.message or f"HTTP {error.status}"
        for line in answer.decode(errors="replace").splitlines():
            try:
                step = json.loads(line)
            except ValueError:
                continue
            if isinstance(step, dict) and step.get("error"):
                return str(step["error"])
        return None

    def hidden_labels(self) -> frozenset[tuple[str, str]]:
        """Labels whose containers are left out of every list; empty where all are listed."""
        return frozenset()

    def _registry_headers(self, image: str) -> Mapping[str, str]:  # noqa: ARG002
        """The header that names the credentials for the image's registry; empty for none."""
        return {}
