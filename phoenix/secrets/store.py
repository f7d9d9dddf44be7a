"""Secrets: from the environment or a SOPS file, generated once where nothing is given.

A secret is read at its use and not earlier, so that inventories, plans and tests work without
secrets.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import bcrypt
from pydantic import SecretStr

from phoenix import bounded
from phoenix.secrets import private_file, sops
from phoenix.secrets.errors import SecretError, flat_strings
from phoenix.secrets.slow_hashes import slow_hash, was_read
from phoenix.site.secret_names import is_secret_name

Origin = Literal["environment", "file", "sops", "store", "absent"]
"""Where a secret comes from; "absent": nowhere yet."""
DEFAULT = "~/.config/phoenix/secrets.json"
"""The store of an inventory that names none."""
KEPT = ("store", "sops", "absent")
"""Origins of secrets that Phoenix can change: a new value is written where the old one was."""
_NEXT = ".next"  # no name has a dot, so none is taken for a candidate


_Version = tuple[int, int, int]
"""A file's inode, time of change in ns, and size: another one holds other content."""


def random_text() -> str:
    """A value that nobody guesses: 256 random bits, in letters, digits, - and _."""
    return secrets.token_urlsafe(32)


@dataclass
class SecretStore:
    """The secrets of one site.

    Looked up in this order: PHOENIX_SECRET_NAME in the environment; the file that
    PHOENIX_SECRET_NAME_FILE names; the SOPS file (decrypted into memory only); the store at
    `path`. What is generated or imported is added to the SOPS file where there is one, else to the
    store.

    Attributes:
        path: the store, one machine's own file.
        team_file: the SOPS file of the site, used where it is there; PHOENIX_SOPS_FILE names
            another one.
    """

    path: Path
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    team_file: Path | None = None
    _sops: tuple[Path, _Version | None, dict[str, str]] | None = field(default=None, repr=False)
    _proposed: dict[str, SecretStr] = field(default_factory=dict, repr=False)
    _made: dict[str, SecretStr] = field(default_factory=dict, repr=False)
    _read: tuple[_Version, dict[str, str]] | None = field(default=None, repr=False)

    def get(self, name: str, generate: Callable[[], str] = random_text) -> SecretStr:
        """The secret `name`; generated if there is none, the same for all of this process.

        Nothing is kept before `keep`, so that a plan that is not run leaves nothing.

        Raises:
            SecretError: the given source cannot be read, or the name is not a plain word.
        """
        value = self.find(name)
        if value is not None:
            return value
        if name not in self._made:
            self._made[name] = SecretStr(generate())
        return self._made[name]

    def keep(self, name: str) -> bool:
        """Keep what `get` has generated, before it is known elsewhere.

        Returns:
            Whether it was kept just now; False where it was kept or given before.

        Raises:
            SecretError: meanwhile another process has kept another value.
        """
        generated = self._made.pop(name, None)
        if generated is None:
            return False
        if self.origin(name) != "absent":
            raise SecretError(
                f"secret {name} was made elsewhere while this run was prepared: run it again"
            )
        self._put({name: generated.get_secret_value()})
        return True

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

    def propose(self, name: str, generate: Callable[[], str] = random_text) -> SecretStr:
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
        return name + _NEXT in self._stored() and self.origin(name) in KEPT

    def candidate(self, name: str) -> SecretStr | None:
        """What `name` is to become by an unfinished change; None where there is none."""
        return SecretStr(self._stored()[name + _NEXT]) if self.is_changing(name) else None

    def is_proposed(self, name: str) -> bool:
        """Whether this process has proposed another value of `name`."""
        return name in self._proposed

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
        candidate = self._stored().get(name + _NEXT)
        if candidate is None:
            value = self.present(name)
            assert value is not None  # noqa: S101  # the caller compared it with the former one
            candidate = value.get_secret_value()
        self._write({**self._stored(), name + _NEXT: candidate})
        self._put({name: former})

    def finish(self, name: str) -> None:
        """The proposed value is the secret from now on."""
        self._put({name: self._proposed[name].get_secret_value()})
        stored = self._stored()
        if stored.pop(name + _NEXT, None) is not None:
            self._write(stored)

    def abandon(self, name: str) -> None:
        """Forget the proposed value: the present one stays the secret, here and from now on."""
        self._proposed.pop(name, None)
        stored = self._stored()
        if stored.pop(name + _NEXT, None) is not None:
            self._write(stored)

    # -- where secrets are kept -----------------------------------------------------------------

    @property
    def sops_file(self) -> Path | None:
        """The SOPS file in use."""
        if path := self.environment.get("PHOENIX_SOPS_FILE"):
            return Path(path)
        return self.team_file if self.team_file is not None and self.team_file.exists() else None

    @property
    def place(self) -> Path:
        """The file to which secrets are added."""
        return self.sops_file or self.path

    def _put(self, values: Mapping[str, str]) -> None:
        """Keep `values`: in the store those that it has, the others in `place`."""
        file, stored = self.sops_file, self._stored()
        shared = self._from_sops() if file is not None else {}
        local = {
            name: value
            for name, value in values.items()
            if file is None or (name in stored and name not in shared)
        }
        others = {name: value for name, value in values.items() if name not in local}
        if file is not None and others:
            sops.rewrite(file, shared | others)
        if local:
            self._write(stored | local)

    # -- the store as a whole -------------------------------------------------------------------

    def of_this_machine(self) -> dict[str, str]:
        """What the store holds, candidates of changes included."""
        return self._stored()

    def all_values(self) -> dict[str, str]:
        """What the store and the SOPS file hold, candidates of changes included."""
        return self._stored() | self._from_sops()

    def kept_names(self) -> frozenset[str]:
        """The names of all that is kept; a SOPS file has them in clear, and is not decrypted."""
        names = set(self._stored())
        if self.sops_file is not None and self.sops_file.exists():
            names |= sops.names(self.sops_file)
        return frozenset(names)

    def forget(self, name: str) -> bool:
        """Remove a secret from the store and the SOPS file, the candidate of a change too.

        Returns:
            Whether there was one.

        Raises:
            SecretError: a file cannot be read or written.
        """
        gone, removed = {name, name + _NEXT}, False
        stored = self._stored()
        if gone & stored.keys():
            self._write({key: value for key, value in stored.items() if key not in gone})
            removed = True
        file, shared = self.sops_file, self._from_sops()
        if file is not None and gone & shared.keys():
            sops.rewrite(file, {key: value for key, value in shared.items() if key not in gone})
            removed = True
        return removed

    def dump(self) -> bytes | None:
        """What is kept as JSON, None where nothing is."""
        secrets = self.all_values()
        return json.dumps(secrets, indent=2, sort_keys=True).encode() if secrets else None

    def differences(self, values: Mapping[str, str]) -> tuple[list[str], list[str]]:
        """Names of `values` that are not kept here, and those that are with another value."""
        stored = self.all_values()
        added = sorted(name for name in values if name not in stored)
        other = sorted(name for name in values if stored.get(name, values[name]) != values[name])
        return added, other

    def merge(self, values: Mapping[str, str]) -> Path | None:
        """Take `values` over; a store that has others is first kept beside it, under this path."""
        stored = self._stored()
        aside = None
        if any(stored.get(name, value) != value for name, value in values.items()):
            aside = self.path.with_name(f"{self.path.name}.before-{time.strftime('%Y%m%dT%H%M%S')}")
            self._write(stored, aside)
        self._put(values)
        return aside

    def values(self) -> list[SecretStr]:
        """Every value that is known here, from all sources: to keep them out of a log.

        Raises:
            SecretError: a source cannot be read.
        """
        values = [*self._stored().values(), *self._from_sops().values()]
        for name, value in self.environment.items():
            if name.startswith("PHOENIX_SECRET_") and value:
                # A secret may be called X_file itself: then this is its value, and no path.
                is_path = name.endswith("_FILE") and Path(value).exists()
                values.append(_content(name, value) if is_path else value)
        return [SecretStr(value) for value in values if value]

    def _from_sops(self) -> dict[str, str]:
        """What the SOPS file holds; decrypted again only when it is another one than before."""
        file = self.sops_file
        if file is None:
            return {}
        version = _version(file.stat()) if file.exists() else None
        if self._sops is None or self._sops[:2] != (file, version):
            self._sops = (file, version, sops.decrypt(file))
        return dict(self._sops[2])

    def _stored(self) -> dict[str, str]:
        """The store's content; read again only when the file is another one than before."""
        try:
            state = self.path.stat()
            if state.st_mode & 0o077:
                raise SecretError(f"{self.path} is readable by others: chmod 600 {self.path}")
            version = _version(state)
            if self._read is None or self._read[0] != version:
                self._read = (version, flat_strings(_text(self.path), str(self.path)))
                was_read(self.path, state, self._read[1])
        except FileNotFoundError:
            return {}
        return dict(self._read[1])

    def _write(self, stored: dict[str, str], path: Path | None = None) -> None:
        private_file.write(path or self.path, stored)


