"""What the site remembers of its secrets: digests of their values, the newest last.

By it a machine is noticed that has an older value than the site: a laptop that was away while a
secret was rotated. The hypervisor keeps the file, and no value is in it: a digest is made by scrypt
(RFC 7914) with the site's own salt, so that a short password is not found by trying.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from phoenix.secrets.errors import SecretError
from phoenix.secrets.slow_hashes import slow_hash
from phoenix.shell import Script

FILE = "/var/lib/phoenix/secrets.json"
"""On the hypervisor, mode 0600."""
KEPT = 20
"""So many values of a secret are remembered."""
READ = Script("secret-record", 'if [ -e "$1" ]; then cat "$1"; fi')
"""Word: the file."""
WRITE = Script(
    "secret-record",
    """umask 077; mkdir -p -m 755 "${1%/*}" &&
cat >"$1.new" && sync "$1.new" && mv "$1.new" "$1" """,
)
"""Word: the file. Its new content comes in."""

Age = Literal["unknown", "current", "older"]
"""How a machine's value stands to the site's: another one than any before, the site's own, or one
that the site had before."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Value(_Model):
    """One value of a secret: its digest, since when the site has it, and by whom."""

    digest: str
    since: datetime
    by: str


class Record(_Model):
    """The values of each secret by its name, the newest last."""

    salt: str = Field(default_factory=lambda: secrets.token_hex(16))
    values: dict[str, tuple[Value, ...]] = {}

    def is_older(self, name: str, value: str) -> bool:
        """Whether a machine's value of a secret is one that the site had before its own.

        No digest is made where the site has had one value: each takes a thirtieth of a second.
        """
        return len(self.values.get(name, ())) > 1 and self.age(name, value) == "older"

    def age(self, name: str, value: str) -> Age:
        """How a machine's value of a secret stands to the site's."""
        known = [record.digest for record in self.values.get(name, ())]
        digest = digest_of(self.salt, name, value)
        if digest not in known:
            return "unknown"
        return "current" if known[-1] == digest else "older"

    def newest(self, name: str) -> Value:
        """What the site has now.

        Raises:
            KeyError: nothing is remembered of this secret.
        """
        return self.values[name][-1]

    def with_value(self, name: str, value: str, now: datetime, by: str) -> Record:
        """The record after the site was given a value; the same one where it had it."""
        if self.age(name, value) == "current":
            return self
        digest = digest_of(self.salt, name, value)
        former = tuple(record for record in self.values.get(name, ()) if record.digest != digest)
        new = (*former, Value(digest=digest, since=now, by=by))[-KEPT:]
        return self.model_copy(update={"values": {**self.values, name: new}})


def digest_of(salt: str, name: str, value: str) -> str:
    """A value's digest."""
    salted = f"{salt} {name}".encode()

    def digest() -> str:
        return hashlib.scrypt(value.encode(), salt=salted, n=2**14, r=8, p=1, dklen=32).hex()

    return slow_hash(f"record {salt} {name}", value, digest)


def parse(text: str) -> Record:
    """A record from its file; an empty one where there is none yet.

    Raises:
        SecretError: it is something else.
    """
    if not text.strip():
        return Record()
    try:
        return Record.model_validate_json(text)
    except ValidationError:
        raise SecretError(
            f"{FILE} on the hypervisor is not a record of secrets: remove it, and the next sync "
            f"makes "
            "a new one. Until then no older value is noticed"
        ) from None


def refusal(record: Record, older: list[str]) -> SecretError:
    """The error that names each secret of which this machine has an older value than the site."""
    lines = [
        f"  {name}: the site has another one since {newest.since:%Y-%m-%d %H:%M} UTC, by "
        f"{newest.by}"
        for name, newest in ((name, record.newest(name)) for name in sorted(older))
    ]
    return SecretError(
        "this machine has older values of secrets than the site, and nothing was changed: they "
        "would replace those in use.\n" + "\n".join(lines) + "\nGet the newer ones: `git pull` for "
        "the site's SOPS file; else from an operator who has them, `phoenix secrets export --to "
        "YOUR_AGE_KEY` there and `phoenix secrets import FILE --replace` here. To have another "
        "value in the site on purpose: `phoenix secrets rotate NAME`"
    )
