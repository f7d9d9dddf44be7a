"""What a host runs, and which host it is, is looked at before anything is changed on any host."""

from __future__ import annotations

from functools import cache

from pyinfra import host, logger
from pyinfra.api import DeployError

from deploys.context import machine, settings, site
from facts.packages import Packages
from operations import site_lock
from operations.host_state import question, read_or
from phoenix.site import identity, systems
from phoenix.site.findings import SettingError

DOCKERS_OWN = frozenset({"docker-ce", "docker-compose-plugin"})


def check() -> None:
    """Refuse a host whose operating system Phoenix is not made for; one that is newer is told.

    Raises:
        DeployError: names the host, its system and the list, while the run is prepared.
    """
    notice = systems.notice(machine().release)
    if notice is None:
        return
    if notice.refused:
        _refuse(notice.message)
    _warn(host.name, notice.message)


def check_identity() -> None:
    """Refuse a run in which a host's address leads to another host of the site.

    Raises:
        DeployError: names both, while the run is prepared.
    """
    declared = site().hosts_by_key.get(host.name)  # not by another name, as @local
    if declared is None:
        return
    try:
        identity.check(site(), declared, machine().host)
    except SettingError as error:
        _refuse(str(error))


def check_docker() -> None:
    """Refuse a Docker host whose distribution has no Compose v2, unless Docker's own is there.

    Raises:
        DeployError: names the host and the setting.
    """
    if settings().docker_packages != "distribution" or systems.has_compose(machine().release):
        return
    if not read_or(question(Packages), DOCKERS_OWN) >= DOCKERS_OWN:
        _refuse(
            "Debian 12 has Docker 20.10 without Compose v2; fix: docker_packages = "
            '"docker" in group_data/docker.py, which takes Docker\'s own packages, or Debian 13'
        )


def _refuse(message: str) -> None:
    site_lock.refused(f"{host.name}: {message}")
    raise DeployError(f"{host.name}: {message}")


@cache
def _warn(name: str, message: str) -> None:
    logger.warning("%s: %s", name, message)
