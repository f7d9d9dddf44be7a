"""The stacks of one Docker host without Portainer, each in a directory of its own there.

Has the same methods as Portainer's client, so that `phoenix.portainer_api.converge` plans, waits
for health and goes back to the last good version in the same way.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol
from urllib.parse import quote, urlencode

from typing_extensions import override

from phoenix import files
from phoenix.compose import dotenv
from phoenix.compose.project_folders import HOST_PROJECTS
from phoenix.portainer_api import errors
from phoenix.portainer_api.docker import DEPLOY_SECONDS, READ_SECONDS, DockerEngine
from phoenix.portainer_api.models import (
    PROJECT_LABEL,
    ContainerSummary,
    EnvVar,
    Stack,
    StackStatus,
    StackType,
    answer_as,
)
from phoenix.portainer_api.sync import ObservedStack, Version
from phoenix.shell import Script

HOST = 0
"""What stands for the environment's number: there is one host."""
_ROOT = HOST_PROJECTS.rstrip("/")
_REFUSED = 9
_UNFINISHED = "it was interrupted, or its containers did not come up"


class Answer(NamedTuple):
    """What the host's script printed and how it ended; `message` is its last words for a person."""

    status: int
    output: str
    message: str


class Ask(Protocol):
    """Runs a script with its words on the host."""

    def __call__(self, script: Script, /, *arguments: str, stdin: str = "") -> Answer:
        """The script's answer.

        Raises:
            errors.UnreachableError: the host does not answer, or not wholly.
        """


