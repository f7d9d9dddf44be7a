"""The operating systems of hosts: those that Phoenix is made for, and the notice on others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

SYSTEMS: Mapping[str, tuple[str, ...]] = {"debian": ("12", "13"), "ubuntu": ("24.04",)}
"""Versions that Phoenix is made for, by `ID` and `VERSION_ID` of os-release(5)."""
NAMED = "Debian 12 and 13, Ubuntu 24.04"


class Notice(NamedTuple):
    """What a person reads about a host's operating system.

    `refused`: the run stops before anything is changed.
    """

    refused: bool
    message: str


def notice(release: Mapping[str, str]) -> Notice | None:
    """The notice on a host with this os-release(5); None where Phoenix is made for it.

    A later release of the same distribution is a notice, and the host is converged. An older one
    and another distribution are refused: names of packages, units and options differ there.
    """
    name = release.get("PRETTY_NAME") or release.get("NAME") or "an unknown operating system"
    versions = SYSTEMS.get(release.get("ID", ""))
    version = release.get("VERSION_ID", "")
    if versions is None:
        return Notice(True, f"it runs {name}, and Phoenix is made for {NAMED}; fix: install one")
    if version in versions:
        return None
    # Debian's testing and unstable have no VERSION_ID.
    if version and _number(version) < _number(versions[-1]):
        return Notice(True, f"it runs {name}, and Phoenix is made for {NAMED}; fix: upgrade it")
    return Notice(False, f"it runs {name}, which Phoenix was never tried on: {NAMED}")


def has_compose(release: Mapping[str, str]) -> bool:
    """Whether the distribution's own packages of Docker have Compose v2 and `dockerd --validate`.

    Debian 12 has Docker 20.10 and Compose 1.29 (packages.debian.org/bookworm/docker.io).
    """
    return (release.get("ID"), release.get("VERSION_ID")) != ("debian", "12")


def docker_packages(release: Mapping[str, str]) -> tuple[tuple[str, ...], ...]:
    """The distribution's own packages of Docker Engine, its client and Compose v2.

    Each entry is a name, followed by that of Docker's own package: if a person has installed that
    one, it stays. Ubuntu's docker.io brings the client, and its Compose v2
    is a package of another name (packages.ubuntu.com/noble/docker-compose-v2).
    """
    if release.get("ID") == "ubuntu":
        return (("docker.io", "docker-ce"), ("docker-compose-v2", "docker-compose-plugin"))
    return (
        ("docker.io", "docker-ce"),
        ("docker-cli", "docker-ce-cli"),
        ("docker-compose", "docker-compose-plugin"),
    )


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
