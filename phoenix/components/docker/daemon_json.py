"""Docker Engine's configuration as data (https://docs.docker.com/reference/cli/dockerd/)."""

from __future__ import annotations

import json

from phoenix.site.model import Site


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