class ComposeHost(DockerEngine):
    """One Docker host without Portainer.

    Args:
        host: its name, for messages.
        ask: runs a script there.
        root: the directory of all stacks.
        clock, sleep: seconds since a start, and a pause of so many.
    """

    def __init__(
        self,
        host: str,
        ask: Ask,
        *,
        root: str = _ROOT,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        deploy_seconds: float = DEPLOY_SECONDS,
    ) -> None:
        """Asks nothing yet."""
        self.host = host
        self.clock = clock
        self.sleep = sleep
        self.deploy_seconds = deploy_seconds
        self._root = root
        self._ask = ask
        self._script = Script("compose-host", files.text("compose_host/host.sh"))

    # -- stacks ---------------------------------------------------------------------------------

    def observe(self, name: str, endpoint_id: int) -> ObservedStack:
        """Reads a stack's directory and its project's containers, in one round trip."""
        filters = json.dumps({"label": [f"{PROJECT_LABEL}={name}"]})
        path = f"/containers/json?{urlencode({'all': 1, 'filters': filters})}"
        lines = self._run("observe", name, path).output.splitlines()
        if len(lines) != 7:
            raise errors.UnreachableError(f"{self.host}: the answer about {name} is not whole")
        state, content, variables, good_content, good_variables = map(_decoded, lines[:5])
        rows = json.loads(self._checked("GET", path, lines[6])) or ()
        containers = tuple(
            self._with_restarts(endpoint_id, answer_as(ContainerSummary, row)) for row in rows
        )
        if state is None and content is None and variables is None:
            return ObservedStack((), None, containers)
        failed = (state or "").strip() != "good"
        stack = _stack(
            name, variables or "", updated=int(lines[5]), failure=_UNFINISHED if failed else ""
        )
        last_good = None
        if good_content is not None and good_variables is not None:
            last_good = Version(good_content, _stack(name, good_variables).env_mapping)
        return ObservedStack((stack,), content, containers, last_good)

    def current(self, stack: Stack) -> Stack:
        """The stack itself: the caller alone deploys it, so it cannot have changed meanwhile."""
        return stack

    def create_stack(
        self, endpoint_id: int, name: str, content: str, env: Mapping[str, str]
    ) -> Stack:
        """Writes the stack's files, its owner's alone, and has compose bring it up.

        Raises:
            errors.InvalidInputError: compose refuses the file; no container was touched.
            errors.DeploymentFailedError: it was not brought up.
        """
        del endpoint_id
        variables = "".join(f"{key}={dotenv.quote(value)}\n" for key, value in env.items())
        stdin = f"{_encoded(content)}\n{_encoded(variables)}\n"
        answer = self._call("deploy", name, str(int(self.deploy_seconds)), stdin=stdin)
        if answer.status == _REFUSED:
            raise errors.InvalidInputError(
                f"stack {name}: compose refuses it: {_words_of(answer)}. No container was touched"
            )
        if answer.status != 0:
            raise errors.DeploymentFailedError(_words_of(answer))
        return _stack(name, variables)

    def update_stack(self, stack: Stack, content: str, env: Mapping[str, str]) -> Stack:
        """As `create_stack`: compose replaces what differs, and removes orphans."""
        return self.create_stack(HOST, stack.name, content, env)

    def start_stack(self, stack: Stack) -> Stack:
        """As `create_stack`, from the stored files."""
        observed = self.observe(stack.name, HOST)
        return self.update_stack(stack, observed.content or "", stack.env_mapping)

    def delete_stack(self, stack: Stack) -> None:
        """Removes containers, networks and the stack's directory; volumes stay."""
        self._run("remove", stack.name)

    def associate_stack(self, stack: Stack, endpoint_id: int) -> Stack:
        """Returns the stack as it is: environments are Portainer's."""
        del endpoint_id
        return stack

    def wait_deployed(self, stack: Stack, seconds: float, *, poll: float = 1.0) -> Stack:
        """Return at once: `compose up` has already waited."""
        del seconds, poll
        return stack

    def keep_good(self, stack: Stack) -> None:
        """Keeps the version that is deployed as the one to go back to."""
        self._run("good", stack.name)

    # -- Docker ---------------------------------------------------------------------------------

    @override
    def pull_image(self, endpoint_id: int, image: str) -> str | None:
        answer = self._call("pull", image, str(int(self.deploy_seconds)))
        return None if answer.status == 0 else _words_of(answer)

    @override
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
        whole = f"{path}?{urlencode(query, quote_via=quote)}" if query else path
        return self._checked(method, whole, self._run("engine", method, whole).output.strip())

    @staticmethod
    def _checked(method: str, path: str, line: str) -> bytes:
        """The body of an answer of Docker's API, whose last line is the HTTP status."""
        body, _, status = base64.b64decode(line).rpartition(b"\n")
        code = int(status or 0)
        if code < 300:
            return body
        try:
            message = str(json.loads(body).get("message", ""))
        except (ValueError, AttributeError):
            message = body.decode(errors="replace")[:500]
        kind = errors.NotFoundError if code == 404 else errors.ApiError
        raise kind(code, message, "", method, path.partition("?")[0])

    def _call(self, *arguments: str, stdin: str = "") -> Answer:
        return self._ask(self._script, self._root, *arguments, stdin=stdin)

    def _run(self, *arguments: str) -> Answer:
        """An answer that must be good.

        Raises:
            errors.UnreachableError: it is not; with the host's words.
        """
        answer = self._call(*arguments)
        if answer.status != 0:
            raise errors.UnreachableError(f"{self.host}: {_words_of(answer)}")
        return answer


def _stack(name: str, variables: str, *, updated: int = 0, failure: str = "") -> Stack:
    """A directory as what Portainer would have of it."""
    # A value may hold other characters that Python takes for the end of a line.
    pairs = (line.partition("=") for line in variables.split("\n") if line)
    return Stack.model_validate({
        "Id": HOST, "Name": name, "Type": StackType.COMPOSE, "EndpointId": HOST,
        "Status": StackStatus.ERROR if failure else StackStatus.ACTIVE,
        "Env": [EnvVar(name=key, value=value) for key, _, value in pairs],
        "UpdateDate": updated,
        "DeploymentStatus": [{"Message": failure}] if failure else [],
    })  # fmt: skip


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _decoded(line: str) -> str | None:
    """A file's text, where a person wrote other bytes with marks in their places; None: no file."""
    return base64.b64decode(line[1:]).decode(errors="replace") if line.startswith("=") else None


def _words_of(answer: Answer) -> str:
    """The last words of compose or Docker, on one line."""
    lines = [line.strip() for line in answer.message.splitlines() if line.strip()]
    return "; ".join(lines[-5:]) or f"the command ended with status {answer.status}"
