"""The answers of Portainer and the Docker Engine, as frozen typed models.

Field names follow Python; aliases are Portainer's own. Unknown fields are ignored: servers from
2.21 to 2.45 differ, and new ones add fields.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from enum import IntEnum
from typing import Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
)

from phoenix.compose import dotenv

from . import errors

PROJECT_LABEL = "com.docker.compose.project"
SERVICE_LABEL = "com.docker.compose.service"
NAMESPACE_LABEL = "com.docker.stack.namespace"
"""Docker's label of everything that belongs to a Swarm stack."""
WORKING_DIR_LABEL = "com.docker.compose.project.working_dir"
ONE_OFF_LABEL = "com.docker.compose.oneoff"


_M = TypeVar("_M", bound=BaseModel)


def answer_as(model: type[_M], data: Any) -> _M:
    """An answer as its model.

    Raises:
        errors.AnswerError: it is of another form; names the place, and never a value.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        raise errors.AnswerError(f"no {model.__name__}: {place}: {first['msg']}") from None


def _none_is_empty(value: Any) -> Any:
    """Go encodes an empty slice as null; both mean empty."""
    return () if value is None else value


class _Model(BaseModel):
    model_config = ConfigDict(defer_build=True, frozen=True, populate_by_name=True, extra="ignore")


class StackType(IntEnum):
    """Portainer's stack types."""

    SWARM = 1
    COMPOSE = 2
    KUBERNETES = 3


class StackStatus(IntEnum):
    """A flag of Portainer's database, not the truth about containers; 3 and 4 since 2.45."""

    ACTIVE = 1
    INACTIVE = 2
    DEPLOYING = 3
    ERROR = 4


class SystemStatus(_Model):
    """GET /api/system/status."""

    version: str = Field(alias="Version")


class User(_Model):
    """The user behind the credentials in use."""

    id: int = Field(alias="Id")
    username: str = Field(alias="Username")
    role: int = Field(alias="Role")


class ApiKey(_Model):
    """An API key as the server lists it: without the key itself."""

    id: int
    description: str
    prefix: str = ""


class NewApiKey(_Model):
    """The only answer that ever carries the raw key."""

    raw: SecretStr = Field(alias="rawAPIKey")
    key: ApiKey = Field(alias="apiKey")


class TlsConfig(_Model):
    """How the server speaks TLS to an endpoint."""

    tls: bool = Field(default=False, alias="TLS")
    skip_verify: bool = Field(default=False, alias="TLSSkipVerify")


class Agent(_Model):
    """The agent, as of the last snapshot."""

    version: str = Field(default="", alias="Version")


class Endpoint(_Model):
    """An environment. ``status`` (1 up, 2 down) is as old as the last snapshot."""

    id: int = Field(alias="Id")
    name: str = Field(alias="Name")
    type: int = Field(alias="Type")
    url: str = Field(alias="URL")
    group_id: int = Field(default=1, alias="GroupId")
    status: int = Field(default=1, alias="Status")
    tls: TlsConfig = Field(default_factory=TlsConfig, alias="TLSConfig")
    agent: Agent = Field(default_factory=Agent, alias="Agent")


class Registry(_Model):
    """A registry; the server never tells its password."""

    id: int = Field(alias="Id")
    name: str = Field(alias="Name")
    url: str = Field(alias="URL")
    authentication: bool = Field(default=False, alias="Authentication")
    username: str = Field(default="", alias="Username")


class EnvVar(_Model):
    """One variable of a stack; its value counts as a secret."""

    name: str
    value: SecretStr

    @field_validator("value", mode="before")
    @classmethod
    def _absent_is_empty(cls, value: Any) -> Any:
        return "" if value is None else value


class DeploymentStep(_Model):
    """One entry of an asynchronous deployment's history."""

    status: int = Field(default=0, alias="Status")
    message: str = Field(default="", alias="Message")


class Stack(_Model):
    """A stack of Portainer's database."""

    id: int = Field(alias="Id")
    name: str = Field(alias="Name")
    type: int = Field(alias="Type")
    endpoint_id: int = Field(alias="EndpointId")
    status: int = Field(default=StackStatus.ACTIVE, alias="Status")
    env: Annotated[tuple[EnvVar, ...], BeforeValidator(_none_is_empty)] = Field(
        default=(), alias="Env"
    )
    swarm: str = Field(default="", alias="SwarmId")
    updated: int = Field(default=0, alias="UpdateDate")
    git: Mapping[str, Any] | None = Field(default=None, alias="GitConfig", repr=False)
    workflow: int | str | None = Field(default=None, alias="WorkflowID")
    steps: Annotated[tuple[DeploymentStep, ...], BeforeValidator(_none_is_empty)] = Field(
        default=(), alias="DeploymentStatus"
    )

    @property
    def git_managed(self) -> bool:
        """An update of its file would silently detach it from its repository."""
        return self.git is not None or bool(self.workflow)

    @property
    def env_mapping(self) -> dict[str, str]:
        """The environment as what deploys has it, values in clear.

        Compose reads it from the server's env file; ``docker stack deploy`` gets each value as it
        is. Where the file can't be read, the values as the server has them.
        """
        stored = {item.name: item.value.get_secret_value() for item in self.env}
        if self.type == StackType.SWARM:
            return stored
        try:
            return dotenv.parse("".join(f"{name}={value}\n" for name, value in stored.items()))
        except dotenv.EnvFileError:
            return stored

    @property
    def failure(self) -> str:
        """The last message of a failed asynchronous deployment."""
        return self.steps[-1].message if self.steps else ""


