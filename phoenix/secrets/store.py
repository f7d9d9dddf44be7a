"""Secrets: from the environment or a SOPS file, generated once where nothing is given.

A secret is read where it is used and never earlier, so that everything which needs none (an
inventory, a plan, a test) works without any.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import bcrypt
from pydantic import SecretStr

from phoenix.site.findings import SettingError
from phoenix.site.secret_names import is_secret_name

Origin = Literal["environment", "file", "sops", "store", "absent"]
"""Where a secret comes from; "absent": nowhere yet."""
_NEXT = ".next"  # no name has a dot, so none is taken for a candidate


_Version = tuple[int, int, int]
"""A file's inode, time of change in ns, and size: another one holds other content."""


class SecretError(SettingError):
    """A secret that is missing or cannot be read; the message never holds a secret."""


def _generate() -> str:
    return secrets.token_urlsafe(32)


@dataclass
class SecretStore:
    """The secrets of one site.

    Looked up in this order: PHOENIX_SECRET_NAME in the environment; the file that
    PHOENIX_SECRET_NAME_FILE names; the SOPS file that PHOENIX_SOPS_FILE names (decrypted by the
    `sops` program into memory only); the store at `path`, to which what is generated is added.
    """

    path: Path
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    _sops: dict[str, str] | None = field(default=None, repr=False)
    _proposed: dict[str, SecretStr] = field(default_factory=dict, repr=False)
    _read: tuple[_Version, dict[str, str]] | None = field(default=None, repr=False)

    def get(self, name: str, generate: Callable[[], str] = _generate) -> SecretStr:
        """The secret `name`; generated and kept (file mode 0600) if there is none yet.

        Raises:
            SecretError: the given source cannot be read, or the name is not a plain word.
        """
        value = self.find(name)
        if value is not None:
            return value
        stored = self._stored()
        stored[name] = generate()
        self._write(stored)
        return SecretStr(stored[name])

    def find(self, name: str) -> SecretStr | None:
        """The secret `name` if one was given or made before, else None."""
        return self._proposed.get(name) or self._look(name)[1]

    def origin(self, name: str) -> Origin:
        """Where `find` takes the secret from."""
        return self._look(name)[0]

    def _look(self, name: str) -> tuple[Origin, SecretStr | None]:
        if not is_secret_name(name):
            raise SecretError(f"{name!r} is not a secret's name: use a-z, 0-9 and underscores")
        variable = f"PHOENIX_SECRET_{name.upper()}"
        if value := self.environment.get(variable):
            return "environment", SecretStr(value)
        if file := self.environment.get(f"{variable}_FILE"):
            return "file", SecretStr(_content(f"{variable}_FILE", file))
        if value := self._from_sops().get(name):
            return "sops", SecretStr(value)
        if value := self._stored().get(name):
            return "store", SecretStr(value)
        return "absent", None

    # -- a secret that is being changed ---------------------------------------------------------

    def propose(self, name: str, generate: Callable[[], str] = _generate) -> SecretStr:
        """What `name` is to become: for this process `find` and `get` give it from now on.

        It is the candidate of an unfinished change, if there is one, else generated. Nothing
        is kept before `begin`, so that a plan that is not run leaves nothing.
        """
        if name not in self._proposed:
            candidate = self._stored().get(name + _NEXT)
            self._proposed[name] = SecretStr(candidate or generate())
        return self._proposed[name]

    def is_changing(self, name: str) -> bool:
        """Whether a change of `name` is unfinished; a secret that is given elsewhere has none."""
        return name + _NEXT in self._stored() and self.origin(name) in ("store", "absent")

    def present(self, name: str) -> SecretStr | None:
        """The value before the change that is proposed."""
        return self._look(name)[1]

    def begin(self, name: str) -> None:
        """Keep the proposed value beside the present one, from before it is known elsewhere."""
        self._write({**self._stored(), name + _NEXT: self._proposed[name].get_secret_value()})

    def begin_from(self, name: str, former: str) -> None:
        """As if a change of `name` from `former` to the present value had been begun.

        For a service that was put back to an earlier state, and knows the former value again.
        """
        stored = self._stored()
        present = stored.get(name + _NEXT) or stored[name]
        self._write({**stored, name: former, name + _NEXT: present})

    def finish(self, name: str) -> None:
        """The proposed value is the secret from now on."""
        stored = self._stored()
        stored.pop(name + _NEXT, None)
        stored[name] = self._proposed[name].get_secret_value()
        self._write(stored)

    # -- the store as a whole -------------------------------------------------------------------

    def dump(self) -> bytes | None:
        """The store's content as JSON, None where there is no store."""
        stored = self._stored()
        return json.dumps(stored, indent=2, sort_keys=True).encode() if stored else None

    def differences(self, values: Mapping[str, str]) -> tuple[list[str], list[str]]:
        """Names of `values` that the store lacks, and those that it has with another value."""
        stored = self._stored()
        added = sorted(name for name in values if name not in stored)
        other = sorted(name for name in values if stored.get(name, values[name]) != values[name])
        return added, other

    def merge(self, values: Mapping[str, str]) -> Path | None:
        """Take `values` over; a store that has others is first kept beside it, under this path."""
        stored = self._stored()
        aside = None
        if self.differences(values)[1]:
            aside = self.path.with_name(f"{self.path.name}.before-{time.strftime('%Y%m%dT%H%M%S')}")
            self._write(stored, aside)
        self._write({**stored, **values})
        return aside

    def values(self) -> list[SecretStr]:
        """Every value that is known here, from all sources: to keep them out of a log.

        Raises:
            SecretError: a source cannot be read.
        """
        values = [*self._stored().values(), *self._from_sops().values()]
        for name, value in self.environment.items():
            if name.startswith("PHOENIX_SECRET_") and value:
                values.append(_content(name, value) if name.endswith("_FILE") else value)
        return [SecretStr(value) for value in values if value]

    def _from_sops(self) -> dict[str, str]:
        if self._sops is None:
            file = self.environment.get("PHOENIX_SOPS_FILE")
            self._sops = _decrypt(file) if file else {}
        return self._sops

    def _stored(self) -> dict[str, str]:
        """The store's content; read again only when the file is another one than before."""
        try:
            state = self.path.stat()
            if state.st_mode & 0o077:
                raise SecretError(f"{self.path} is readable by others: chmod 600 {self.path}")
            version = (state.st_ino, state.st_mtime_ns, state.st_size)
            if self._read is None or self._read[0] != version:
                self._read = (version, _strings(self.path.read_text(), str(self.path)))
        except FileNotFoundError:
            return {}
        return dict(self._read[1])

    def _write(self, stored: dict[str, str], path: Path | None = None) -> None:
        path = path or self.path
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, temporary = tempfile.mkstemp(dir=path.parent)  # mkstemp makes it 0600
        with os.fdopen(handle, "w") as file:
            json.dump(stored, file, indent=2, sort_keys=True)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)


