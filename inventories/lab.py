"""The same site on containers: `python3 lab up` makes them and writes what this file reads."""

from pathlib import Path

from lab import state as _state
from phoenix.declaration import inventory as _inventory

_here = Path(__file__).resolve().parent
_lab = _state.load()
if _lab is None:
    raise SystemExit("There is no lab yet: run `python3 lab up`, then try again.")
_site = _inventory.load(
    _here, _here.parent / "stacks", environment="production", subnet=_lab.subnet
)
_groups = _inventory.groups(
    _site,
    {
        "ssh_user": "root",
        "ssh_key": str(_lab.ssh_key),
        "ssh_look_for_keys": False,
        "ssh_allow_agent": False,
        "ssh_known_hosts_file": str(_lab.known_hosts),
        "ssh_strict_host_key_checking": "yes",
        "site_inventories": str(_here),
        "site_stacks": str(_here.parent / "stacks"),
        "site_environment": _site.environment,
        "site_subnet": str(_lab.subnet),
        "site_secrets": str(_lab.ssh_key.parent / "secrets.json"),
        "artifacts": {
            name: {
                "any": {
                    "version": pin["version"],
                    "url": pin["url"],
                    "sha256": pin["sha256"],
                }
            }
            for name, pin in _lab.artifacts.items()
        },
        "proxmox_api": "ssh",
        "proxmox_node": _site.hypervisor.name,
        "portainer_image": _lab.images["portainer"],
        "portainer_agent_image": _lab.images["portainer-agent"],
        "image_archives": _lab.image_archives,
        "stack_variables": {
            "qdrant_service": {"QDRANT_IMAGE": _lab.images["qdrant"]},
            "thinkheads_ai_app": {"THINKHEADS_AI_APP_IMAGE": _lab.images["app"]},
        },
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
