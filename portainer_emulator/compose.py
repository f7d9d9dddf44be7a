"""Deploys compose projects for real: ``docker compose`` against the agent's Docker.

The CLI can't sign the agent's requests, so it talks plain HTTP to a proxy on this process's
loopback, which adds the signature headers and passes everything on by TLS.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from .environments import Environments
from .http import Answer, AppServer, HttpError, Request
from .relay import connect_agent, relay
from .store import Row

FILE = "docker-compose.yml"
ENV_FILE = "stack.env"
DEPLOY_SECONDS = 900


class ComposeError(Exception):
    """Compose failed; the text is its own."""


@dataclass
class Compose:
    """Runs compose.

    Attributes:
        command: the program and its first words, ``("docker", "compose")``.
        environment: the server's own, which the real one hands to compose whole: a stack's file
            may name each of its variables, AGENT_SECRET as well.
    """

    environments: Environments
    command: tuple[str, ...] = ("docker", "compose")
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    def up(
        self, row: Row, project: str, directory: Path, *, prune: bool, pull: bool, recreate: bool
    ) -> None:
        """``compose up -d``; done when compose is, healthy or not, as with the real server.

        Raises:
            ComposeError: with compose's stderr.
        """
        words = ["up", "-d"]
        words += ["--remove-orphans"] if prune else []
        words += ["--pull", "always"] if pull else []
        words += ["--force-recreate"] if recreate else []
        try:
            self._run(row, project, directory, words)
        except ComposeError as error:
            raise ComposeError(f"failed to deploy a stack: {error}") from None

    def down(self, row: Row, project: str, directory: Path | None) -> None:
        """``compose down --remove-orphans``; volumes stay.

        Raises:
            ComposeError: with compose's stderr.
        """
        self._run(row, project, directory, ["down", "--remove-orphans"])

    def stack_deploy(
        self, row: Row, stack: Row, directory: Path, *, prune: bool, pull: bool
    ) -> None:
        """``docker stack deploy``: each variable reaches it in its environment, as it is.

        Raises:
            ComposeError: with its stderr.
        """
        words = ["deploy", *(["--prune"] if prune else []), "--with-registry-auth"]
        words += [] if pull else ["--resolve-image=never"]
        words += ["--compose-file", str(directory / FILE), stack["Name"]]
        values = {pair["name"]: pair["value"] for pair in stack["Env"] or []}
        self._call(row, [*self.command[:-1], "stack", *words], directory, values)

    def stack_rm(self, row: Row, stack: Row) -> None:
        """``docker stack rm``: done when its services are gone; their tasks end later.

        Raises:
            ComposeError: with its stderr.
        """
        self._call(row, [*self.command[:-1], "stack", "rm", stack["Name"]], None, {})

    def _run(self, row: Row, project: str, directory: Path | None, words: list[str]) -> None:
        command = [*self.command, "--ansi", "never", "-p", project]
        if directory is not None:
            command += ["-f", str(directory / FILE)]
            if (directory / ENV_FILE).exists():
                command += ["--env-file", str(directory / ENV_FILE)]
        self._call(row, command + words, directory, {})

    def _call(
        self, row: Row, command: list[str], directory: Path | None, values: Mapping[str, str]
    ) -> None:
        with self._docker_host(row) as docker_host, tempfile.TemporaryDirectory() as config:
            Path(config, "config.json").write_text(self.environments.registries.docker_config())
            env = {**self.environment, **values}
            env |= {"DOCKER_HOST": docker_host, "DOCKER_CONFIG": config}
            try:
                result = subprocess.run(
                    command,
                    cwd=directory or "/",
                    env=env,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    timeout=DEPLOY_SECONDS,
                    check=False,
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                raise ComposeError(str(error)) from None
        if result.returncode != 0:
            raise ComposeError(result.stderr.strip() or f"compose ended with {result.returncode}")

    @contextmanager
    def _docker_host(self, row: Row) -> Iterator[str]:
        if row["Type"] != 2:
            yield row["URL"]
            return
        url, environments = row["URL"], self.environments

        def sign_and_relay(request: Request) -> Answer | None:
            try:
                upstream = connect_agent(url)
            except OSError as error:
                raise HttpError(502, f"agent {url}: {error}") from None
            relay(request.handler, upstream, request.handler.path, environments.signature())
            return None

        server = AppServer("127.0.0.1", 0, sign_and_relay).start()
        try:
            yield f"tcp://127.0.0.1:{server.port}"
        finally:
            server.stop()
