"""Take the key of the CA's root off its guest, into an encrypted file on this machine.

    pyinfra INVENTORY deploys/certs_root.py -y --data certs_root_to=DIRECTORY
        [--data certs_root_recipients=age1...,ssh-ed25519...]

The next intermediate needs the file: --data certs_root_key=FILE with deploys/certs_rotate.py.
"""

from deploys.context import secrets, setting_errors, settings, site, site_host
from deploys.run_arguments import listed, path
from operations import root_key
from phoenix.backup import BackupError, cipher
from phoenix.backup.root_key import WHAT
from phoenix.site.secret_names import BACKUP_PASSPHRASE

if site_host() == site().ca:
    with setting_errors():
        directory = path("certs_root_to")
        if directory is None:
            raise BackupError("certs_root_to is missing: --data certs_root_to=DIRECTORY")
        recipients = listed("certs_root_recipients") or settings().backup_recipients
        encrypted = cipher(recipients, secrets().find(BACKUP_PASSPHRASE), WHAT)
    root_key.taken_offline(
        name="Root: its key goes offline",
        site=site(),
        directory=directory,
        cipher=encrypted,
    )
