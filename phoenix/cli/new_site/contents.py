"""The files of a new site, from the answers. Pure."""

from __future__ import annotations

import json
from typing import Any

from phoenix.cli.new_site.answers import Answers, Guest
from phoenix.reference import json_schema
from phoenix.site.names import AGENT
from phoenix.site.ports import PORTAINER

INVENTORY = "inventories/phoenix.py"
SETTINGS = "group_data/all.py"
LXC = "inventories/phoenix_lxc_configs.json"
VM = "inventories/phoenix_vm_configs.json"
GITIGNORE = ".gitignore"
STACKS = "stacks/.gitkeep"

_INVENTORY = '''"""The hosts of {domain}, for pyinfra and for `phoenix`.

What they are stands in phoenix_lxc_configs.json and phoenix_vm_configs.json beside this file.
"""

import os
from pathlib import Path

from phoenix.declaration import inventory as _inventory

_here = Path(__file__).resolve().parent
_groups = _inventory.of_directory(
    _here,
    _here.parent / "stacks",
    environment=os.environ.get("PHOENIX_ENVIRONMENT"),
    data={{
        "ssh_user": "root",
        "ssh_strict_host_key_checking": "yes",
        # Secrets of this site on this machine; site_sops is what a team shares through git.
        "site_secrets": str(Path("~/.config/phoenix/{domain}/secrets.json").expanduser()),
        "site_sops": str(_here.parent / "secrets.sops.json"),
    }},
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
'''
_SETTINGS = '''"""What this site sets otherwise than Phoenix does by itself, for every host.

Every setting, its type, default and meaning: docs/reference.md of Phoenix. A file beside this one
that is called like a group (nginx.py) changes a setting for its hosts alone. Secrets do not belong
here: see docs/secrets.md.
"""

timezone = {timezone}
step_ca_organisation = {organisation}  # fixed at the first run
'''
_IGNORED = """# Python's and editors' own
__pycache__/
*.pyc
*~
# Of `phoenix plan --out`, `phoenix backup` and `phoenix secrets export`
*.plan.json
*.age
# Never in git in clear; secrets.sops.json is encrypted, and belongs there
secrets.json
"""


def files(answers: Answers) -> dict[str, str]:
    """Path in the site's folder to content, in the order in which they are written."""
    schemas = {
        f"{json_schema.FOLDER}/{json_schema.file_name(kind)}": json_schema.text(make())
        for kind, make in json_schema.SCHEMAS.items()
    }
    return {
        GITIGNORE: _IGNORED,
        STACKS: "",
        **schemas,
        SETTINGS: _SETTINGS.format(
            timezone=json.dumps(answers.timezone, ensure_ascii=False),
            organisation=json.dumps(answers.organisation or answers.domain, ensure_ascii=False),
        ),
        VM: _json(vm_file(answers)),
        LXC: _json(lxc_file(answers)),
        INVENTORY: _INVENTORY.format(domain=answers.domain),
    }


def _json(data: Any) -> str:
    return json.dumps(data, indent=4, ensure_ascii=False) + "\n"


def lxc_file(answers: Answers) -> dict[str, Any]:
    """The site and its containers."""
    return {
        "$schema": "schema/lxc.schema.json",
        "site": {
            "domain": answers.domain,
            "hypervisor": {
                "name": answers.hypervisor,
                "ip": str(answers.address),
                "gateway": str(answers.gateway),
            },
        },
        "lxc_configs": {
            str(guest.vmid): _entry(guest, answers)
            for guest in answers.guests
            if guest.kind == "lxc"
        },
    }


def vm_file(answers: Answers) -> dict[str, Any]:
    """The virtual machines."""
    return {
        "$schema": "schema/vm.schema.json",
        "vms": [
            {"vmid": guest.vmid, **_entry(guest, answers)}
            for guest in answers.guests
            if guest.kind == "vm"
        ],
    }


def _entry(guest: Guest, answers: Answers) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": guest.name}
    if guest.role:
        entry["role"] = guest.role
    if guest.role == "docker" and any(other.role == "portainer" for other in answers.guests):
        hosts = [other for other in answers.guests if other.role == "docker"]
        entry |= agent_keys(guest.name, answers.domain, first=guest == hosts[0])
    if guest.role == "portainer":
        entry["portainer_role"] = "primary"
        entry["traefik_service"] = {
            "name": "portainer", "port": PORTAINER, "scheme": "https",
            "health_path": "/api/system/status",
        }  # fmt: skip
    return {**entry, "network_config": {"ip": str(guest.address)}}


def agent_keys(name: str, domain: str, *, first: bool) -> dict[str, str]:
    """What a Docker host's entry says of Portainer's agent; each further one needs a name."""
    keys = {"portainer_role": "agent"}
    if not first:
        keys["portainer_agent_hostname"] = f"{AGENT}-{name.lower()}.{domain}"
    return keys
