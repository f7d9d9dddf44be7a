"""Backups: one encrypted file that holds what a site cannot make again, and how it is put back.

Free of pyinfra: `operations.backup` and `operations.restore` carry the parts from and to hosts.
"""

from phoenix.backup.archive import PARTS, Backup, BackupError, Manifest, Part, make, pack, unpack
from phoenix.backup.contents import ca_identity, check, portainer_identity
from phoenix.backup.encryption import Opener, Seal, opener, seal
from phoenix.backup.file import file_name, load, save
from phoenix.backup.restoring import Found, Step, decide

__all__ = [
    "PARTS",
    "Backup",
    "BackupError",
    "Found",
    "Manifest",
    "Opener",
    "Part",
    "Seal",
    "Step",
    "ca_identity",
    "check",
    "decide",
    "file_name",
    "load",
    "make",
    "opener",
    "pack",
    "portainer_identity",
    "save",
    "seal",
    "unpack",
]