def _content(variable: str, file: str) -> str:
    try:
        return Path(file).read_text().rstrip("\n")
    except OSError as error:
        raise SecretError(f"{variable}: {error}") from error


def _decrypt(file: str) -> dict[str, str]:
    try:
        process = subprocess.run(
            ["sops", "--decrypt", "--output-type", "json", file],
            capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise SecretError("PHOENIX_SOPS_FILE is set, but sops is not installed here") from error
    except subprocess.SubprocessError as error:
        reason = getattr(error, "stderr", None) or "timed out"
        raise SecretError(f"sops cannot decrypt {file}: {reason}") from error
    return _strings(process.stdout, file)


def _strings(text: str, source: str) -> dict[str, str]:
    try:
        data = json.loads(text)
    except ValueError:
        data = None
    if not isinstance(data, dict) or not all(isinstance(v, str) for v in data.values()):
        # The parser's own message would quote the text, secrets and all.
        raise SecretError(f"{source} must hold one flat object of strings") from None
    return data


def htpasswd(user: str, password: SecretStr) -> str:
    """One line of an htpasswd file; the same line for the same password.

    A random salt would be a change on every run, so the salt is taken from the password by
    a slow hash of its own (PBKDF2), which tells an attacker nothing that the line does not.
    """
    salt_of_salt = b"phoenix " + user.encode()
    raw = hashlib.pbkdf2_hmac("sha256", password.get_secret_value().encode(), salt_of_salt, 200_000)
    salt = b"$2b$10$" + _bcrypt64(raw[:16])
    return f"{user}:{bcrypt.hashpw(password.get_secret_value().encode()[:72], salt).decode()}\n"


def _bcrypt64(raw: bytes) -> bytes:
    """Sixteen bytes in bcrypt's own alphabet, 22 characters, as a salt is written."""
    plain = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    own = b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
    return base64.b64encode(raw).rstrip(b"=").translate(bytes.maketrans(plain, own))
