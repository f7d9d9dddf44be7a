"""How Portainer's server and agent are run: compose files as data.

Each runs as one container under a systemd unit in the foreground: so systemd sees it end, and
starts it again.
"""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

import yaml

from phoenix.components.acme.phoenix_acme_conf import CERTIFICATES
from phoenix.components.programs import LIBRARY
from phoenix.site import unit_names
from phoenix.site.names import (
    AGENT_CONTAINER,
    AGENT_PROJECT,
    SERVER_CONTAINER,
    SERVER_PROJECT,
    SERVER_VOLUME,
)
from phoenix.site.ports import LOOPBACK, PORTAINER_EDGE

DIRECTORY = "/etc/phoenix/portainer"
"""Compose file, password file and environment on the host."""
PASSWORD_FILE = f"{DIRECTORY}/admin_password"
"""The administrator's password on the server's guest."""
AGENT_ENVIRONMENT = f"{DIRECTORY}/agent.env"
"""The secret that server and agents share, on the guest of each."""
API_KEY_FILE = "/etc/phoenix/portainer-api.header"
"""The deploys' API key on the server's guest, as a header line for `curl -H @FILE`."""
SOCKET_SCRIPT = f"{LIBRARY}/portainer-socket"
"""What the units run before a start: `socket.sh` beside this module."""
SERVER_UNIT, AGENT_UNIT = unit_names.PORTAINER, unit_names.PORTAINER_AGENT


LOCAL_URL = "unix:///var/run/docker.sock"
"""The Docker of the server's own guest, as Portainer reaches it."""
_SOCKET = "/var/run/docker.sock:/var/run/docker.sock"


def server_compose(image: str, port: int, *, deploys_here: bool = False) -> str:
    """The server: HTTPS only, with the host's certificate and an administrator from a file.

    Args:
        image: reference of Portainer's image.
        port: the guest's port that it listens on.
        deploys_here: whether it deploys stacks on its own guest, and so has that Docker's socket.

    Returns:
        The compose file as YAML.
    """
    return _dump(
        SERVER_PROJECT,
        {
            "image": image,
            "container_name": SERVER_CONTAINER,
            "command": [
                "--bind-https", f":{port}",
                "--http-disabled",
                # The server of Edge agents, which this site has none of
                "--tunnel-addr", str(LOOPBACK), "--tunnel-port", str(PORTAINER_EDGE),
                "--sslcert", "/certificates/host/fullchain.pem",
                "--sslkey", "/certificates/host/privkey.pem",
                "--admin-password-file", "/run/portainer/admin_password",
            ],
            # The tunnel to its agents begins on the guest's loopback.
            "network_mode": "host",
            "volumes": [
                "data:/data",
                # The whole directory: the pair is a link that moves with each renewal.
                f"{CERTIFICATES}:/certificates:ro",
                f"{PASSWORD_FILE}:/run/portainer/admin_password:ro",
                *([_SOCKET] if deploys_here else []),
            ],
        },
        {"data": {"name": SERVER_VOLUME}},
    )  # fmt: skip


def agent_compose(image: str, port: int, address: IPv4Address = LOOPBACK) -> str:
    """The agent: it hands the host's Docker to whoever knows AGENT_SECRET.

    Args:
        image: reference of the agent's image.
        port: that it listens on.
        address: of the guest that it listens on: the loopback, which the tunnel alone reaches; for
            a Portainer elsewhere the guest's own.

    Returns:
        The compose file as YAML.
    """
    return _dump(
        AGENT_PROJECT,
        {
            "image": image,
            "container_name": AGENT_CONTAINER,
            "environment": {"AGENT_HOST": str(address), "AGENT_PORT": str(port)},
            # Not a published port: that would leave the container's own address open to its peers.
            "network_mode": "host",
            "volumes": [
                _SOCKET,
                "/var/lib/docker/volumes:/var/lib/docker/volumes",
            ],
        },
        {},
    )


def _dump(project: str, service: dict[str, Any], volumes: dict[str, Any]) -> str:
    common = {
        "init": True,
        "env_file": [AGENT_ENVIRONMENT],
        "pull_policy": "missing",
        "restart": "no",
        "security_opt": ["no-new-privileges:true"],
    }
    data: dict[str, Any] = {"name": project, "services": {"main": common | service}}
    if volumes:
        data["volumes"] = volumes
    return yaml.safe_dump(data, sort_keys=True, default_flow_style=False, width=100)
