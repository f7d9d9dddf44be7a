"""The server: routes, and the lock and authentication around all of them."""

from __future__ import annotations

import os
import secrets
import shutil
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .accounts import Accounts
from .compose import Compose
from .environments import Environments
from .http import Answer, App, AppServer, HttpError, Request, Route, find_route, json_answer, route
from .registries import Registries
from .signing import load_or_make_key
from .stacks import Stacks
from .store import Store

SETUP_TOKEN_SINCE = (2, 43)
_PAGE = b"<!doctype html><title>Portainer</title><p>Portainer (Phoenix lab emulator)</p>"


@dataclass(frozen=True)
class Settings:
    """How the server runs.

    Attributes:
        version: what it reports; decides whether a setup token is asked for.
        asynchronous: the deployment model (2.45) or the synchronous one (2.21 to 2.39).
        admin_password: creates the administrator at start; None leaves it to the API.
        setup_token: None makes a random one where the version wants one, "" asks for none.
        agent_secret: AGENT_SECRET.
        environment: of the process, which compose is given whole; None: that of this one.
        certificate: files of the server's certificate and key, which it copies into its data.
        admin_seconds: the window for creating an administrator.
    """

    data: Path
    version: str = "2.39.1"
    asynchronous: bool = False
    admin_password: str | None = None
    setup_token: str | None = None
    agent_secret: str = ""
    admin_seconds: float = 300.0
    snapshot_seconds: float = 300.0
    compose: tuple[str, ...] = ("docker", "compose")
    environment: Mapping[str, str] | None = None
    certificate: tuple[Path, Path] | None = None


