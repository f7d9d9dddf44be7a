"""Stacks: both deployment models, with their rules and their traps.

Synchronous (2.21 to 2.39): the answer waits for compose; a failed update takes the project down.
Asynchronous (2.45): the answer is Status 3 at once; a failure shows as Status 4 later.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .compose import ENV_FILE, FILE, Compose, ComposeError
from .environments import Environments
from .http import Answer, HttpError, Request, json_answer, not_in_database
from .store import Row, Store

ACTIVE, INACTIVE, DEPLOYING, ERROR = 1, 2, 3, 4
SWARM, COMPOSE = 1, 2
_NO_STACK = "Unable to find a stack with the specified identifier inside the database"
_NO_ENDPOINT = "Unable to find the endpoint associated to the stack inside the database"
_FILE_GONE = "Unable to persist updated Compose file on disk"
_IN_PROGRESS = ("Unable to update stack", "Stack deployment is already in progress")


def normalise(name: str) -> str:
    """The server's normalisation of names."""
    return re.sub(r"[^-_a-z0-9]+", "", name.lower())


@dataclass
class Stacks:
    """The server's stacks: compose projects, and services of a swarm.

    Attributes:
        asynchronous: which of the two models.
        deploy_lock: one deployment at a time in the whole server, as in the real one.
    """

    store: Store
    environments: Environments
    compose: Compose
    asynchronous: bool
    deploy_lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        """A deployment that a restart cut off will never end by itself."""
        for row in self.store.rows("stacks"):
            if row["Status"] == DEPLOYING:
                self._finish(row, ERROR, "interrupted by a restart of the server")

    def directory(self, row: Row) -> Path:
        """The project's directory."""
        return self.store.directory / "compose" / str(row["Id"])

    def _get(self, request: Request) -> Row:
        row = self.store.find("stacks", int(request.args["id"]))
        if row is None:
            raise HttpError(404, _NO_STACK, not_in_database("stacks", request.args["id"]))
        return row

    def _endpoint(self, endpoint_id: int) -> Row:
        """The environment of a stack's request, by the words of its handlers."""
        row = self.store.find("endpoints", endpoint_id)
        if row is None:
            raise HttpError(404, _NO_ENDPOINT, not_in_database("endpoints", endpoint_id))
        return row

    # -- reads ---------------------------------------------------------------------------------

    def index(self, request: Request) -> Answer:
        """GET /stacks; an endpoint leaves its compose stacks, a swarm's id those of the swarm."""
        bad_filters = HttpError(400, "Invalid query parameter: filters", "Invalid filters")
        try:
            filters = json.loads(request.query.get("filters") or "{}")
            endpoint_id, swarm = filters.get("EndpointID", 0), filters.get("SwarmID", "")
        except (ValueError, AttributeError):
            raise bad_filters from None
        if not isinstance(endpoint_id, int) or isinstance(endpoint_id, bool):
            raise bad_filters
        rows = self.store.rows("stacks")
        if endpoint_id or swarm:
            rows = [
                row
                for row in rows
                if (row["Type"] == COMPOSE and endpoint_id == row["EndpointId"])
                or (row["Type"] == SWARM and swarm and swarm == row["SwarmId"])
            ]
        return json_answer([self._public(row) for row in rows])

    def show(self, request: Request) -> Answer:
        """GET /stacks/{id}."""
        return json_answer(self._public(self._get(request)))

    def file(self, request: Request) -> Answer:
        """GET /stacks/{id}/file: byte for byte what was sent."""
        path = self.directory(self._get(request)) / FILE
        try:
            content = path.read_bytes().decode()
        except OSError as error:
            raise HttpError(500, "Unable to retrieve Compose file from disk", str(error)) from None
        return json_answer({"StackFileContent": content})

    def _public(self, row: Row) -> Row:
        new = {"DeploymentStartStatus", "DeploymentStatus"}
        return {k: v for k, v in row.items() if self.asynchronous or k not in new}

    # -- create --------------------------------------------------------------------------------

    def create(self, request: Request) -> Answer:
        """POST /stacks/create/standalone/string."""
        endpoint = self.environments.get(request.number("endpointId"))
        body = request.json()
        content = body.get("stackfilecontent")
        if not isinstance(content, str) or not content:
            raise HttpError(400, "Invalid request payload", "Invalid stack file content")
        return self._create(request, endpoint, body, content, None)

    def create_swarm(self, request: Request) -> Answer:
        """POST /stacks/create/swarm/string: by a manager of the swarm of that id."""
        endpoint = self.environments.get(request.number("endpointId"))
        body = request.json()
        content, swarm = body.get("stackfilecontent"), body.get("swarmid")
        if not isinstance(swarm, str) or not swarm:
            raise HttpError(400, "Invalid request payload", "Invalid Swarm ID")
        if not isinstance(content, str) or not content:
            raise HttpError(400, "Invalid request payload", "Invalid stack file content")
        return self._create(request, endpoint, body, content, None, swarm)

    def create_from_repository(self, request: Request) -> Answer:
        """POST /stacks/create/standalone/repository: clones with the git command."""
        endpoint = self.environments.get(request.number("endpointId"))
        body = request.json()
        url, entry = body.get("repositoryurl"), body.get("composefile") or FILE
        if not isinstance(url, str) or not re.match(r"(?:https?|ssh|git)://[^/]", url):
            reason = "Invalid repository URL. Must correspond to a valid URL format"
            raise HttpError(400, "Invalid request payload", reason)
        checkout = self.store.directory / f"clone-{time.monotonic_ns()}"
        try:
            subprocess.run(
                ["git", "clone", "--quiet", "--", url, str(checkout)],
                check=True,
                capture_output=True,
            )
            content = (checkout / entry).read_text()
            head = subprocess.run(
                ["git", "-C", str(checkout), "rev-parse", "HEAD"],
                check=True,
                capture_output=True,
                text=True,
            ).stdout.strip()
        except (OSError, subprocess.CalledProcessError) as error:
            raise HttpError(500, "Unable to clone git repository", str(error)) from None
        finally:
            shutil.rmtree(checkout, ignore_errors=True)
        git = {
            "URL": url,
            "ReferenceName": body.get("repositoryreferencename") or "",
            "ConfigFilePath": entry,
            "Authentication": None,
            "ConfigHash": head,
            "TLSSkipVerify": False,
        }
        return self._create(request, endpoint, body, content, git)

    def _create(
        self, request: Request, endpoint: Row, body: Row, content: str, git: Row | None,
        swarm: str = "",
    ) -> Answer:  # fmt: skip
        name, env = body.get("name"), _env(body)
        if not isinstance(name, str) or not name:
            raise HttpError(400, "Invalid request payload", "Invalid stack name")
        name = normalise(name)
        with self.store.lock:
            self._check_unique(name, endpoint, swarm)
            row = self._new_row(name, endpoint, env, git, request.user["Username"])
            row |= {"Type": SWARM, "SwarmId": swarm} if swarm else {}
            self._write(row, content)
            if self.asynchronous:
                row["Status"] = DEPLOYING
                self.store.rows("stacks").append(row)
                self.store.save()
        if self.asynchronous:
            self._later(row, lambda: self._up(row, endpoint))
            return json_answer(self._public(row))
        try:
            self._up(row, endpoint)
        except ComposeError as error:
            if row["Type"] == COMPOSE:
                self._down_quietly(row, endpoint)
            shutil.rmtree(self.directory(row), ignore_errors=True)
            raise HttpError(500, str(error), str(error)) from None
        with self.store.lock:
            self.store.rows("stacks").append(row)
            self.store.save()
        return json_answer(self._public(row))

    def _check_unique(self, name: str, endpoint: Row, swarm: str) -> None:
        rows = [row for row in self.store.rows("stacks") if row["Name"].lower() == name]
        unique = not any(row["EndpointId"] == endpoint["Id"] for row in rows)
        occupied = self._is_occupied(name, endpoint, swarm)
        if swarm and (not unique or occupied):
            raise HttpError(409, f"A stack with the normalized name '{name}' already exists")
        # Containers alone, without any stack of the name, are deployed over (source 2.23).
        if (not unique or occupied) and rows:
            raise HttpError(409, f"A stack with the normalized name '{name}' already exists")

    def _is_occupied(self, name: str, endpoint: Row, swarm: str) -> bool:
        """Whether Docker has containers, or the swarm services, of this name."""
        try:
            services = self.environments.stack_services(endpoint, name) if swarm else []
            return bool(services or self.environments.project_containers(endpoint, name))
        except OSError as error:
            raise HttpError(500, "Unable to check for name collision", str(error)) from None

    def _new_row(
        self, name: str, endpoint: Row, env: list[Row] | None, git: Row | None, user: str
    ) -> Row:  # fmt: skip
        stack_id = self.store.next_id("stacks")
        return {
            "Id": stack_id,
            "Name": name,
            "Type": COMPOSE,
            "EndpointId": endpoint["Id"],
            "SwarmId": "",
            "EntryPoint": FILE,
            "Env": env,
            "ResourceControl": {
                "Id": stack_id,
                "ResourceId": f"{endpoint['Id']}_{name}",
                "Type": 6,
                "AdministratorsOnly": True,
            },
            "Status": ACTIVE,
            "ProjectPath": f"/data/compose/{stack_id}",
            "CreationDate": int(time.time()),
            "CreatedBy": user,
            "UpdateDate": 0,
            "UpdatedBy": "",
            "AdditionalFiles": None,
            "AutoUpdate": None,
            "Option": None,
            "GitConfig": git,
            "FromAppTemplate": False,
            "Namespace": "",
            "DeploymentStartStatus": 0,
            "DeploymentStatus": [],
        }

    # -- update --------------------------------------------------------------------------------

    def update(self, request: Request) -> Answer:
        """PUT /stacks/{id}: file and environment are replaced whole, then always deployed."""
        row = self._get(request)
        endpoint_id = request.number("endpointId", optional=self.asynchronous)
        endpoint = self._endpoint(endpoint_id or row["EndpointId"])
        body = request.json()
        content = body.get("stackfilecontent")
        if not isinstance(content, str) or not content:
            raise HttpError(400, "Invalid request payload", "Invalid stack file content")
        env = _env(body)
        recreate = bool(body.get("repullimageandredeploy"))
        flags = {
            "pull": bool(body.get("pullimage")) or recreate,
            "recreate": recreate,
            "prune": bool(body.get("prune")) and (self.asynchronous or row["Type"] == SWARM),
        }
        if self._project_files(row) is None:
            path = f"/data/compose/{row['Id']}/{FILE}"
            raise HttpError(500, _FILE_GONE, f"open {path}: no such file or directory")
        apply = self._update_later if self.asynchronous else self._update_now
        return apply(row, endpoint, content, env, flags)

    def _update_now(
        self, row: Row, endpoint: Row, content: str, env: list[Row] | None, flags: dict[str, bool]
    ) -> Answer:  # fmt: skip
        with self.deploy_lock:
            before = self._read(row)
            fresh = {**row, "Env": env, "EndpointId": endpoint["Id"]}
            self._write(fresh, content)
            try:
                self._deploy(fresh, endpoint, flags)
            except ComposeError as error:
                # The whole project goes down and the file goes back; the row keeps Status 1.
                # Of a Swarm stack nothing goes down.
                if row["Type"] == COMPOSE:
                    self._down_quietly(row, endpoint)
                self._write(row, before)
                raise HttpError(500, str(error), str(error)) from None
            row |= fresh
            self._touch(row)
        return json_answer(self._changed(row))

    def _update_later(
        self, row: Row, endpoint: Row, content: str, env: list[Row] | None, flags: dict[str, bool]
    ) -> Answer:  # fmt: skip
        with self.store.lock:
            if row["Status"] == DEPLOYING:
                raise HttpError(409, *_IN_PROGRESS)
            failed_before, before = row["Status"] == ERROR, self._read(row)
            row |= {
                "Env": env,
                "EndpointId": endpoint["Id"],
                "Status": DEPLOYING,
                "DeploymentStatus": [],
                "Option": {"Prune": flags["prune"]},
            }
            self._touch(row)

        def deploy() -> None:
            if failed_before and row["Type"] == COMPOSE:
                self._down_quietly(row, endpoint)
            self._write(row, content)
            try:
                self._deploy(row, endpoint, flags)
            except ComposeError:
                self._write(row, before)  # the file goes back; the environment stays new
                raise

        self._later(row, deploy)
        return json_answer(self._changed(row))

    def _changed(self, row: Row) -> Row:
        """What start, stop and update answer: without the row's resource control."""
        return self._public({**row, "ResourceControl": None})

    def _touch(self, row: Row) -> None:
        """An update detaches from git and moves the date."""
        if row["GitConfig"] is not None:
            row["FromAppTemplate"] = True
        row |= {"GitConfig": None, "AutoUpdate": None, "UpdateDate": int(time.time())}
        if not self.asynchronous:
            row["Status"] = ACTIVE
        self.store.save()

    def associate(self, request: Request) -> Answer:
        """PUT /stacks/{id}/associate: another environment has the stack; no container is touched.

        It asks not whether the stack's own environment is still there.
        """
        endpoint_id = request.number("endpointId")
        running = request.query.get("orphanedRunning")
        if running is None:
            reason = "Invalid query parameter: orphanedRunning"
            raise HttpError(400, reason, "Missing query parameter")
        row = self._get(request)
        with self.store.lock:
            self.environments.get(endpoint_id)
            if row["ResourceControl"] is not None:
                row["ResourceControl"]["ResourceId"] = f"{endpoint_id}_{row['Name']}"
            row |= {
                "EndpointId": endpoint_id,
                "SwarmId": request.query.get("swarmId", ""),
                "Status": ACTIVE if running == "true" else INACTIVE,
                "CreationDate": int(time.time()),
                "CreatedBy": request.user["Username"],
                "UpdateDate": 0,
                "UpdatedBy": "",
            }
            self.store.save()
        return json_answer(self._public(row))

    # -- start, stop, delete -------------------------------------------------------------------

    def start(self, request: Request) -> Answer:
        """POST /stacks/{id}/start."""
        row = self._get(request)
        endpoint = self._endpoint(request.number("endpointId"))
        if self.asynchronous and row["Status"] != INACTIVE:
            raise HttpError(409, "Stack is already active")
        if self._is_occupied(row["Name"], endpoint, row["SwarmId"]):
            raise HttpError(409, f"A stack with the name '{row['Name']}' is already running")
        if row["Status"] == ACTIVE:
            raise HttpError(400, "Stack is already active")
        if self.asynchronous:
            row |= {"Status": DEPLOYING, "DeploymentStatus": []}
            self.store.save()
            self._later(row, lambda: self._up(row, endpoint))
        else:
            try:
                self._up(row, endpoint)
            except ComposeError as error:
                raise HttpError(500, "Unable to start stack", str(error)) from None
            row["Status"] = ACTIVE
            self.store.save()
        return json_answer(self._changed(row))

    def stop(self, request: Request) -> Answer:
        """POST /stacks/{id}/stop."""
        row = self._get(request)
        endpoint = self._endpoint(request.number("endpointId"))
        if row["Status"] == INACTIVE:
            raise HttpError(400, "Stack is already inactive")
        self._down(row, endpoint, "Unable to stop stack")
        row["Status"] = INACTIVE
        self.store.save()
        return json_answer(self._changed(row))

    def delete(self, request: Request) -> Answer:
        """DELETE /stacks/{id}; a missing endpointId is endpoint 0, which doesn't exist."""
        row = self._get(request)
        endpoint = self._endpoint(request.number("endpointId", optional=True))
        self._down(row, endpoint, "Unable to delete stack")
        with self.store.lock:
            self.store.rows("stacks").remove(row)
            self.store.save()
        shutil.rmtree(self.directory(row), ignore_errors=True)
        return Answer(204)

    def _down(self, row: Row, endpoint: Row, message: str) -> None:
        with self.deploy_lock:
            try:
                self._undeploy(row, endpoint)
            except ComposeError as error:
                raise HttpError(500, message, str(error)) from None

    def _down_quietly(self, row: Row, endpoint: Row) -> None:
        with contextlib.suppress(ComposeError):  # what brought us here is the error worth telling
            self._undeploy(row, endpoint)

    def _undeploy(self, row: Row, endpoint: Row) -> None:
        if row["Type"] == SWARM:
            self.compose.stack_rm(endpoint, row)
        else:
            self.compose.down(endpoint, row["Name"], self._project_files(row))

    def _deploy(self, row: Row, endpoint: Row, flags: dict[str, bool]) -> None:
        directory = self.directory(row)
        if row["Type"] == SWARM:
            self.compose.stack_deploy(
                endpoint, row, directory, prune=flags["prune"], pull=flags["pull"]
            )
        else:
            self.compose.up(endpoint, row["Name"], directory, **flags)

    # -- files and the background --------------------------------------------------------------

    def _project_files(self, row: Row) -> Path | None:
        directory = self.directory(row)
        return directory if (directory / FILE).exists() else None

    def _up(self, row: Row, endpoint: Row) -> None:
        if self.asynchronous:
            self._up_unlocked(row, endpoint)
        else:
            with self.deploy_lock:
                self._up_unlocked(row, endpoint)

    def _up_unlocked(self, row: Row, endpoint: Row) -> None:
        # A new Swarm stack has its images resolved at a registry; a compose stack pulls nothing.
        pull = row["Type"] == SWARM
        self._deploy(row, endpoint, {"prune": False, "pull": pull, "recreate": False})

    def _later(self, row: Row, deploy: Any) -> None:
        def run() -> None:
            with self.deploy_lock:
                try:
                    deploy()
                except ComposeError as error:
                    self._finish(row, ERROR, str(error))
                except OSError as error:
                    self._finish(row, ERROR, f"emulator: {error}")
                else:
                    self._finish(row, ACTIVE, "")

        threading.Thread(target=run, daemon=True).start()

    def _finish(self, row: Row, status: int, message: str) -> None:
        row["Status"] = status
        row["DeploymentStatus"].append(
            {"Status": status, "Time": int(time.time()), "Message": message}
        )
        self.store.save()

    def _read(self, row: Row) -> str:
        try:
            return (self.directory(row) / FILE).read_bytes().decode()
        except OSError:
            return ""

    def _write(self, row: Row, content: str) -> None:
        directory = self.directory(row)
        directory.mkdir(parents=True, exist_ok=True)
        (directory / FILE).write_bytes(content.encode())
        lines = "".join(f"{pair['name']}={pair['value']}\n" for pair in row["Env"] or [])
        if lines:
            (directory / ENV_FILE).write_text(lines)
        else:
            (directory / ENV_FILE).unlink(missing_ok=True)


def _env(body: Row) -> list[Row] | None:
    """The payload's environment; absent and null are the same, and wipe."""
    pairs = body.get("env")
    if pairs is None:
        return None
    is_valid = isinstance(pairs, list) and all(
        isinstance(pair, dict) and isinstance(pair.get("name"), str) for pair in pairs
    )
    if not is_valid:
        raise HttpError(400, "Invalid request payload", "json: cannot unmarshal into field .Env")
    return [{"name": pair["name"], "value": str(pair.get("value", ""))} for pair in pairs]
