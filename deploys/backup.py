"""One encrypted file with what the site cannot create again: CA, Portainer's data, secrets.

    pyinfra INVENTORY deploys/backup.py -y --data backup_to=DIRECTORY
        [--data backup_recipients=age1...,ssh-ed25519...] [--data backup_parts=ca,portainer,secrets]

step-ca and Portainer each pause for the moment of their copy; nothing that they serve others by
(certificates, routes, stacks) stops.
"""

from deploys import backups
from deploys.context import pinned_program, secrets, setting_errors, settings, site, site_host
from deploys.run_arguments import path
from operations import backup
from phoenix.backup import BackupError
from phoenix.components.portainer.compose_files import SERVER_UNIT
from phoenix.components.step_ca.authority import DIRECTORY, MEMBERS, UNIT
from phoenix.site.names import SERVER_VOLUME
from phoenix.site.roles import guest_with

with setting_errors():
    ca = guest_with(site(), "step_ca")
    parts = backups.parts("backup_parts")
    if site().portainer is None:
        parts = tuple(name for name in parts if name != "portainer")
    cipher = backups.cipher()
    directory = path("backup_to")
    if directory is None:
        raise BackupError("backup_to is missing: --data backup_to=DIRECTORY on this machine")

if site_host() == ca and "ca" in parts:
    with setting_errors():
        program = pinned_program("step-ca")
    backup.collected(
        name="Backup: the CA",
        source=backup.Source("ca", UNIT, DIRECTORY, MEMBERS, f"step-ca {program.version}"),
    )
if site_host() == site().portainer and "portainer" in parts:
    backup.collected(
        name="Backup: Portainer",
        source=backup.Source(
            "portainer", SERVER_UNIT, SERVER_VOLUME, (".",), settings().portainer_image
        ),
    )
if site_host() in (ca, site().portainer):
    backup.written(
        name="Backup: encrypted file",
        site=site(),
        parts=parts,
        directory=directory,
        cipher=cipher,
        revision=backups.revision(),
        store=secrets(),
        writer=site_host() == ca,
    )
