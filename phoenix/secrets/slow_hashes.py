"""Hashes that are slow on purpose, kept beside the store whose values they are of.

Each run needs the same ones, and each takes 30 to 90 ms of CPU. The file has slow hashes alone:
values, and quick digests by which they could be guessed, stay out. It names its store by the
kernel's data about that file, and counts as long as these are the same. Values from the environment
or a SOPS file are nowhere in clear text, so their hashes are not kept. Plans keep nothing: `write`
is for runs that do their steps.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from phoenix import bounded
from phoenix.secrets import private_file

SUFFIX = ".hashes"
"""What the name of a store's file of hashes ends with. The file has mode 0600."""
SETTLED_SECONDS = 2
"""A store that was written so lately may change again and have the same times: nothing is kept."""

_Identity = list[int]


def slow_hash(purpose: str, value: str, make: Callable[[], str]) -> str:
    """The hash of a value: as this process had it or as it is kept, else made now.

    Args:
        purpose: names the kind of hash and all that it depends on but the value.
        value: what is hashed.
        make: makes the hash, the same one each time.
    """
    if (purpose, value) not in _made:
        hashes = [store.find(purpose, value) for store in _stores.values()]
        known = next(filter(None, hashes), None)
        _made[purpose, value] = known or make()
        if known is None:
            for store in _stores.values():
                store.keep(purpose, value, _made[purpose, value])
    return _made[purpose, value]


def was_read(path: Path, state: os.stat_result, values: Mapping[str, str]) -> None:
    """Have the hashes of a store's values kept beside it.

    Args:
        path: the store, which was just read.
        state: of the file, from before that.
        values: what it holds.
    """
    _stores.pop(path, None)
    with suppress(OSError):
        if _identity(path.stat()) == _identity(state):  # else it is another's content by now
            _stores[path] = _Store(path, _identity(state), dict(values))


def write() -> None:
    """Keep what this process made and no file has yet."""
    for store in _stores.values():
        with suppress(OSError):  # the next run makes it again
            store.write()


_made: dict[tuple[str, str], str] = {}


@dataclass
class _Store:
    path: Path
    identity: _Identity
    values: dict[str, str]
    is_written: bool = True

    @property
    def file(self) -> Path:
        return self.path.with_name(self.path.name + SUFFIX)

    @cached_property
    def stored(self) -> dict[str, str]:
        """What the file has of the store as it is, by purpose and name of the secret."""
        with suppress(OSError, ValueError):
            if not self.file.stat().st_mode & 0o077:
                data: Any = json.loads(bounded.read(self.file))
                match data:
                    case {"of": list(identity), "hashes": dict(hashes)}:
                        if identity == self.identity and all(map(_is_text, hashes.values())):
                            return hashes
        return {}

    def find(self, purpose: str, value: str) -> str | None:
        hashes = (self.stored.get(key) for key in self._keys(purpose, value))
        return next(filter(None, hashes), None)

    def keep(self, purpose: str, value: str, hashed: str) -> None:
        keys = self._keys(purpose, value)
        self.stored.update(dict.fromkeys(keys, hashed))
        self.is_written = self.is_written and not keys

    def write(self) -> None:
        if self.is_written:
            return
        self.is_written = True
        state = self.path.stat()
        age = time.time() - state.st_ctime
        if _identity(state) == self.identity and age >= SETTLED_SECONDS:
            private_file.write(self.file, {"of": self.identity, "hashes": self.stored})

    def _keys(self, purpose: str, value: str) -> list[str]:
        return [f"{purpose} of {name}" for name, own in self.values.items() if own == value]


_stores: dict[Path, _Store] = {}


def _identity(state: os.stat_result) -> _Identity:
    return [state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns]


def _is_text(item: object) -> bool:
    return isinstance(item, str)
