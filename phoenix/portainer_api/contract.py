"""What Phoenix relies on of a Portainer server, each point asked of the server itself; reads only.

The contract's tests ask the emulator the same, in both deployment models, so what holds here is
what Phoenix was tested with. Each request is a GET: no stack, environment, key or user is made, no
container is touched, and nobody is logged in.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from . import errors
from .client import PortainerClient
from .models import Endpoint, Stack, StackType

OLDEST, NEWEST = (2, 21), (2, 45)
"""Versions whose behaviour is known."""
_NO_ID = 999_999_999
_NO_CONTAINER = "0" * 64
_ADMINISTRATOR = 1


class DifferentError(errors.PortainerError):
    """The server answers, and otherwise than Phoenix takes for granted."""


@dataclass(frozen=True)
class Finding:
    """One point: what is expected, whether it holds, and what was found.

    Attributes:
        expected: the point, in words.
        holds: whether the server does so.
        actual: what is worth knowing, or what it does instead with the fix; may be empty.
    """

    expected: str
    holds: bool
    actual: str = ""


def findings(client: PortainerClient) -> Iterator[Finding]:
    """Ask one point after the other.

    Args:
        client: has an administrator's API key.
    """
    for expected, ask in _POINTS.items():
        try:
            yield Finding(expected, True, ask(client))
        except errors.PortainerError as error:
            yield Finding(expected, False, str(error))


def _version(client: PortainerClient) -> str:
    version = client.status().version
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if not OLDEST <= numbers <= NEWEST:
        raise DifferentError(
            f"it is {version}; Phoenix knows {_dotted(OLDEST)} to {_dotted(NEWEST)}"
        )
    return version


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def _administrator(client: PortainerClient) -> str:
    user = client.whoami()
    if user.role != _ADMINISTRATOR:
        raise DifferentError(
            f"the key is of {user.username}, who is no administrator: give an administrator's"
        )
    return f"user {user.username}"


def _refuses_strangers(client: PortainerClient) -> str:
    _expect(client, "/stacks", 401, "A valid authorization token is missing", with_key=False)
    wrong_key = {"X-API-Key": "ptr_wrong"}
    _expect(client, "/users/me", 401, "Invalid JWT token", with_key=False, headers=wrong_key)
    return ""


def _one_credential(client: PortainerClient) -> str:
    both = {"Authorization": "Bearer wrong"}
    words = "api key and auth header are not allowed at the same time"
    _expect(client, "/users/me", 403, words, headers=both)
    return ""


def _not_found(client: PortainerClient) -> str:
    words = "Unable to find a stack with the specified identifier inside the database"
    _expect(client, f"/stacks/{_NO_ID}", 404, words)
    _expect(client, "/no/such/route", 404, "404 page not found")
    return ""


def _environments(client: PortainerClient) -> str:
    return ", ".join(endpoint.name for endpoint in client.endpoints()) or "there is none yet"


def _docker(client: PortainerClient) -> str:
    environments = [endpoint for endpoint in client.endpoints() if endpoint.type in (1, 2)]
    silent = [
        environment.name
        for environment in environments
        if not client.docker_ping(environment.id, patient=False)
    ]
    if silent:
        raise DifferentError(f"no answer from {', '.join(silent)}: see its agent and its address")
    for endpoint in environments:
        client.containers(endpoint.id, "phoenix-check")
        _no_container(client, endpoint)
    return ", ".join(endpoint.name for endpoint in environments) or "there is none to ask"


def _no_container(client: PortainerClient, endpoint: Endpoint) -> None:
    path = f"/endpoints/{endpoint.id}/docker/containers/{_NO_CONTAINER}/json"
    _expect(client, path, 404, "")


def _stacks(client: PortainerClient) -> str:
    rows = client.stacks()
    known = {endpoint.id: endpoint.name for endpoint in client.endpoints()}
    for number in known:
        strange = [row.name for row in client.stacks(number) if row.endpoint_id != number]
        if strange:
            raise DifferentError(f"environment {known[number]} is said to have {strange}")
    _expect(client, '/stacks?filters={"EndpointID":"1"}', 400, "Invalid query parameter: filters")
    descriptions = [_about(row, known) for row in rows]
    return "; ".join(filter(None, descriptions)) or f"{len(rows)} there"


def _about(row: Stack, known: dict[int, str]) -> str:
    """What a person should know of a stack before Phoenix deploys one of its name."""
    if row.endpoint_id not in known:
        return f"{row.name} is an orphan: its environment is gone"
    return f"{row.name} is managed from a git repository" if row.git_managed else ""


def _files(client: PortainerClient) -> str:
    rows = [row for row in client.stacks() if row.type == StackType.COMPOSE and not row.git_managed]
    lost = []
    for row in rows:
        try:
            client.stack_file(row.id)
        except errors.ApiError as error:
            if error.status != 500:
                raise
            lost.append(row.name)
    if lost:
        raise DifferentError(f"the server has lost those of {', '.join(lost)}: create them anew")
    return f"{len(rows)} read"


def _hidden(client: PortainerClient) -> str:
    labels = sorted(client.hidden_labels())
    if labels:
        shown = ", ".join(f"{name}={value}" for name, value in labels)
        raise DifferentError(
            f"those with {shown} are (Settings, Hidden containers), from Phoenix as well: it takes "
            "their services for missing"
        )
    return ""


def _registries(client: PortainerClient) -> str:
    return f"{len(client.registries())} there"


_POINTS: dict[str, Callable[[PortainerClient], str]] = {
    "its version is one that Phoenix knows": _version,
    "the key is an administrator's": _administrator,
    "who has no key, or a wrong one, is refused by the known words": _refuses_strangers,
    "a key and a token together are refused": _one_credential,
    "what is not there is told by the known words": _not_found,
    "environments are listed in the known form": _environments,
    "Docker answers behind each environment": _docker,
    "stacks are listed in the known form": _stacks,
    "the compose file of each stack can be read": _files,
    "no containers are hidden": _hidden,
    "registries are listed in the known form": _registries,
}


def _expect(
    client: PortainerClient,
    path: str,
    status: int,
    words: str,
    *,
    with_key: bool = True,
    headers: dict[str, str] | None = None,
) -> None:
    """Asks, and wants this status and these words of an error.

    Raises:
        DifferentError: it answers otherwise.
    """
    try:
        client.get(path, with_key=with_key, headers=headers)
    except errors.ApiError as error:
        message = " ".join(error.message.split())
        if error.status != status or (words and message != words):
            raise DifferentError(
                f"GET {path}: HTTP {error.status} {json.dumps(message)}, expected HTTP {status} "
                f"{json.dumps(words)}"
            ) from None
        return
    raise DifferentError(f"GET {path}: it is allowed, expected HTTP {status}")
