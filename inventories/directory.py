"""Any directory with the two JSON files: `phoenix plan -i DIRECTORY`, or with plain pyinfra
`PHOENIX_DIRECTORY=DIRECTORY pyinfra inventories/directory.py ...`.

The stacks are in its own `stacks` or in that beside it. Log-in is as in inventories/phoenix.py.
"""

import os
from pathlib import Path

from phoenix.declaration import inventory as _inventory

_given = os.environ.get(_inventory.DIRECTORY)
if not _given:
    raise SystemExit(f"set {_inventory.DIRECTORY} to the directory with the site's two JSON files")
_here = Path(_given).resolve()
_groups = _inventory.of_directory(
    _here,
    _inventory.stacks_of(_here),
    environment=os.environ.get("PHOENIX_ENVIRONMENT"),
    data={
        "ssh_user": "root",
        "ssh_strict_host_key_checking": "yes",
        "site_secrets": str(Path("~/.config/phoenix/secrets.json").expanduser()),
        "site_sops": str(_here / "secrets.sops.json"),
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
