"""Backups: one encrypted file that holds what a site cannot create again, and how to restore it.

Free of pyinfra: `operations.backup` and `operations.restore` carry the parts from and to hosts.
"""

from phoenix.backup.archive import PARTS, Backup, BackupError, Manifest, Part, make, pack, unpack
from phoenix.backup.contents import ca_identity, check, portainer_identity
from phoenix.backup.encryption import Cipher, Decrypt, cipher, decryptor
from phoenix.backup.file import file_name, load, save
from phoenix.backup.restoring import PresentData, Step, decide

__all__ = [
    "PARTS",
    "Backup",
    "BackupError",
    "Cipher",
    "Decrypt",
    "Manifest",
    "Part",
    "PresentData",
    "Step",
    "ca_identity",
    "check",
    "cipher",
    "decide",
    "decryptor",
    "file_name",
    "load",
    "make",
    "pack",
    "portainer_identity",
    "save",
    "unpack",
]
