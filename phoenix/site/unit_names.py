"""Names of systemd's units, each once, for all that start, check, log or name one.

Those that begin with `phoenix-` are this project's; the others are of Debian and of upstream.
"""

from __future__ import annotations

DOCKER, DOCKER_SOCKET = "docker.service", "docker.socket"
NGINX = "nginx.service"
KEEPALIVED = "keepalived.service"
NFS_SERVER = "nfs-server.service"
SSH, SSHD = "ssh.service", "sshd.service"
"""OpenSSH's: Debian's name, and the one of other distributions, which is an alias in Debian."""
APT_DOWNLOADS, APT_UPGRADES = "apt-daily.service", "apt-daily-upgrade.service"
STEP_CA = "step-ca.service"
TRAEFIK = "traefik.service"
DNS = "phoenix-dns.service"
HOME = "phoenix-home.service"
GUARD = "phoenix-guard.service"
NETWORKS = "phoenix-networks.service"
NFS = "phoenix-nfs.service"
"""Mounts folders that others share."""
PORTAINER, PORTAINER_AGENT = "phoenix-portainer.service", "phoenix-portainer-agent.service"
BACKUPS, PROOFS_OF_BACKUPS = "phoenix-backup.service", "phoenix-backup-prove.service"
RENEWALS = "phoenix-acme@"
"""What the units begin with that renew a certificate: its name and the type follow."""


def renewal_timer(certificate: str) -> str:
    """The timer that renews a host's certificate of this name."""
    return f"{RENEWALS}{certificate}.timer"
