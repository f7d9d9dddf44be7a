"""Docker Engine's configuration as data (https://docs.docker.com/reference/cli/dockerd/)."""

from __future__ import annotations

import json

from phoenix.site.findings import SettingError
from phoenix.site.model import Site

SOURCES = ("distribution", "docker")


class DockerSettingError(SettingError):
    """A setting that Docker's deploy cannot use."""


def check_source(source: str) -> None:
    """Refuse a value of the setting `docker_packages` that is none of `SOURCES`.

    Raises:
        DockerSettingError: says what to write.
    """
    if source not in SOURCES:
        raise DockerSettingError(
            f"setting docker_packages is {source!r}: write distribution (Debian's or Ubuntu's "
            "packages) or docker (Docker's own)"
        )


def daemon_json(site: Site, *, log_size: str, log_files: int) -> str:
    """The daemon.json of every Docker host: internal names, bounded logs, containers that live on.

    No `hosts`: the API listens on the local socket alone.
    """
    data = {
        "dns": [str(site.hypervisor.address)],
        "dns-search": [site.domain],
        "live-restore": True,
        "log-driver": "local",
        "log-opts": {"max-size": log_size, "max-file": str(log_files)},
    }
    return json.dumps(data, indent=2, sort_keys=True) + "\n"
