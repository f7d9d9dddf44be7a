"""Portainer's database goes with the image that it fits: kept before, put back with the generation.

A newer server migrates the database at its start, and an older one ends at the sight of it ("The
database schema version does not align", portainer/portainer, api/cmd/portainer/main.go).
"""

from __future__ import annotations

from dataclasses import dataclass

from phoenix import files
from phoenix.components.config_tree.tree import BASE
from phoenix.components.portainer.compose_files import DIRECTORY, SERVER_UNIT
from phoenix.components.trust import ROOTS
from phoenix.shell import Script
from phoenix.site.names import SERVER_CONTAINER, SERVER_VOLUME


@dataclass(frozen=True)
class Database:
    """The commands for one server's database.

    Attributes:
        component: the server's configuration tree.
        end: name and port by which the server's certificate is verified, ``NAME:PORT``.
        address: where it listens.
    """

    component: str
    end: str
    address: str

    @property
    def fits(self) -> str:
        """Refuses a proposed image that is older than the server that runs, with the fix."""
        return self._line("fits")

    @property
    def keep(self) -> str:
        """Copies the database where the proposed image is another one; stops the server for it."""
        return self._line("keep")

    @property
    def put_back(self) -> str:
        """Puts the copy back, where it belongs to the previous generation."""
        return self._line("put_back")

    @property
    def answers(self) -> str:
        """Whether the server answers; ends with 99 where its database is a newer one's."""
        return self._line("answers")

    def _line(self, verb: str) -> str:
        script = Script("portainer-database", files.text("components/portainer/database.sh"))
        return script.line(
            verb, f"{BASE}/{self.component}", f"{DIRECTORY}/compose.yml", SERVER_CONTAINER,
            SERVER_VOLUME, SERVER_UNIT, ROOTS, self.end, self.address,
        )  # fmt: skip
