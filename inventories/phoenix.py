"""The real site: the Proxmox host `phoenix` and its five guests.

What they are stands in phoenix_lxc_configs.json and phoenix_vm_configs.json beside this file.
Log-in: root by key, with the host keys in ~/.ssh/known_hosts (see "Your site" in README.md).
"""

import os
from pathlib import Path

from phoenix.declaration import inventory as _inventory

_here = Path(__file__).resolve().parent
_groups = _inventory.of_directory(
    _here,
    _here.parent / "stacks",
    environment=os.environ.get("PHOENIX_ENVIRONMENT", "production"),
    data={
        "ssh_user": "root",
        "ssh_strict_host_key_checking": "yes",
        "site_secrets": str(Path("~/.config/phoenix/secrets.json").expanduser()),
        "site_sops": str(_here.parent / "secrets.sops.json"),
    },
)

hypervisor = _groups["hypervisor"]
lxc = _groups["lxc"]
vm = _groups["vm"]
step_ca = _groups["step_ca"]
traefik = _groups["traefik"]
nginx = _groups["nginx"]
portainer = _groups["portainer"]
docker = _groups["docker"]
name_server = _groups["name_server"]
