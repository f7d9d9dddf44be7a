"""Registries with credentials: kept by the server, never told, used for pulls."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass

from .http import Answer, HttpError, Request, json_answer, not_in_database
from .store import Row, Store

AUTH_HEADER = "X-Registry-Auth"
_HIDDEN = {"Password"}


@dataclass
class Registries:
    """The server's registries, as its /registries has them."""

    store: Store

    def index(self, _: Request) -> Answer:
        """GET /registries: without passwords."""
        return json_answer([_public(row) for row in self.store.rows("registries")])

    def create(self, request: Request) -> Answer:
        """POST /registries."""
        body = request.json()
        name, url = str(body.get("name") or ""), str(body.get("url") or "")
        if not name or not url or body.get("type") not in range(1, 9):
            raise HttpError(400, "Invalid request payload", "Invalid registry name, url or type")
        with_login = bool(body.get("authentication"))
        if with_login and not (body.get("username") and body.get("password")):
            raise HttpError(
                400, "Invalid request payload",
                "Invalid credentials. Username and password must be specified when authentication "
                "is enabled",
            )  # fmt: skip
        with self.store.lock:
            if any(row["Name"] == name for row in self.store.rows("registries")):
                raise HttpError(409, "Another registry with the same name already exists")
            row: Row = {
                "Id": self.store.next_id("registries"),
                "Type": body["type"],
                "Name": name,
                "URL": url,
                "BaseURL": str(body.get("baseurl") or ""),
                "Authentication": with_login,
                "Username": str(body.get("username") or ""),
                "Password": str(body.get("password") or ""),
            }
            self.store.rows("registries").append(row)
            self.store.save()
        return json_answer(_public(row))

    def update(self, request: Request) -> Answer:
        """PUT /registries/{id}: absent fields stay."""
        row, body = self._get(request), request.json()
        with self.store.lock:
            for key in ("Name", "URL", "BaseURL", "Authentication", "Username", "Password"):
                if body.get(key.lower()) is not None:
                    row[key] = body[key.lower()]
            self.store.save()
        return json_answer(_public(row))

    def delete(self, request: Request) -> Answer:
        """DELETE /registries/{id}."""
        with self.store.lock:
            self.store.rows("registries").remove(self._get(request))
            self.store.save()
        return Answer(204)

    def _get(self, request: Request) -> Row:
        row = self.store.find("registries", int(request.args["id"]))
        if row is None:
            raise HttpError(
                404, "Unable to find a registry with the specified identifier inside the database",
                not_in_database("registries", request.args["id"]),
            )  # fmt: skip
        return row

    def put_credentials(self, request: Request) -> dict[str, str]:
        """Takes the client's header, which names a registry, off; gives Docker's in its place.

        Raises:
            HttpError: it names no registry.
        """
        header = request.headers.get(AUTH_HEADER)
        if not header:
            return {}
        del request.handler.headers[AUTH_HEADER]
        try:
            chosen = json.loads(base64.b64decode(header)).get("registryId")
        except (ValueError, AttributeError):
            raise HttpError(500, "Unable to decode the registry header") from None
        if not chosen:
            return {}
        row = self.store.find("registries", int(chosen))
        if row is None:
            words = not_in_database("registries", chosen)
            raise HttpError(500, "Unable to find the registry", words)
        login = {
            "username": row["Username"], "password": row["Password"], "serveraddress": row["URL"],
        }  # fmt: skip
        return {AUTH_HEADER: base64.urlsafe_b64encode(json.dumps(login).encode()).decode()}

    def docker_config(self) -> str:
        """A config.json for the docker CLI with every login."""
        auths = {
            row["URL"]: {
                "auth": base64.b64encode(f"{row['Username']}:{row['Password']}".encode()).decode()
            }
            for row in self.store.rows("registries")
            if row["Authentication"]
        }
        return json.dumps({"auths": auths})


def _public(row: Row) -> Row:
    return {key: value for key, value in row.items() if key not in _HIDDEN}
