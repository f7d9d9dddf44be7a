"""A typed client of Portainer CE's HTTP API, 2.21 to 2.45.

Sources of the rules: portainer/portainer's handlers as of 2.23 and what changed until 2.45 (the
asynchronous deployments, the setup token); the paths are the server's own.
"""

from __future__ import annotations

import base64
import contextlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
from pydantic import BaseModel, SecretStr
from typing_extensions import override

from phoenix.compose import dotenv
from phoenix.compose.project_folders import PORTAINER_PROJECTS
from phoenix.net.https import Dial

from . import errors
from .docker import DEPLOY_SECONDS, READ_SECONDS, DockerEngine
from .models import (
    NAMESPACE_LABEL,
    ApiKey,
    ContainerSummary,
    Endpoint,
    NewApiKey,
    Registry,
    Stack,
    StackStatus,
    StackType,
    SystemStatus,
    User,
    answer_as,
)
from .registries import HUB, Login, registry_of
from .sync import ObservedStack, matching
from .transport import session

CONNECT_SECONDS = 10.0
AGENT_SECONDS = 60.0  # an agent whose Docker daemon restarts is away for some of it

_GONE_SECONDS = 90.0  # for the tasks of a removed Swarm stack to end

_CUSTOM_TYPE, _HUB_TYPE = 3, 6  # Type of a registry
_LOCAL_TYPE, _AGENT_TYPE = 1, 2  # EndpointCreationType, and Type of what it makes
_M = TypeVar("_M", bound=BaseModel)


