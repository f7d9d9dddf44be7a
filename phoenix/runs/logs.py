"""A log file per run, without secrets and without colours."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Protocol

from pydantic import SecretStr

from phoenix.runs.styles import without_styles

KEPT = 50
"""So many logs are kept; older ones are removed."""
_SHORTEST = 6  # a shorter secret would blacken ordinary words


def state_directory(site: str) -> Path:
    """Where this machine keeps what belongs to its runs of a site (XDG Base Directory)."""
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "phoenix" / site


class Log(Protocol):
    """What a run's words are written to."""

    def write(self, text: str, /) -> object:
        """Add text."""


class Redacted:
    """A log in which known secrets are blackened, line by line."""

    def __init__(self, stream: IO[str], secrets: Iterable[SecretStr]) -> None:
        """Write to `stream`; `secrets` never appear in it."""
        self._stream = stream
        values = {secret.get_secret_value() for secret in secrets}
        # The longest first: one may be part of another.
        self._secrets = sorted((s for s in values if len(s) >= _SHORTEST), key=len, reverse=True)

    def write(self, text: str, /) -> None:
        """Write whole lines."""
        plain = without_styles(text)
        for secret in self._secrets:
            plain = plain.replace(secret, "*MASKED*")
        self._stream.write(plain)
        self._stream.flush()


@contextmanager
def run_log(
    directory: Path, verb: str, now: datetime, secrets: Iterable[SecretStr]
) -> Iterator[tuple[Path, Redacted]]:
    """A new log file (0600) for one run, and old ones removed."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    for old in sorted(directory.glob("*.log"))[: -(KEPT - 1)]:
        old.unlink(missing_ok=True)
    path = directory / f"{now:%Y-%m-%dT%H-%M-%SZ}-{verb}-{os.getpid()}.log"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        yield path, Redacted(stream, secrets)
