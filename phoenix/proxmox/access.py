"""Access to the API: URL, token and trust, from settings and secrets."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from pydantic import SecretStr

from phoenix.declaration.settings import ProxmoxSettings
from phoenix.proxmox.errors import LoginError, ProxmoxError
from phoenix.proxmox.transport import Trust
from phoenix.secrets.store import SecretStore
from phoenix.site.secret_names import PROXMOX_TOKEN

PRIVILEGES = (
    "Datastore.AllocateSpace",  # disks of new guests
    "Datastore.AllocateTemplate",  # images to download
    "Datastore.Audit",  # which storages and images there are
    "SDN.Use",  # the bridge of a network card
    "Sys.AccessNetwork",  # to download an image
    "Sys.Audit",  # the cluster's state, and the firewall's rules
    "Sys.Modify",  # the firewall of cluster and node
    "VM.Allocate",
    "VM.Audit",
    "VM.Clone",
    "VM.Config.CDROM",  # the cloud-init drive
    "VM.Config.CPU",
    "VM.Config.Cloudinit",
    "VM.Config.Disk",
    "VM.Config.HWType",
    "VM.Config.Memory",
    "VM.Config.Network",
    "VM.Config.Options",
    "VM.PowerMgmt",
    "VM.Snapshot",
    "VM.Snapshot.Rollback",
)
"""What the token's user needs on /; `pveum role add Phoenix -privs "..."`."""

_LOOPBACK = "https://127.0.0.1:8006"
_DEFAULT_KEYS = ("id_ed25519.pub", "id_ecdsa.pub", "id_rsa.pub")


def url(settings: ProxmoxSettings) -> str:
    """The API's URL; through SSH it's the hypervisor's own loopback."""
    return _LOOPBACK if settings.api == "ssh" else settings.api


def token(secrets: SecretStore) -> SecretStr:
    """The API token; it's never generated, since Proxmox VE makes it.

    Raises:
        LoginError: none is given.
    """
    secret = secrets.find(PROXMOX_TOKEN)
    if secret is None:
        raise LoginError(
            f"no secret {PROXMOX_TOKEN} on this machine. Where another operator has it: `phoenix "
            "secrets export` there, then `phoenix secrets import FILE` here. Else make a token in "
            "Proxmox VE (docs/proxmox.md lists its privileges) and give it as "
            f"PHOENIX_SECRET_{PROXMOX_TOKEN.upper()} or in the SOPS file, in the form "
            "USER@REALM!ID=SECRET"
        )
    return secret


def trust(settings: ProxmoxSettings, learn: Callable[[], str | None]) -> Trust:
    """What the API's certificate must be: by setting, else `learn` asks the hypervisor by SSH.

    Raises:
        ProxmoxError: nothing to verify it by.
    """
    if settings.fingerprint:
        return Trust(fingerprint=settings.fingerprint)
    if settings.ca_file:
        return Trust(ca_file=str(Path(settings.ca_file).expanduser()))
    fingerprint = learn()
    if fingerprint is None:
        raise ProxmoxError(
            "the hypervisor has no certificate in /etc/pve/local: is it Proxmox VE, and may our "
            "user read it? fix: log in as root, or set proxmox_fingerprint or proxmox_ca_file"
        )
    return Trust(fingerprint=fingerprint)


def trust_of_others(
    settings: ProxmoxSettings, learn: Callable[[], Collection[str]]
) -> Trust | None:
    """What the certificates of `proxmox_other_apis` must be; None where there are none.

    That is by the CA, else a certificate of one of the cluster's nodes, which `learn` asks the
    hypervisor for by SSH: its own file system /etc/pve has them all.

    Raises:
        ProxmoxError: nothing to verify them by.
    """
    if not settings.other_apis:
        return None
    if settings.ca_file:
        return Trust(ca_file=str(Path(settings.ca_file).expanduser()))
    fingerprints = frozenset(learn())
    if not fingerprints:
        raise ProxmoxError(
            "the hypervisor tells no certificate of the cluster's nodes (/etc/pve/nodes), by which "
            "proxmox_other_apis would be verified. fix: log in as root, or set proxmox_ca_file"
        )
    return Trust(fingerprints=fingerprints)


def public_keys(settings: ProxmoxSettings, ssh_key: str | None, home: Path) -> tuple[str, ...]:
    """The public keys that new guests accept: by setting, else that of the key pyinfra uses.

    Empty where none is found: guests that are there already need none.
    """
    if settings.ssh_keys:
        return settings.ssh_keys
    candidates = [Path(f"{ssh_key}.pub").expanduser()] if ssh_key else []
    candidates += [home / ".ssh" / name for name in _DEFAULT_KEYS]
    for path in candidates:
        if path.is_file():
            lines = path.read_text().splitlines()
            return tuple(line.strip() for line in lines if line.strip())
    return ()
