"""SSH keys of a lab: created once, kept under `.lab/NAME` (0700), never anywhere else."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from lab.settings import Settings

CLIENT_KEY = "id_ed25519"
KNOWN_HOSTS = "known_hosts"


def make(path: Path, comment: str) -> Path:
    """Make an Ed25519 key pair unless it is there; return the private key's path."""
    if not path.exists() or not path.with_suffix(".pub").exists():
        path.unlink(missing_ok=True)
        path.with_suffix(".pub").unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)]
        subprocess.run(command, check=True, capture_output=True)
    return path


def public(path: Path) -> str:
    """The public half of a private key file, without a line end."""
    return path.with_suffix(".pub").read_text().strip()


def host_key(settings: Settings, host: str) -> Path:
    """A host's key; the same for as long as the lab's directory lives."""
    return make(settings.directory / "host_keys" / host, f"phoenix-{settings.name}-{host}")


def write_known_hosts(settings: Settings, hosts: Mapping[str, str]) -> Path:
    """Write the known_hosts file (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT") and return its path.

    Args:
        hosts: host name -> IPv4 address.
    """
    lines = []
    for host, address in hosts.items():
        kind, key, *_ = public(host_key(settings, host)).split()
        lines.append(f"{address} {kind} {key}\n")
    path = settings.directory / KNOWN_HOSTS
    path.write_text("".join(lines))
    return path