def _version(state: os.stat_result) -> _Version:
    return state.st_ino, state.st_mtime_ns, state.st_size


def _text(file: Path) -> str:
    try:
        return bounded.read(file).decode()
    except FileNotFoundError:
        raise
    except (OSError, UnicodeDecodeError) as error:
        reason = "it is not UTF-8 text" if isinstance(error, ValueError) else str(error)
        raise SecretError(f"{file} cannot be read: {reason}") from None


def _content(variable: str, file: str) -> str:
    try:
        return _text(Path(file)).rstrip("\n")
    except (FileNotFoundError, SecretError) as error:
        raise SecretError(f"{variable}: {error}") from None


def of_inventory(data: Mapping[str, Any]) -> SecretStore:
    """The secrets of the site whose hosts have this data.

    Args:
        data: what the inventory gives each host: `site_secrets`, and `site_sops` where it has one.
    """
    team_file = data.get("site_sops")
    path = Path(data.get("site_secrets") or DEFAULT).expanduser()
    return SecretStore(path, team_file=Path(team_file).expanduser() if team_file else None)


def htpasswd(user: str, password: SecretStr) -> str:
    """One line of an htpasswd file; the same line for the same password.

    A random salt would be a change on every run, so the salt is taken from the password by
    a slow hash of its own (PBKDF2), which tells an attacker nothing that the line does not.
    """
    value = password.get_secret_value()

    def line() -> str:
        salt_of_salt = b"phoenix " + user.encode()
        raw = hashlib.pbkdf2_hmac("sha256", value.encode(), salt_of_salt, 200_000)
        salt = b"$2b$10$" + _bcrypt64(raw[:16])
        return f"{user}:{bcrypt.hashpw(value.encode()[:72], salt).decode()}\n"

    return slow_hash(f"htpasswd {user}", value, line)


def _bcrypt64(raw: bytes) -> bytes:
    """Sixteen bytes in bcrypt's own alphabet, 22 characters, as a salt is written."""
    plain = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    own = b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
    return base64.b64encode(raw).rstrip(b"=").translate(bytes.maketrans(plain, own))
