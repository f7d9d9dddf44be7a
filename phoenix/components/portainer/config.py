"""How Portainer's server and agent are run: compose files as data.

Both run as one container under a systemd unit that stays in the foreground, so that systemd
knows whether they run, and starts them again.
"""

from __future__ import annotations

from typing import Any

import yaml

from phoenix.components.acme.config import CERTIFICATES
from phoenix.site.findings import SettingError
from phoenix.site.model import Host, Site

DIRECTORY = "/etc/phoenix/portainer"
"""Compose file, password file and environment on the host."""
API_KEY_FILE = "/etc/phoenix/portainer-api.header"
"""The deploys' API key on the server's guest, as a header line for `curl -H @FILE`."""
SERVER_PORT, AGENT_PORT = 9443, 9001
SERVER_UNIT, AGENT_UNIT = "phoenix-portainer.service", "phoenix-portainer-agent.service"
SERVER_PROJECT, DATA_VOLUME = "phoenix-portainer", "portainer_data"
"""The server's compose project, and the Docker volume with all that it knows."""
SHORTEST_PASSWORD = 12
"""Portainer's own rule for the administrator (InternalAuthSettings, in bytes)."""


class PortainerSettingError(SettingError):
    """A setting that Portainer would refuse, or worse, accept and lock."""


def server_compose(image: str) -> str:
    """The server: HTTPS only, with the host's certificate and an administrator from a file."""
    return _dump(
        SERVER_PROJECT,
        {
            "image": image,
            "container_name": "portainer",
            "command": [
                "--bind-https", f":{SERVER_PORT}",
                "--http-disabled",
                "--sslcert", "/certificates/host/fullchain.pem",
                "--sslkey", "/certificates/host/privkey.pem",
                "--admin-password-file", "/run/portainer/admin_password",
            ],
            "ports": [f"{SERVER_PORT}:{SERVER_PORT}"],
            "volumes": [
                "data:/data",
                # The whole directory: the pair is a link that moves with each renewal.
                f"{CERTIFICATES}:/certificates:ro",
                f"{DIRECTORY}/admin_password:/run/portainer/admin_password:ro",
            ],
        },
        {"data": {"name": DATA_VOLUME}},
    )  # fmt: skip


def agent_compose(image: str, host: Host) -> str:
    """The agent: it hands the host's Docker to whoever knows AGENT_SECRET."""
    return _dump(
        "phoenix-portainer-agent",
        {
            "image": image,
            "container_name": "portainer_agent",
            "ports": [f"{host.address}:{AGENT_PORT}:{AGENT_PORT}"],
            "volumes": [
                "/var/run/docker.sock:/var/run/docker.sock",
                "/var/lib/docker/volumes:/var/lib/docker/volumes",
            ],
        },
        {},
    )


def _dump(project: str, service: dict[str, Any], volumes: dict[str, Any]) -> str:
    common = {
        "init": True,
        "env_file": [f"{DIRECTORY}/agent.env"],
        "pull_policy": "missing",
        "restart": "no",
        "security_opt": ["no-new-privileges:true"],
    }
    data: dict[str, Any] = {"name": project, "services": {"main": common | service}}
    if volumes:
        data["volumes"] = volumes
    return yaml.safe_dump(data, sort_keys=True, default_flow_style=False, width=100)


def agent_url(site: Site, host: Host) -> str:
    """Where Portainer finds the agent of `host`: its own name, never through the gateway."""
    for service in site.services:
        if service.kind == "agent" and service.owner == host:
            return f"tcp://{service.fqdn}:{service.port}"
    raise PortainerSettingError(f"{host.name} has no Portainer agent: portainer_role is not agent")


def check_password(password: str) -> None:
    """Refuse an administrator's password that Portainer would not take.

    Raises:
        PortainerSettingError: it is too short; the message does not hold it.
    """
    if len(password.encode()) < SHORTEST_PASSWORD:
        raise PortainerSettingError(
            f"secret portainer_admin_password is shorter than {SHORTEST_PASSWORD} bytes: "
            "Portainer refuses such an administrator"
        )
