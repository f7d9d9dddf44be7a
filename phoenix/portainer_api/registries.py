"""Registries with a log-in: what Portainer has of them, and what it is to have.

Portainer never tells a password, so who asks keeps a hash of each that was sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import SecretStr

from .models import Registry

HUB = "docker.io"
"""Docker Hub, as image references name it: by no registry at all."""
OURS = "phoenix "
"""What the names of registries begin with that Phoenix registered."""


@dataclass(frozen=True)
class Login:
    """A registry and who logs in to it."""

    registry: str
    username: str
    password: SecretStr

    @property
    def name(self) -> str:
        """Its name in Portainer."""
        return f"{OURS}{self.registry}"


@dataclass(frozen=True)
class RegistryPlan:
    """What is to be done, each with its words for a person."""

    create: tuple[Login, ...]
    update: tuple[tuple[Registry, Login], ...]
    delete: tuple[Registry, ...]

    @property
    def reasons(self) -> tuple[str, ...]:
        """The reasons for a change; empty if the registries are as desired."""
        return (
            *(f"register {login.registry} as {login.username}" for login in self.create),
            *(f"log in to {login.registry} as {login.username}" for _, login in self.update),
            *(f"remove {row.url}" for row in self.delete),
        )


def registry_of(image: str) -> str:
    """The registry of an image reference (distribution/reference, `splitDockerDomain`)."""
    first, slash, _ = image.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return HUB if first in ("docker.io", "index.docker.io") else first
    return HUB


def plan_registries(
    rows: Iterable[Registry],
    logins: Iterable[Login],
    stored: Mapping[str, str],
    sent: Mapping[str, str],
) -> RegistryPlan:
    """Compare what Portainer has with the declared log-ins.

    Args:
        rows: what Portainer has; those of a person stay as they are.
        logins: the declared log-ins.
        stored: by registry, the hash of the log-in that was sent last.
        sent: by registry, the hash of the declared one.
    """
    own_rows = {row.name: row for row in rows if row.name.startswith(OURS)}
    logins = tuple(logins)
    present = [(own_rows[login.name], login) for login in logins if login.name in own_rows]
    return RegistryPlan(
        create=tuple(login for login in logins if login.name not in own_rows),
        update=tuple(
            (row, login)
            for row, login in present
            if row.username != login.username
            or row.url != login.registry
            or stored.get(login.registry) != sent[login.registry]
        ),
        delete=tuple(
            row for name, row in own_rows.items() if name not in {login.name for login in logins}
        ),
    )
