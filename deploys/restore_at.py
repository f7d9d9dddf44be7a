"""Put back what the hosts' timers have backed up, as of a moment. Then run deploys/all.py.

    pyinfra INVENTORY deploys/restore_at.py -y --data restore_at=2026-11-25T23:59:59+00:00
        --data restore_at_parts=ca,portainer,secrets,stack:NAME-ENVIRONMENT
        [--data restore_replace=true] [--data restore_identity=KEY]

The CA and Portainer are put back as deploys/restore.py does it.
"""

from datetime import datetime

from pyinfra import local

from deploys import backups
from deploys.context import secrets, setting_errors, site, site_host
from deploys.run_arguments import flag, listed, text
from operations import isolation, restic, restore
from phoenix.backup import BackupError
from phoenix.derived.backups import CA, PORTAINER, SECRETS, of_host

with setting_errors():
    own_parts = of_host(site(), site_host())
    names = listed("restore_at_parts")
    chosen = {part.name: part for part in own_parts if part.name in names}
    try:
        at = datetime.fromisoformat(text("restore_at"))
    except ValueError as error:
        raise BackupError(f"restore_at is not a time: {error}") from None
    replace = flag("restore_replace")
    # All refusals come here, before the first change: with -y no operation is looked at before.
    loaded = {
        name: restic.opened(site(), chosen[name], at) for name in (CA, PORTAINER) if name in chosen
    }
    if SECRETS in chosen:
        loaded[SECRETS] = restic.opened(site(), chosen[SECRETS], at, backups.decrypt())
        restore.secrets_to_take(loaded[SECRETS], secrets(), replace=replace)
    if CA in loaded:
        restore.ca_step(loaded[CA], replace=replace)
    if PORTAINER in loaded:
        restore.portainer_step(loaded[PORTAINER], replace=replace)

if SECRETS in loaded:
    restore.secrets(
        name="Restore: generated secrets", loaded=loaded[SECRETS], store=secrets(), replace=replace
    )
if CA in loaded:
    restore.ca(name="Restore: the CA", loaded=loaded[CA], replace=replace)
    local.include("deploys/step_ca.py")
if PORTAINER in loaded:
    local.include("deploys/docker.py")
    restore.portainer(name="Restore: Portainer", loaded=loaded[PORTAINER], replace=replace)
for part in chosen.values():
    if part.stack is not None:
        with isolation.part(part.name):  # one that is refused keeps no other from coming back
            restic.restored(name=f"Restore: {part.what}", part=part, at=at, replace=replace)
