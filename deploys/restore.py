"""Restore a backup, after a loss or over present data. Then run deploys/all.py.

    pyinfra INVENTORY deploys/restore.py -y --data restore_from=FILE.age
        [--data restore_identity=KEY] [--data restore_parts=ca,portainer,secrets]
        [--data restore_replace=true]

The whole backup is decrypted and checked before any host is touched. What the backup's own CA and
server have where they stand is newer, and stays; others' data are refused, or with restore_replace
moved aside.
"""

from functools import partial

from pyinfra import local

from deploys import backups
from deploys.context import secrets, setting_errors, site, site_host
from deploys.run_arguments import flag, listed
from operations import restore
from phoenix.backup import BackupError, contents
from phoenix.site.roles import guest_with
from phoenix.site.secret_names import ISSUANCE_KEY

with setting_errors():
    loaded = backups.opened()
    replace = flag("restore_replace")
    parts = [name for name in backups.parts("restore_parts") if name in loaded.parts]
    for name in listed("restore_parts"):
        if name not in loaded.parts:
            raise BackupError(f"restore_parts: the backup has no part {name}")
    ca = guest_with(site(), "step_ca")
    # All refusals come here, before the first change: with -y no operation is looked at before.
    if site_host() == ca and "secrets" in parts:
        restore.secrets_to_take(loaded, secrets(), replace=replace)
    if site_host() == ca and "ca" in parts:
        restore.ca_step(loaded, replace=replace)
    if site_host() == site().portainer and "portainer" in parts:
        restore.portainer_step(loaded, replace=replace)

key = contents.secrets(loaded.parts["secrets"]).get(ISSUANCE_KEY) if "secrets" in parts else None
if key is not None:  # deploys/step_ca.py asks for it before it is in the store
    secrets().propose(ISSUANCE_KEY, partial(str, key))
if site_host() == ca and "secrets" in parts:
    restore.secrets(
        name="Restore: generated secrets", loaded=loaded, store=secrets(), replace=replace
    )
if site_host() == ca and "ca" in parts:
    restore.ca(name="Restore: the CA", loaded=loaded, replace=replace)

# What the two need around them; nothing of it changes where it stands already.
if "ca" in parts or "portainer" in parts:
    local.include("deploys/dns.py")
    local.include("deploys/base.py")
if "ca" in parts:  # else a lost CA would be created again here
    local.include("deploys/step_ca.py")
    local.include("deploys/trust.py")
if "portainer" in parts:
    local.include("deploys/docker.py")
    if site_host() == site().portainer:
        restore.portainer(name="Restore: Portainer", loaded=loaded, replace=replace)
        if "secrets" not in parts:
            restore.administrator(
                name="Restore: Portainer's password", loaded=loaded, store=secrets()
            )