class Portainer:
    """The server as one app."""

    def __init__(
        self,
        settings: Settings,
        log: Callable[[str], None] = print,
        request_log: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Loads the data directory and creates the administrator where a password is given.

        Raises:
            SchemaError: the data are of a newer server.
        """
        self.settings = settings
        self._request_log = request_log
        self.store = Store(settings.data)
        self.store.migrate(settings.version)
        if settings.certificate is not None:
            self._keep_certificate(settings.certificate)
        token = settings.setup_token
        numbers = tuple(int(part) for part in settings.version.split(".")[:2])
        if token is None and settings.admin_password is None and numbers >= SETUP_TOKEN_SINCE:
            token = secrets.token_hex(32)
            if not self.store.rows("users"):
                log(f"setup_token={token}")
        self.accounts = Accounts(self.store, token or None, settings.admin_seconds)
        if settings.admin_password is not None and not self.store.rows("users"):
            self.accounts.create_admin("admin", settings.admin_password)
        self.registries = Registries(self.store)
        self.environments = Environments(
            self.store, load_or_make_key(settings.data), settings.agent_secret, self.registries
        )
        self.stacks = Stacks(
            self.store,
            self.environments,
            Compose(
                self.environments,
                settings.compose,
                dict(os.environ) if settings.environment is None else settings.environment,
            ),
            settings.asynchronous,
        )
        self._public, self._private = self._routes()
        self._ended = threading.Event()
        threading.Thread(target=self._snapshots, daemon=True).start()

    def _keep_certificate(self, files: tuple[Path, Path]) -> None:
        """Copies certificate and key into the data: whoever has a backup of them has the key."""
        directory = self.store.directory / "certs"
        directory.mkdir(exist_ok=True)
        for source, name in zip(files, ("cert.pem", "key.pem"), strict=True):
            shutil.copyfile(source, directory / name)
            (directory / name).chmod(0o600)

    def _routes(self) -> tuple[list[Route], list[Route]]:
        accounts, environments, stacks = self.accounts, self.environments, self.stacks
        public = [
            route("GET", "/api/system/status", self._status),
            route("GET", "/api/status", self._status),
            route("GET", "/api/settings/public", self._public_settings),
            route("GET", "/api/users/admin/check", accounts.check),
            route("POST", "/api/users/admin/init", accounts.init),
            route("POST", "/api/auth", accounts.login),
        ]
        private = [
            route("GET", "/api/users/me", accounts.current_user),
            route("GET", "/api/users", accounts.users),
            route("POST", "/api/users", accounts.create_user),
            route("GET", "/api/settings", self._settings),
            route("PUT", "/api/settings", self._change_settings),
            route("PUT", "/api/users/{id}/passwd", accounts.change_password),
            route("GET", "/api/users/{id}/tokens", accounts.keys),
            route("POST", "/api/users/{id}/tokens", accounts.create_key),
            route("DELETE", "/api/users/{id}/tokens/{key}", accounts.delete_key),
            route("GET", "/api/endpoints", environments.index),
            route("POST", "/api/endpoints", environments.create),
            route("GET", "/api/endpoints/{id}", environments.show),
            route("PUT", "/api/endpoints/{id}", environments.update),
            route("DELETE", "/api/endpoints/{id}", environments.delete),
            route("POST", "/api/endpoints/{id}/snapshot", environments.snapshot),
            route("ANY", "/api/endpoints/{id}/docker/{path*}", environments.proxy),
            route("GET", "/api/websocket/exec", environments.websocket),
            route("GET", "/api/registries", self.registries.index),
            route("POST", "/api/registries", self.registries.create),
            route("PUT", "/api/registries/{id}", self.registries.update),
            route("DELETE", "/api/registries/{id}", self.registries.delete),
            route("GET", "/api/stacks", stacks.index),
            route("POST", "/api/stacks/create/standalone/string", stacks.create),
            route("POST", "/api/stacks/create/swarm/string", stacks.create_swarm),
            route(
                "POST", "/api/stacks/create/standalone/repository", stacks.create_from_repository
            ),
            route("GET", "/api/stacks/{id}", stacks.show),
            route("PUT", "/api/stacks/{id}", stacks.update),
            route("DELETE", "/api/stacks/{id}", stacks.delete),
            route("PUT", "/api/stacks/{id}/associate", stacks.associate),
            route("GET", "/api/stacks/{id}/file", stacks.file),
            route("POST", "/api/stacks/{id}/start", stacks.start),
            route("POST", "/api/stacks/{id}/stop", stacks.stop),
        ]
        return public, private

    def __call__(self, request: Request) -> Answer | None:
        """Answers one request, and logs it: no query, header or body, where secrets would be."""
        status = 500
        try:
            answer = self._answer(request)
            status = answer.status if answer else 0  # 0: passed on, with the answer of another
        except HttpError as error:
            status = error.status
            raise
        finally:
            self._request_log(f"request {request.method} {request.path} {status}")
        return answer

    def _answer(self, request: Request) -> Answer | None:
        if not request.path.startswith("/api/"):
            if request.path in ("/", "/index.html") and request.method in ("GET", "HEAD"):
                return Answer(200, _PAGE, {"Content-Type": "text/html; charset=utf-8"})
            raise HttpError(404, text="404 page not found\n")
        # Exactly these two still answer once the window has closed.
        if self.accounts.locked() and request.handler.path not in (
            "/api/status",
            "/api/settings/public",
        ):
            raise HttpError(
                303,
                "Administrator initialization timeout",
                headers={"redirect-reason": "AdminInitTimeout"},
            )
        app = self._find(request)
        return app(request)

    def _find(self, request: Request) -> App:
        try:
            return find_route(self._public, request)
        except HttpError as error:
            if error.status == 405:
                raise
        app = find_route(self._private, request)
        self.accounts.authenticate(request)
        return app

    def _status(self, _: Request) -> Answer:
        return json_answer(
            {"Version": self.settings.version, "InstanceID": self.store.data["instance"]}
        )

    def _public_settings(self, _: Request) -> Answer:
        return json_answer(
            {"AuthenticationMethod": 1, "RequiredPasswordLength": 12, "EnableTelemetry": False}
        )

    def _settings(self, _: Request) -> Answer:
        """GET /settings."""
        hidden = self.store.data.get("hidden", [])
        return json_answer({"AuthenticationMethod": 1, "BlackListedLabels": hidden})

    def _change_settings(self, request: Request) -> Answer:
        """PUT /settings: absent fields stay."""
        labels = request.json().get("blacklistedlabels")
        if labels is not None:
            with self.store.lock:
                self.store.data["hidden"] = labels
                self.store.save()
        return self._settings(request)

    def close(self) -> None:
        """End what it does by itself; nothing is written to its data after that."""
        self._ended.set()

    def _snapshots(self) -> None:
        while not self._ended.wait(self.settings.snapshot_seconds):
            for row in list(self.store.rows("endpoints")):
                self.environments.refresh(row)


def serve(portainer: Portainer, host: str, port: int, certificate: Path, key: Path) -> AppServer:
    """Starts the HTTPS listener, HTTP/1.1 as the real one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    return AppServer(host, port, portainer, context).start()