class PortainerClient(DockerEngine):
    """One Portainer server.

    Args:
        url: ``https://NAME[:PORT]``; NAME is verified against the server's certificate.
        ca_pem: the root certificate(s) to trust, PEM text; None: the machine's own.
        fingerprint: SHA-256 of the one certificate to accept instead, in lower-case hex.
        api_key: the key sent with every request; may be set later with `use_api_key`.
        dial: how to connect, when not straight to the URL's host.
        deploy_seconds: how long to wait for the answer of a deploying request.

    Raises:
        errors.InvalidInputError: the URL isn't an https base URL.
    """

    def __init__(
        self,
        url: str,
        ca_pem: str | None,
        *,
        api_key: SecretStr | None = None,
        dial: Dial | None = None,
        fingerprint: str = "",
        deploy_seconds: float = DEPLOY_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Opens nothing yet; the first request connects."""
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname or parts.path not in ("", "/"):
            raise errors.InvalidInputError(
                f"Portainer's URL {url!r} must read https://NAME or https://NAME:PORT"
            )
        self.url = url.rstrip("/")
        self.deploy_seconds = deploy_seconds
        self.clock = clock
        self.sleep = sleep
        self._session = session(ca_pem, dial, fingerprint)
        self._credential: tuple[str, SecretStr] | None = None
        self._logins: dict[str, int] | None = None
        self.posted = 0  # changing requests sent, for tests and benchmarks
        if api_key is not None:
            self.use_api_key(api_key)

    def __repr__(self) -> str:
        """The address alone: never a credential."""
        return f"PortainerClient({self.url!r})"

    def close(self) -> None:
        """Closes kept connections."""
        self._session.close()

    def use_api_key(self, key: SecretStr) -> None:
        """Sends `key` from now on, instead of any token: both at once are a 403."""
        self._credential = ("X-API-Key", key)

    # -- requests ------------------------------------------------------------------------------

    def _request(
        self,
        method: str,
        path: str,
        *,
        public: bool = False,
        body: Any = None,
        form: Mapping[str, str] | None = None,
        query: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
        read_seconds: float = READ_SECONDS,
    ) -> requests.Response:
        headers = dict(headers or {})
        if not public and self._credential is not None:
            name, secret = self._credential
            headers[name] = (
                f"Bearer {secret.get_secret_value()}"
                if name == "Authorization"
                else secret.get_secret_value()
            )
        changing = method not in ("GET", "HEAD")
        if changing:
            self.posted += 1
        try:
            answer = self._session.request(
                method,
                f"{self.url}/api{path}",
                json=body,
                # (None, value) is a multipart field without a file name: what the server parses
                files=None if form is None else {k: (None, v) for k, v in form.items()},
                params=query,
                headers=headers,
                timeout=(CONNECT_SECONDS, read_seconds),
                allow_redirects=False,
            )
        except requests.exceptions.SSLError as error:
            raise errors.UnreachableError(f"{self.url}: TLS: {_cause(error)}") from None
        except (requests.exceptions.ConnectTimeout, requests.exceptions.InvalidSchema) as error:
            raise errors.UnreachableError(f"{self.url}: {_cause(error)}") from None
        except requests.exceptions.ReadTimeout:
            kind = errors.UnknownOutcomeError if changing else errors.UnreachableError
            raise kind(f"{method} {path}: no answer within {read_seconds:g} s") from None
        except requests.exceptions.ConnectionError as error:
            # A connection that broke after a changing request was sent leaves it undecided.
            reached = "cannot reach" not in str(error) and "Max retries" not in str(error)
            kind = errors.UnknownOutcomeError if changing and reached else errors.UnreachableError
            raise kind(f"{method} {path} at {self.url}: {_cause(error)}") from None
        except requests.exceptions.RequestException as error:  # the answer ends in the middle
            kind = errors.UnknownOutcomeError if changing else errors.UnreachableError
            raise kind(f"{method} {path} at {self.url}: {_cause(error)}") from None
        if answer.status_code >= 300:
            raise _api_error(answer, method, path, changing)
        return answer

    def _json(self, method: str, path: str, **kwargs: Any) -> Any:
        answer = self._request(method, path, **kwargs)
        try:
            return answer.json()
        except ValueError:
            raise errors.ApiError(
                answer.status_code, "the answer is not JSON", "", method, path
            ) from None

    def get(
        self, path: str, *, with_key: bool = True, headers: Mapping[str, str] | None = None
    ) -> bytes:
        """The body of a GET below /api.

        Args:
            path: with its query, where it has one.
            with_key: whether the credential in use is sent.
            headers: more of them.
        """
        return self._request("GET", path, public=not with_key, headers=headers).content

    # -- system, administrator, credentials -----------------------------------------------------

    def status(self) -> SystemStatus:
        """The server's version; public, and the readiness probe (2.1 of the reference)."""
        try:
            body = self._json("GET", "/system/status", public=True)
        except errors.NotFoundError:  # very old servers
            body = self._json("GET", "/status", public=True)
        return answer_as(SystemStatus, body)

    def wait_ready(self, seconds: float) -> SystemStatus:
        """Polls `status` until the server answers.

        Raises:
            errors.AdminInitTimeoutError: it answers, but has locked itself.
            errors.UnreachableError: not within `seconds`.
        """
        deadline = self.clock() + seconds
        while True:
            try:
                return self.status()
            except errors.UnreachableError:
                if self.clock() >= deadline:
                    raise
            except errors.ApiError as error:
                if error.status not in (502, 503, 504) or self.clock() >= deadline:
                    raise
            self.sleep(1.0)

    def admin_exists(self) -> bool:
        """Whether the server has an administrator; public."""
        try:
            self._request("GET", "/users/admin/check", public=True)
        except errors.NotFoundError:
            return False
        return True

    def init_admin(self, username: str, password: SecretStr) -> bool:
        """Creates the first administrator; False when there is one already (409).

        Raises:
            errors.SetupTokenError: the server (2.43 or newer) wants its setup token.
            errors.AdminInitTimeoutError: the five minutes have passed.
        """
        try:
            self._request(
                "POST",
                "/users/admin/init",
                public=True,
                body={"Username": username, "Password": password.get_secret_value()},
            )
        except errors.ConflictError:
            return False
        except errors.ApiError as error:
            if error.status == 403:
                raise errors.SetupTokenError(
                    403, error.message, error.details, error.method, error.path
                ) from None
            raise
        return True

    def login(self, username: str, password: SecretStr) -> None:
        """Trades the password for a token, kept in memory and sent from now on.

        Call it once per process: the server bans an address for an hour after more than ten
        logins in one second.
        """
        body = self._json(
            "POST",
            "/auth",
            public=True,
            body={"username": username, "password": password.get_secret_value()},
        )
        self._credential = ("Authorization", SecretStr(str(body["jwt"])))

    def whoami(self) -> User:
        """The user of the credential in use; the cheapest check that it's valid."""
        return answer_as(User, self._json("GET", "/users/me"))

    def users(self) -> tuple[User, ...]:
        """All users; needs an administrator."""
        return _many(User, self._json("GET", "/users"))

    def create_administrator(self, username: str, password: SecretStr) -> User:
        """Adds another administrator.

        Raises:
            errors.ConflictError: there is a user of this name.
        """
        body = {"Username": username, "Password": password.get_secret_value(), "Role": 1}
        return answer_as(User, self._json("POST", "/users", body=body))

    @override
    def hidden_labels(self) -> frozenset[tuple[str, str]]:
        rows = self._json("GET", "/settings").get("BlackListedLabels") or ()
        return frozenset((str(row["name"]), str(row["value"])) for row in rows)

    def api_keys(self, user_id: int) -> tuple[ApiKey, ...]:
        """The user's keys, without their values."""
        return _many(ApiKey, self._json("GET", f"/users/{user_id}/tokens"))

    def create_api_key(self, user_id: int, password: SecretStr, description: str) -> NewApiKey:
        """Makes a key; needs `login` (a key can't make keys). Shown once, never again."""
        body = {"password": password.get_secret_value(), "description": description}
        return answer_as(NewApiKey, self._json("POST", f"/users/{user_id}/tokens", body=body))

    def delete_api_key(self, user_id: int, key_id: int) -> None:
        """Revokes one key."""
        self._request("DELETE", f"/users/{user_id}/tokens/{key_id}")

    def change_password(self, user_id: int, current: SecretStr, new: SecretStr) -> None:
        """Changes a user's password; the user's tokens end with it, API keys stay.

        Raises:
            errors.ApiError: 403, `current` is not the password; 400, `new` is too short.
        """
        body = {"password": current.get_secret_value(), "newPassword": new.get_secret_value()}
        self._request("PUT", f"/users/{user_id}/passwd", body=body)

    # -- environments ---------------------------------------------------------------------------

    def endpoints(self) -> tuple[Endpoint, ...]:
        """All environments, without their snapshots."""
        rows = self._json("GET", "/endpoints", query={"excludeSnapshots": "true"})
        return _many(Endpoint, rows)

    def endpoint(self, endpoint_id: int) -> Endpoint:
        """One environment."""
        path = f"/endpoints/{endpoint_id}"
        return answer_as(Endpoint, self._json("GET", path, query={"excludeSnapshot": "true"}))

    def endpoint_named(self, name: str) -> Endpoint | None:
        """The environment of exactly this name: names are unique, URLs aren't."""
        return next((endpoint for endpoint in self.endpoints() if endpoint.name == name), None)

    def create_agent_endpoint(self, name: str, url: str, *, group_id: int = 1) -> Endpoint:
        """Registers an agent, ``tcp://host:9001``. The server pings it and takes a snapshot.

        All three TLS flags are needed: the agent's certificate is self-signed and made anew at
        each start; what authenticates is the signature, and AGENT_SECRET.
        """
        form = {
            "Name": name,
            "EndpointCreationType": str(_AGENT_TYPE),
            "URL": url,
            "GroupID": str(group_id),
            "TLS": "true",
            "TLSSkipVerify": "true",
            "TLSSkipClientVerify": "true",
            "ContainerEngine": "docker",
        }
        return answer_as(Endpoint, self._json("POST", "/endpoints", form=form, read_seconds=120.0))

    def create_local_endpoint(self, name: str, url: str) -> Endpoint:
        """Registers the Docker behind a socket in the server's own container.

        Args:
            name: the environment's.
            url: ``unix:///PATH``.
        """
        form = {
            "Name": name,
            "EndpointCreationType": str(_LOCAL_TYPE),
            "URL": url,
            "GroupID": "1",
            "ContainerEngine": "docker",
        }
        return answer_as(Endpoint, self._json("POST", "/endpoints", form=form, read_seconds=120.0))

    def update_endpoint(self, endpoint_id: int, **changes: str | int | bool) -> Endpoint:
        """Changes the given fields (`Name`, `URL`, `TLS`...) and keeps the rest; tests nothing."""
        path = f"/endpoints/{endpoint_id}"
        return answer_as(Endpoint, self._json("PUT", path, body=changes))

    def delete_endpoint(self, endpoint_id: int) -> None:
        """Forgets an environment; what runs there goes on. Already gone counts as done."""
        with contextlib.suppress(errors.NotFoundError):
            self._request("DELETE", f"/endpoints/{endpoint_id}")

    def snapshot_endpoint(self, endpoint_id: int) -> Endpoint:
        """Asks for a fresh snapshot and returns the endpoint with its fresh status."""
        self._request("POST", f"/endpoints/{endpoint_id}/snapshot", read_seconds=120.0)
        return self.endpoint(endpoint_id)

    def docker_ping(self, endpoint_id: int, *, patient: bool = True) -> bool:
        """Whether the environment's Docker answers now, unlike the stored status.

        Args:
            endpoint_id: the environment.
            patient: whether an agent that is away for a moment is waited for.
        """
        try:
            if patient:
                self._docker("GET", endpoint_id, "/_ping")
            else:
                self._request("GET", f"/endpoints/{endpoint_id}/docker/_ping")
        except errors.ApiError as error:
            if error.status >= 500:
                return False
            raise
        return True

    # -- registries -----------------------------------------------------------------------------

    def registries(self) -> tuple[Registry, ...]:
        """All registries, without passwords."""
        return _many(Registry, self._json("GET", "/registries"))

    def create_registry(self, login: Login) -> Registry:
        """Registers a registry with its log-in."""
        kind = _HUB_TYPE if login.registry == HUB else _CUSTOM_TYPE
        body = _registry_body(login) | {"Type": kind}
        return answer_as(Registry, self._json("POST", "/registries", body=body))

    def update_registry(self, registry_id: int, login: Login) -> Registry:
        """Replaces the log-in of a registry."""
        path = f"/registries/{registry_id}"
        return answer_as(Registry, self._json("PUT", path, body=_registry_body(login)))

    def delete_registry(self, registry_id: int) -> None:
        """Forgets a registry and its log-in."""
        self._request("DELETE", f"/registries/{registry_id}")

    @override
    def _registry_headers(self, image: str) -> Mapping[str, str]:
        """The number of the image's registry: the server puts the log-in in its place."""
        if self._logins is None:
            rows = self.registries()
            self._logins = {row.url: row.id for row in reversed(rows) if row.authentication}
        number = self._logins.get(registry_of(image))
        if number is None:
            return {}
        text = json.dumps({"registryId": number})
        return {"X-Registry-Auth": base64.b64encode(text.encode()).decode()}

    # -- stacks ---------------------------------------------------------------------------------

    def observe(self, name: str, endpoint_id: int) -> ObservedStack:
        """Reads the stack of this (normalised) name, its file and its containers."""
        rows = self.stacks()  # of all environments: an orphan shows in no other list
        matches = matching(rows, name, endpoint_id)
        containers = self.containers(endpoint_id, name)
        return ObservedStack(
            matches,
            self.stored_file(matches),
            containers,
            elsewhere=None if matches else self._elsewhere(rows, name, containers),
            rewrites=False,
            other=next(iter(matching(rows, name, endpoint_id, StackType.SWARM)), None),
        )

    def stored_file(self, matches: tuple[Stack, ...]) -> str | None:
        """The file of the stack; None where it is lost, or the stack is absent or ambiguous."""
        if len(matches) == 1 and not matches[0].git_managed:
            try:
                return self.stack_file(matches[0].id)
            except errors.ApiError as error:
                # The file is lost, and an update fails as well; any other fault says nothing of it.
                if error.status != 500 or "compose file" not in error.message.lower():
                    raise
        return None

    def _elsewhere(
        self, rows: Iterable[Stack], name: str, containers: tuple[ContainerSummary, ...]
    ) -> Stack | None:
        """The stack that deployed `containers`, where another environment has it.

        Creating one would be a 409: the name is taken as long as containers of it run here and any
        environment, a deleted one too, has a stack of it. An environment that has containers of
        this name keeps its stack; so does one that does not answer, unless the number of the stack
        is the one in the containers' directory.
        """
        folders = {container.working_dir for container in containers}
        if not folders or not all(folder.startswith(PORTAINER_PROJECTS) for folder in folders):
            return None
        numbers = {folder.removeprefix(PORTAINER_PROJECTS).split("/")[0] for folder in folders}
        known = {endpoint.id for endpoint in self.endpoints()}
        namesakes = [
            row
            for row in rows
            if row.type == StackType.COMPOSE
            and row.name.lower() == name
            and (row.endpoint_id not in known or self._has_left(row, str(row.id) in numbers))
        ]
        return max(namesakes, key=lambda row: (str(row.id) in numbers, row.id), default=None)

    def _has_left(self, row: Stack, deployed: bool) -> bool:
        """Whether the environment of a stack has none of its containers."""
        try:
            if self.docker_ping(row.endpoint_id, patient=False):
                return not self.containers(row.endpoint_id, row.name)
        except errors.PortainerError:
            pass
        return deployed

    def associate_stack(self, stack: Stack, endpoint_id: int, swarm: str = "") -> Stack:
        """Gives a stack to the environment whose Docker has its containers; touches none.

        Args:
            stack: the stack.
            endpoint_id: the environment.
            swarm: the id of its swarm, of a Swarm stack.
        """
        path = f"/stacks/{stack.id}/associate"
        query: dict[str, str | int] = {"endpointId": endpoint_id, "orphanedRunning": "true"}
        if swarm:
            query["swarmId"] = swarm
        return answer_as(Stack, self._json("PUT", path, query=query))

    def current(self, stack: Stack) -> Stack:
        """The stack, read again."""
        return self.stack(stack.id)

    def keep_good(self, stack: Stack) -> None:
        """Nothing: the server keeps one version, which is the one that was deployed last."""

    def stacks(self, endpoint_id: int | None = None) -> tuple[Stack, ...]:
        """All stacks, or the compose stacks of one environment."""
        query = {}
        if endpoint_id is not None:
            query["filters"] = json.dumps({"EndpointID": endpoint_id})
        return _many(Stack, self._json("GET", "/stacks", query=query))

    def stack(self, stack_id: int) -> Stack:
        """One stack."""
        return answer_as(Stack, self._json("GET", f"/stacks/{stack_id}"))

    def stack_file(self, stack_id: int) -> str:
        """The compose file, byte for byte as it was sent."""
        return str(self._json("GET", f"/stacks/{stack_id}/file")["StackFileContent"])

    def create_stack(
        self, endpoint_id: int, name: str, content: str, env: Mapping[str, str]
    ) -> Stack:
        """Creates and deploys. Synchronous servers answer when it runs, newer ones at once."""
        body = {"Name": name, "StackFileContent": content, "Env": _env_list(env)}
        return self._deploying(
            "POST", "/stacks/create/standalone/string", endpoint_id=endpoint_id, body=body
        )

    def create_swarm_stack(
        self, endpoint_id: int, swarm: str, name: str, content: str, env: Mapping[str, str]
    ) -> Stack:
        """Creates and deploys a Swarm stack, by a manager of the swarm with this id."""
        body = {
            "Name": name,
            "SwarmID": swarm,
            "StackFileContent": content,
            "Env": _env_list(env, StackType.SWARM),
        }
        return self._deploying(
            "POST", "/stacks/create/swarm/string", endpoint_id=endpoint_id, body=body
        )

    def update_stack(self, stack: Stack, content: str, env: Mapping[str, str]) -> Stack:
        """Replaces file and environment, whole, and deploys.

        Always sends the stack's own endpoint: another one would move the stack there and leave
        its containers behind. Pulls nothing, and prunes services of Swarm stacks alone: else the
        flags for both are left out.
        """
        body: dict[str, Any] = {"StackFileContent": content, "Env": _env_list(env, stack.type)}
        if stack.type == StackType.SWARM:
            body["Prune"] = True
        return self._deploying(
            "PUT", f"/stacks/{stack.id}", endpoint_id=stack.endpoint_id, body=body
        )

    def start_stack(self, stack: Stack) -> Stack:
        """Starts a stopped stack from its stored file."""
        return self._deploying(
            "POST", f"/stacks/{stack.id}/start", endpoint_id=stack.endpoint_id, body=None
        )

    def delete_stack(self, stack: Stack, endpoint_id: int | None = None) -> None:
        """Removes the stack and its containers; volumes stay. Already gone counts as done.

        Args:
            stack: the stack.
            endpoint_id: the environment to take its containers from; None: its own. An orphan,
                whose own one is gone, goes by another, and so do containers of its name there.
        """
        try:
            self._request(
                "DELETE",
                f"/stacks/{stack.id}",
                query={"endpointId": stack.endpoint_id if endpoint_id is None else endpoint_id},
                read_seconds=self.deploy_seconds,
            )
        except errors.NotFoundError as error:
            # The endpoint's 404 names the stack as well, and then nothing was removed.
            if "find a stack" not in error.message.lower():
                raise
        if stack.type == StackType.SWARM and endpoint_id is None:
            self._wait_gone(stack)

    def _wait_gone(self, stack: Stack) -> None:
        """Docker removes services at once, and their tasks end in their own time."""
        deadline = self.clock() + _GONE_SECONDS
        while self.of_swarm_stack(stack.endpoint_id, "tasks", stack.name):
            if self.clock() >= deadline:
                return
            self.sleep(1.0)

    def of_swarm_stack(self, endpoint_id: int, kind: str, project: str) -> list[dict[str, Any]]:
        """What a swarm has of a stack.

        Args:
            endpoint_id: the environment of a manager.
            kind: `services`, `tasks`, `secrets` or `configs`.
            project: the stack's name.
        """
        filters = json.dumps({"label": [f"{NAMESPACE_LABEL}={project}"]})
        rows = self.docker_json("GET", endpoint_id, f"/{kind}", query={"filters": filters})
        return list(rows or ())

    def _deploying(self, method: str, path: str, *, endpoint_id: int, body: Any) -> Stack:
        row = self._json(
            method,
            path,
            query={"endpointId": endpoint_id},
            body=body,
            read_seconds=self.deploy_seconds,
        )
        return answer_as(Stack, row)

    def wait_deployed(self, stack: Stack, seconds: float, *, poll: float = 1.0) -> Stack:
        """Follows an asynchronous deployment to its end; a synchronous answer is the end.

        Returns:
            The stack in a status other than "deploying"; 4 (error) is the caller's to judge.

        Raises:
            errors.UnknownOutcomeError: still deploying after `seconds`.
            errors.NotFoundError: somebody deleted it meanwhile.
        """
        deadline = self.clock() + seconds
        while stack.status == StackStatus.DEPLOYING:
            if self.clock() >= deadline:
                raise errors.UnknownOutcomeError(
                    f"stack {stack.name}: still deploying after {seconds:g} s"
                )
            self.sleep(poll)
            stack = self.stack(stack.id)
        return stack

    # -- the environment's Docker, through the server --------------------------------------------

    def docker_bytes(
        self,
        method: str,
        endpoint_id: int,
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: Any = None,
    ) -> bytes:
        """The answer of the Docker Engine of an environment, as for `docker_json`."""
        return self._docker(method, endpoint_id, path, query=query, body=body)

    def docker_json(
        self,
        method: str,
        endpoint_id: int,
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: Any = None,
    ) -> Any:
        """What the Docker Engine of an environment answers; None for an empty answer.

        Args:
            method: of HTTP.
            endpoint_id: the environment.
            path: of the Engine's API.
            query: of the request.
            body: sent as JSON.

        Raises:
            errors.ApiError: the Engine, or the server, refuses.
        """
        answer = self.docker_bytes(method, endpoint_id, path, query=query, body=body)
        try:
            return json.loads(answer) if answer.strip() else None
        except ValueError:
            raise errors.ApiError(200, "Docker's answer is not JSON", "", method, path) from None

    def _docker(
        self,
        method: str,
        endpoint_id: int,
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
        read_seconds: float = READ_SECONDS,
        body: Any = None,
    ) -> bytes:
        """Ask the Docker Engine of an endpoint, through its agent.

        A question (GET) that the server cannot hand to the agent (502, 503, 504) is asked again for
        `AGENT_SECONDS`: the agent is away for a moment when its Docker daemon restarts.
        """
        deadline = self.clock() + AGENT_SECONDS
        while True:
            try:
                return self._request(
                    method,
                    f"/endpoints/{endpoint_id}/docker{path}",
                    query=query,
                    headers=headers,
                    body=body,
                    read_seconds=read_seconds,
                ).content
            except errors.ApiError as error:
                away = method == "GET" and error.status in (502, 503, 504)
                if not away or self.clock() >= deadline:
                    raise
            self.sleep(1.0)


def _registry_body(login: Login) -> dict[str, Any]:
    return {
        "Name": login.name,
        "URL": login.registry,
        "BaseURL": "",
        "Authentication": True,
        "Username": login.username,
        "Password": login.password.get_secret_value(),
    }


def _env_list(env: Mapping[str, str], kind: int = StackType.COMPOSE) -> list[dict[str, str]]:
    """The environment for the server, which writes NAME=VALUE lines into an env file.

    Of a Swarm stack it gives each value to Docker's process as it is.
    """
    if kind == StackType.SWARM:
        return [{"name": name, "value": value} for name, value in env.items()]
    return [{"name": name, "value": dotenv.quote(value)} for name, value in env.items()]


def _many(model: type[_M], rows: Any) -> tuple[_M, ...]:
    if not isinstance(rows or (), Sequence):
        raise errors.AnswerError(f"a list of {model.__name__}s was expected")
    return tuple(answer_as(model, item) for item in rows or ())


def _cause(error: BaseException) -> str:
    """The innermost reason of requests' nested errors; holds addresses, never headers."""
    inner: BaseException = error
    while True:
        deeper = getattr(inner, "reason", None)
        if not isinstance(deeper, BaseException):
            deeper = next((arg for arg in inner.args if isinstance(arg, BaseException)), None)
        if deeper is None:
            return str(inner)
        inner = deeper


def _api_error(
    answer: requests.Response, method: str, path: str, changing: bool
) -> errors.PortainerError:
    message, details = "", ""
    try:
        body = answer.json()
    except ValueError:
        # 404 of Go's mux and 403 of the CSRF check are text; a proxied 502 is empty.
        message = answer.text.strip()[:500]
    else:
        if isinstance(body, dict):
            message, details = str(body.get("message", "")), str(body.get("details", ""))
    status = answer.status_code
    kind: type[errors.ApiError] = errors.ApiError
    if status == 303 and answer.headers.get("redirect-reason") == "AdminInitTimeout":
        kind = errors.AdminInitTimeoutError
    elif status in (401, 422):
        kind = errors.AuthenticationError
    elif status == 403 and details == "Access denied to resource":
        kind = errors.RateLimitedError
    elif status == 404:
        kind = errors.NotFoundError
    elif status == 409:
        kind = errors.ConflictError
    elif status in (502, 504) and changing and "/docker/" not in path:
        return errors.UnknownOutcomeError(f"{method} {path}: HTTP {status} from a proxy")
    return kind(status, message, details, method, path)