class ContainerRun(_Model):
    """The present run of a container; None where Docker does not tell."""

    started: datetime | None = Field(default=None, alias="StartedAt")


class ContainerDetails(_Model):
    """What ``GET /containers/{id}/json`` adds: how often Docker started it again, and when."""

    restarts: int = Field(default=0, alias="RestartCount")
    created: datetime | None = Field(default=None, alias="Created")
    run: ContainerRun = Field(default_factory=ContainerRun, alias="State")


STEADY_SECONDS = 10
"""A run of so long is no crash: after it Docker's own delay between restarts begins anew too."""
WATCHED_SECONDS = 600
"""A container that has run for so long is not asked how often it was restarted."""
_UP = re.compile(r"Up (?:(Less than a second)|(\d+) seconds?|About a (minute)|(\d+) minutes)\b")


class ContainerSummary(_Model):
    """One row of Docker's ``GET /containers/json``."""

    id: str = Field(alias="Id")
    names: tuple[str, ...] = Field(default=(), alias="Names")
    image: str = Field(default="", alias="Image")
    state: str = Field(default="", alias="State")
    status: str = Field(default="", alias="Status")
    labels: Annotated[
        Mapping[str, str], BeforeValidator(lambda value: {} if value is None else value)
    ] = Field(default_factory=dict, alias="Labels")
    details: ContainerDetails = Field(default_factory=ContainerDetails)

    @property
    def name(self) -> str:
        """The container's name, without Docker's leading slash."""
        return self.names[0].lstrip("/") if self.names else self.id[:12]

    @property
    def service(self) -> str:
        """The compose service it belongs to."""
        return self.labels.get(SERVICE_LABEL, "")

    @property
    def is_one_off(self) -> bool:
        """Whether a person started it by ``compose run``: it belongs to no deployment."""
        return self.labels.get(ONE_OFF_LABEL, "").lower() == "true"

    @property
    def working_dir(self) -> str:
        """Where compose ran; Portainer's own deployments are below its data directory."""
        return self.labels.get(WORKING_DIR_LABEL, "")

    @property
    def health(self) -> str:
        """``healthy``, ``unhealthy``, ``starting`` or "" (no check), as Docker's status says."""
        if "(unhealthy)" in self.status:
            return "unhealthy"
        if "(healthy)" in self.status:
            return "healthy"
        return "starting" if "(health: starting)" in self.status else ""

    @property
    def exit_code(self) -> int | None:
        """The exit code of a container that ended, else None."""
        match = re.match(r"Exited \((\d+)\)", self.status)
        return int(match.group(1)) if match else None

    @property
    def up_seconds(self) -> int | None:
        """How long it has been running, by Docker's status; None if it is stopped.

        Docker counts, so no other clock takes part.
        """
        if self.state != "running":
            return None
        match = _UP.match(self.status)
        if match is None:
            return 3600
        instant, seconds, minute, minutes = match.groups()
        return 0 if instant else 60 if minute else int(seconds or 0) + 60 * int(minutes or 0)

    @property
    def is_young(self) -> bool:
        """Whether it runs, and not for long."""
        up = self.up_seconds
        return up is not None and up < WATCHED_SECONDS

    @property
    def steady_after(self) -> int:
        """How many seconds it must run to have shown that it does not crash.

        `STEADY_SECONDS`; after restarts of a container with short runs, three times their length.
        """
        restarts, run = self.details.restarts, self.details.run
        if not restarts or self.details.created is None or run.started is None:
            return STEADY_SECONDS
        each = (run.started - self.details.created).total_seconds() / restarts
        watched = 3 * each if each <= WATCHED_SECONDS else 0
        return int(min(WATCHED_SECONDS, max(STEADY_SECONDS, watched)))

    @property
    def is_steady(self) -> bool:
        """Whether it has run for that long."""
        up = self.up_seconds
        return up is not None and up >= self.steady_after
