"""What the server keeps in /data: one JSON file beside its key pair and the compose projects."""

from __future__ import annotations

import json
import os
import shutil
import threading
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Row = dict[str, Any]
SCHEMA_REFUSED = (
    "The database schema version does not align with the server version. Please consider reverting "
    "to the previous server version or addressing the database migration issue."
)


class SchemaError(Exception):
    """A newer server has migrated the database: this one ends, as the real one does."""


@dataclass
class Store:
    """Rows in Portainer's own field shapes, saved whole after each change."""

    directory: Path
    lock: threading.RLock = field(default_factory=threading.RLock)
    data: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Loads, or starts empty."""
        self.directory.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            self.data = json.loads(self.path.read_text())
        else:
            self.data = {
                "instance": str(uuid.uuid4()),
                "users": [],
                "keys": [],
                "endpoints": [],
                "stacks": [],
                "last": {},
            }
            self.save()

    @property
    def path(self) -> Path:
        """The database file, under the real one's name."""
        return self.directory / "portainer.db"

    def migrate(self, version: str) -> None:
        """Brings the database to the schema of a server of `version`, as its start does.

        A newer server keeps the former database as backups/portainer.db.bak.

        Raises:
            SchemaError: the database is of a newer server.
        """
        stored = str(self.data.get("schema", version))
        if _numbers(stored) > _numbers(version):
            raise SchemaError(SCHEMA_REFUSED)
        if stored != version:
            backups = self.directory / "backups"
            backups.mkdir(exist_ok=True)
            shutil.copy2(self.path, backups / "portainer.db.bak")
        self.data["schema"] = version
        self.save()

    def save(self) -> None:
        """Replaces the file atomically; it holds environments in clear, so it's ours alone."""
        with self.lock:
            fresh = self.path.with_suffix(".new")
            with os.fdopen(
                os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w"
            ) as out:
                json.dump(self.data, out, indent=1)
            fresh.replace(self.path)

    def next_id(self, table: str) -> int:
        """Ids are never used again, as in the real database."""
        with self.lock:
            last: dict[str, int] = self.data["last"]
            last[table] = last.get(table, 0) + 1
            return last[table]

    def rows(self, table: str) -> list[Row]:
        """A table; change its rows under `lock` and `save`."""
        rows: list[Row] = self.data.setdefault(table, [])
        return rows

    def find(self, table: str, row_id: int, key: str = "Id") -> Row | None:
        """One row."""
        return next((row for row in self.rows(table) if row[key] == row_id), None)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
