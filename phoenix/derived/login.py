"""How a host is logged in to, as pyinfra's data and for ssh(1). Pure, but for one file of options.

https://docs.pyinfra.com/en/3.x/connectors/ssh.html; ssh_config(5).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from phoenix.site.model import Host, SshLogin

SUDO, SUDO_SECRET = "site_sudo", "site_sudo_secret"
"""Names in a host's data: whether commands run by sudo, and the secret that it asks for."""


def host_data(login: SshLogin, address: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """A host's data for pyinfra: that of the inventory, and what the declaration says instead.

    Args:
        login: as declared.
        address: of the host, where the log-in names no other.
        data: of the inventory.
    """
    data_of_host: dict[str, Any] = {"ssh_hostname": address, **data}
    if login.name is not None:
        data_of_host["ssh_hostname"] = login.name
        # The person's ~/.ssh/config says who logs in, and with what.
        for key in ("ssh_user", "ssh_key"):
            data_of_host.pop(key, None)
    declared = {
        "ssh_user": login.user,
        "ssh_port": login.port,
        "ssh_key": str(Path(login.identity_file).expanduser()) if login.identity_file else None,
        SUDO_SECRET: login.sudo_password,
    }
    data_of_host |= {key: value for key, value in declared.items() if value is not None}
    if login.sudo:
        data_of_host[SUDO] = True
    if login.jump:
        text = jump_options(login.jump, str(data_of_host["ssh_hostname"]), data_of_host)
        data_of_host["ssh_config_file"] = str(_own_file(text))
    return data_of_host


def ssh_command(host: Host) -> str:
    """The start of a command that a person types to run another one on a host, as root."""
    login = host.login
    command_line = ["ssh", *(["-J", login.jump] if login.jump else [])]
    command_line += ["-p", str(login.port)] if login.port else []
    command_line += ["-i", login.identity_file] if login.identity_file else []
    command_line.append(login.name or f"{login.user or 'root'}@{host.address}")
    return " ".join([*command_line, *(["sudo"] if login.sudo else [])])


def jump_options(jump: str, target: str, data: Mapping[str, Any]) -> str:
    """Options of ssh_config(5) by which `target` is reached through `jump`.

    The last of several hops is told of too. Host keys are checked at each hop; the person's own
    options follow.

    Args:
        jump: `[USER@]HOST[:PORT]`, several with commas, the first that is reached first.
        target: as it is connected to.
        data: of the target: its key and known_hosts hold for the hops as well.
    """
    hops = [hop.rpartition("@")[2].partition(":")[0] for hop in jump.split(",")]
    lines = [f"Host {target}", f"  ProxyJump {jump}", f"Host {' '.join(hops)}",
             "  StrictHostKeyChecking yes"]  # fmt: skip
    if known := data.get("ssh_known_hosts_file"):
        lines.append(f"  UserKnownHostsFile {known}")
    if key := data.get("ssh_key"):
        lines.append(f"  IdentityFile {key}")
    return "\n".join([*lines, "Host *", "  Include ~/.ssh/config", ""])


def _own_file(text: str) -> Path:
    """A file of this person's with a text, made where it is not there."""
    base = os.environ.get("XDG_STATE_HOME")
    folder = (Path(base) if base else Path.home() / ".local" / "state") / "phoenix" / "ssh"
    file = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.conf"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        part = file.with_suffix(f".{os.getpid()}")
        part.write_text(text)
        part.chmod(0o600)
        part.replace(file)
    return file
