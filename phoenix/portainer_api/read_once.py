"""A client for comparisons: many stacks are looked at by one list of each kind."""

from __future__ import annotations

from collections.abc import Callable, Collection
from threading import Lock
from typing import Any, TypeVar

import requests
from typing_extensions import override

from .client import PortainerClient
from .models import PROJECT_LABEL, Endpoint, Stack

_T = TypeVar("_T")


class ReadOnce(PortainerClient):
    """Keeps the lists of environments, stacks and containers until `forget`, and never writes.

    A site with n stacks would else read n lists of n stacks. Threads may share it.
    """

    def __init__(self, *args: Any, seconds: float = 30, **options: Any) -> None:
        """Read nothing yet.

        Args:
            args: as for `PortainerClient`, and `options` too.
            seconds: how long a list is kept; somebody else may change something meanwhile.
            options: see `args`.
        """
        super().__init__(*args, **options)
        self._seconds = seconds
        self._lists: dict[object, tuple[float, Any]] = {}
        self._locks: dict[object, Lock] = {}

    def forget(self) -> None:
        """Read again from now on; what is being read now serves its caller alone."""
        self._lists = {}

    def read_lists(self, environments: Collection[str]) -> None:
        """Read the lists now, and the containers of environments of these names.

        Raises:
            PortainerError: as each of the requests.
        """
        self.stacks()
        for environment in self.endpoints():
            if environment.name in environments:
                self._container_rows(environment.id)

    @override
    def endpoints(self) -> tuple[Endpoint, ...]:
        return self._kept("endpoints", super().endpoints)

    @override
    def stacks(self, endpoint_id: int | None = None) -> tuple[Stack, ...]:
        read = super().stacks
        return self._kept(("stacks", endpoint_id), lambda: read(endpoint_id))

    @override
    def _container_rows(self, endpoint_id: int, project: str = "") -> list[Any]:
        read = super()._container_rows
        rows = self._kept(("containers", endpoint_id), lambda: read(endpoint_id))
        return [row for row in rows if _project_of(row) == project]

    def _kept(self, key: object, read: Callable[[], _T]) -> _T:
        """A list, or the earlier answer; errors are not kept."""
        with self._locks.setdefault(key, Lock()):
            lists, now = self._lists, self.clock()
            if key not in lists or now - lists[key][0] > self._seconds:
                lists[key] = (now, read())
            kept: _T = lists[key][1]
            return kept

    @override
    def _request(self, method: str, path: str, **options: Any) -> requests.Response:
        if method != "GET":
            raise TypeError(f"{method} {path}: a client that reads once must not write")
        return super()._request(method, path, **options)


def _project_of(row: Any) -> str | None:
    labels = row.get("Labels") if isinstance(row, dict) else None
    return labels.get(PROJECT_LABEL) if isinstance(labels, dict) else None
