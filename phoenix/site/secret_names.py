"""Names of secrets: the platform's own, and what may be a name."""

from __future__ import annotations

import re

ADMIN_PASSWORD = "portainer_admin_password"  # noqa: S105 - a name
AGENT_SECRET = "portainer_agent_secret"  # noqa: S105 - a name
API_KEY = "portainer_api_key"
DASHBOARD_PASSWORD = "traefik_dashboard_password"  # noqa: S105 - a name
GATEWAY_CERTIFICATE = "gateway_client_certificate"
CA_PASSWORD = "step_ca_password"  # noqa: S105 - a name
ISSUANCE_KEY = "step_ca_issuance_key"
PROXMOX_TOKEN = "proxmox_api_token"  # noqa: S105 - a name
BACKUP_PASSPHRASE = "backup_passphrase"  # noqa: S105 - a name
WATCH_KEY = "watch_key"
ALARM_URLS = "alarm_urls"
BACKUP_KEY = "backup_key"
BACKUP_SSH_KEY = "backup_ssh_key"
BACKUP_S3_ID, BACKUP_S3_SECRET = "backup_s3_id", "backup_s3_secret"

PLATFORM = (
    ADMIN_PASSWORD,
    AGENT_SECRET,
    API_KEY,
    DASHBOARD_PASSWORD,
    GATEWAY_CERTIFICATE,
    CA_PASSWORD,
    ISSUANCE_KEY,
    PROXMOX_TOKEN,
    BACKUP_PASSPHRASE,
    WATCH_KEY,
    ALARM_URLS,
    BACKUP_KEY,
    BACKUP_SSH_KEY,
    BACKUP_S3_ID,
    BACKUP_S3_SECRET,
)
"""Secrets that no stack may name."""
NEW = "_new"
"""NAME + NEW is a value that is given for the rotation of NAME."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,99}\Z")


def is_secret_name(name: str) -> bool:
    """Whether `name` can be the name of a secret; a declaration's is in lower case here."""
    return bool(_NAME.match(name))
