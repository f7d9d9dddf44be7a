"""Users, tokens, API keys, the login limiter and the five-minute lock."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .http import Answer, HttpError, Request, json_answer, not_in_database
from .store import Row, Store

PASSWORD_BYTES = 12
PASSWORD_TOO_SHORT = "Password does not meet the minimum strength requirements"  # noqa: S105
SESSION_SECONDS = 8 * 3600
BAN_SECONDS = 3600.0
BUCKET = 10.0  # hits at once; then one a second
SCRYPT_N = 2**12  # what a hash of a password costs
COOKIE = "portainer_api_key"


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def hash_password(password: str, salt: bytes | None = None) -> str:
    """A salted scrypt hash (the real server uses bcrypt; the standard library has none)."""
    salt = salt or os.urandom(16)
    digest = hashlib.scrypt(password.encode(), salt=salt, n=SCRYPT_N, r=8, p=1)
    return f"scrypt${salt.hex()}${digest.hex()}"


def password_matches(password: str, stored: str) -> bool:
    """Whether `password` gives the stored hash."""
    return hmac.compare_digest(hash_password(password, bytes.fromhex(stored.split("$")[1])), stored)


@dataclass
class Limiter:
    """A bucket of ten hits for each address, filled by one a second; an empty one bans for an hour.

    Attributes:
        hits: by address, the hits that are left and when they were counted.
        clock: seconds since a start.
    """

    hits: dict[str, tuple[float, float]] = field(default_factory=dict)
    banned: dict[str, float] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    clock: Callable[[], float] = time.monotonic

    def check(self, client: str) -> None:
        """Counts one hit.

        Raises:
            HttpError: 403, banned.
        """
        now = self.clock()
        refused = HttpError(403, "Access denied", "Access denied to resource")
        with self.lock:
            if self.banned.get(client, now) > now:
                raise refused
            left, counted = self.hits.get(client, (BUCKET, now))
            left = min(BUCKET, left + now - counted)
            if left < 1:
                self.banned[client] = now + BAN_SECONDS
                raise refused
            self.hits[client] = (left - 1, now)


@dataclass
class Accounts:
    """The server's users. All are treated as administrators: the platform has no others.

    Attributes:
        setup_token: what admin init must carry in X-Setup-Token; with None it may be absent.
        admin_seconds: how long after the start an administrator may be created.
    """

    store: Store
    setup_token: str | None
    admin_seconds: float
    # Random for each process: every token dies with it, as with the real server.
    signing_key: bytes = field(default_factory=lambda: os.urandom(32))
    started: float = field(default_factory=time.monotonic)
    limiter: Limiter = field(default_factory=Limiter)

    def create_admin(self, username: str, password: str) -> Row:
        """Adds the first user."""
        return self._add(username, password, 1)

    def _add(self, username: str, password: str, role: int) -> Row:
        with self.store.lock:
            user = {
                "Id": self.store.next_id("users"),
                "Username": username,
                "Password": hash_password(password),
                "Role": role,
                "TokenIssueAt": 0,
                "ThemeSettings": {"color": ""},
                "UseCache": False,
                "PortainerAuthorizations": None,
                "EndpointAuthorizations": None,
            }
            self.store.rows("users").append(user)
            self.store.save()
        return user

    def locked(self) -> bool:
        """Whether the window for creating an administrator has closed without one.

        The real server looks once, five minutes after its start.
        """
        late = time.monotonic() - self.started > self.admin_seconds
        return late and not self.store.rows("users")

    # -- handlers ------------------------------------------------------------------------------

    def check(self, _: Request) -> Answer:
        """GET /users/admin/check."""
        if not self.store.rows("users"):
            raise HttpError(
                404,
                "No administrator account found inside the database",
                "Object not found inside the database",
            )
        return Answer(204)

    def init(self, request: Request) -> Answer:
        """POST /users/admin/init."""
        if self.setup_token is not None and not hmac.compare_digest(
            request.headers.get("X-Setup-Token", "").encode(), self.setup_token.encode()
        ):
            raise HttpError(
                403, "Invalid or missing setup token. Check the server's log for setup_token="
            )
        body = request.json()
        username, password = body.get("username"), body.get("password")
        if not isinstance(username, str) or not username or " " in username:
            reason = "Invalid username. Must not contain any whitespace"
            raise HttpError(400, "Invalid request payload", reason)
        if not isinstance(password, str) or not password:
            raise HttpError(400, "Invalid request payload", "Invalid password")
        with self.store.lock:
            if self.store.rows("users"):
                raise HttpError(
                    409,
                    "Unable to create administrator user",
                    "An administrator user already exists",
                )
            if len(password.encode()) < PASSWORD_BYTES:
                raise HttpError(400, "Password does not meet the requirements")
            return json_answer(self.create_admin(username, password))

    def login(self, request: Request) -> Answer:
        """POST /auth."""
        self.limiter.check(request.client)
        body = request.json()
        username, password = body.get("username"), body.get("password")
        if not isinstance(username, str) or not isinstance(password, str) or not username:
            raise HttpError(400, "Invalid request payload", "Invalid username")
        user = next((u for u in self.store.rows("users") if u["Username"] == username), None)
        if user is None or not password_matches(password, user["Password"]):
            raise HttpError(422, "Invalid credentials", "Unauthorized")
        token = self._token(user)
        cookie = f"{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict"
        return json_answer({"jwt": token}, headers={"Set-Cookie": cookie})

    def current_user(self, request: Request) -> Answer:
        """GET /users/me."""
        return json_answer(_without_password(request.user))

    def users(self, _: Request) -> Answer:
        """GET /users."""
        return json_answer([_without_password(user) for user in self.store.rows("users")])

    def create_user(self, request: Request) -> Answer:
        """POST /users."""
        body = request.json()
        username, password, role = body.get("username"), body.get("password"), body.get("role")
        if not isinstance(username, str) or not username or " " in username:
            reason = "Invalid username. Must not contain any whitespace"
            raise HttpError(400, "Invalid request payload", reason)
        if role not in (1, 2):
            reason = (
                "Invalid role value. Value must be one of: 1 (administrator) or 2 (regular user)"
            )
            raise HttpError(400, "Invalid request payload", reason)
        with self.store.lock:
            if any(user["Username"] == username for user in self.store.rows("users")):
                raise HttpError(
                    409, "Another user with the same username already exists", "User already exists"
                )
            if len(str(password).encode()) < PASSWORD_BYTES:
                raise HttpError(400, PASSWORD_TOO_SHORT)
            return json_answer(_without_password(self._add(username, str(password), role)))

    def change_password(self, request: Request) -> Answer:
        """PUT /users/{id}/passwd: tokens from before it end, API keys stay."""
        self.limiter.check(request.client)
        body = request.json()
        old, new = body.get("password"), body.get("newpassword")
        for value, message in ((old, "Invalid current password"), (new, "Invalid new password")):
            if not isinstance(value, str) or not value:
                raise HttpError(400, "Invalid request payload", message)
        with self.store.lock:
            user = self.store.find("users", int(request.args["id"]))
            if user is None:
                raise HttpError(
                    404,
                    "Unable to find a user with the specified identifier inside the database",
                    not_in_database("users", request.args["id"]),
                )
            if not password_matches(str(old), user["Password"]):
                raise HttpError(403, "Current password doesn't match", "Unauthorized")
            if len(str(new).encode()) < PASSWORD_BYTES:
                raise HttpError(400, PASSWORD_TOO_SHORT)
            user["Password"] = hash_password(str(new))
            user["TokenIssueAt"] = int(time.time())
            self.store.save()
        return Answer(204)

    def create_key(self, request: Request) -> Answer:
        """POST /users/{id}/tokens."""
        self.limiter.check(request.client)
        if request.auth_method == "key":
            raise HttpError(401, "Auth not supported", "API Key authentication not supported")
        if int(request.args["id"]) != request.user["Id"]:
            raise HttpError(403, "Permission denied to create user access token")
        body = request.json()
        description, password = body.get("description"), body.get("password")
        if not isinstance(description, str) or not 1 <= len(description.strip()) <= 127:
            raise HttpError(400, "Invalid request payload", "Invalid description")
        if not isinstance(password, str) or not password:
            raise HttpError(400, "Invalid request payload", "Invalid password")
        if not password_matches(password, request.user["Password"]):
            raise HttpError(403, "Current password doesn't match")
        raw = "ptr_" + base64.b64encode(os.urandom(32)).decode()
        with self.store.lock:
            row = {
                "id": self.store.next_id("keys"),
                "userId": request.user["Id"],
                "description": description,
                "prefix": raw[:7],
                "dateCreated": int(time.time()),
                "lastUsed": 0,
                "digest": _digest(raw),
            }
            self.store.rows("keys").append(row)
            self.store.save()
        return json_answer({"rawAPIKey": raw, "apiKey": row}, 201)

    def keys(self, request: Request) -> Answer:
        """GET /users/{id}/tokens."""
        rows = [
            {key: value for key, value in row.items() if key != "digest"}
            for row in self.store.rows("keys")
            if row["userId"] == int(request.args["id"])
        ]
        return json_answer(rows)

    def delete_key(self, request: Request) -> Answer:
        """DELETE /users/{id}/tokens/{key}."""
        with self.store.lock:
            row = self.store.find("keys", int(request.args["key"]), "id")
            if row is None:
                raise HttpError(
                    500, "API Key not found", not_in_database("api_key", request.args["key"])
                )
            self.store.rows("keys").remove(row)
            self.store.save()
        return Answer(204)

    # -- authentication ------------------------------------------------------------------------

    def authenticate(self, request: Request) -> None:
        """Finds the user: API key, then cookie, then bearer. A bad one fails at once.

        Raises:
            HttpError: 401, or 403 for two credentials and for a cookie without a CSRF token.
        """
        key = request.headers.get("X-API-Key")
        bearer = request.headers.get("Authorization")
        cookie = _cookie(request)
        if key and bearer and not cookie:
            words = "api key and auth header are not allowed at the same time"
            raise HttpError(403, words, words.capitalize())
        if cookie and request.method not in ("GET", "HEAD", "OPTIONS", "TRACE"):
            raise HttpError(403, text="Forbidden - CSRF token not found in request\n")
        if key:
            self._by_key(request, key)
            return
        token = cookie or (bearer or "").removeprefix("Bearer ") or request.query.get("token", "")
        if not token:
            raise HttpError(401, "A valid authorization token is missing", "Unauthorized")
        claims = self._claims(token)
        user = self.store.find("users", int(claims["id"]))
        if user is None:
            raise HttpError(401, "An authorization token is invalid", "Unauthorized")
        if claims["iat"] < user["TokenIssueAt"]:
            raise HttpError(401, "Invalid JWT token", "Unauthorized")
        request.user, request.auth_method = user, "token"

    def _by_key(self, request: Request, key: str) -> None:
        digest = _digest(key)
        row = next((r for r in self.store.rows("keys") if r["digest"] == digest), None)
        user = self.store.find("users", row["userId"]) if row else None
        if user is None:
            raise HttpError(401, "Invalid JWT token", "Unauthorized")
        request.user, request.auth_method = user, "key"

    def _token(self, user: Row) -> str:
        now = int(time.time())
        claims = {
            "id": user["Id"],
            "username": user["Username"],
            "role": user["Role"],
            "scope": "default",
            "forceChangePassword": False,
            "jti": secrets.token_hex(16),
            "exp": now + SESSION_SECONDS,
            "iat": now,
        }
        head = _b64(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())
        signed = f"{head}.{_b64(json.dumps(claims).encode())}"
        return f"{signed}.{_b64(self._mac(signed))}"

    def _mac(self, text: str) -> bytes:
        return hmac.new(self.signing_key, text.encode(), hashlib.sha256).digest()

    def _claims(self, token: str) -> dict[str, Any]:
        unauthorized = HttpError(401, "Invalid JWT token", "Unauthorized")
        try:
            head, body, mac = token.split(".")
            if not hmac.compare_digest(self._mac(f"{head}.{body}"), _unb64(mac)):
                raise unauthorized
            claims: dict[str, Any] = json.loads(_unb64(body))
        except ValueError:
            raise unauthorized from None
        if claims["exp"] < time.time():
            raise unauthorized
        return claims


def _without_password(user: Row) -> Row:
    return {key: value for key, value in user.items() if key != "Password"}


def _digest(raw: str) -> str:
    return base64.b64encode(hashlib.sha256(raw.encode()).digest()).decode()


def _cookie(request: Request) -> str:
    for part in request.headers.get("Cookie", "").split(";"):
        name, _, value = part.strip().partition("=")
        if name == COOKIE:
            return value
    return ""
