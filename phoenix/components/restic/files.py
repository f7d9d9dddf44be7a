"""Places, times and configuration of a host's backups by restic. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from zlib import crc32

from pydantic import SecretStr

from phoenix.components.portainer.compose_files import SERVER_UNIT
from phoenix.components.step_ca.authority import DIRECTORY, MEMBERS
from phoenix.components.step_ca.authority import UNIT as CA_UNIT
from phoenix.derived.backups import CA, SECRETS, Part, mount_point
from phoenix.shell import join, quote
from phoenix.site import unit_names
from phoenix.site.model import Backups, BackupTarget, Host
from phoenix.site.names import SERVER_VOLUME
from phoenix.site.ports import SSH

TREE = "restic"
PROGRAM = "/usr/local/sbin/phoenix-backup"
CONFIG, PARTS = "/etc/phoenix/backup.conf", "/etc/phoenix/backup.parts"
PASSWORD = "/etc/phoenix/backup.password"  # noqa: S105 - a path
SSH_KEY, KNOWN_HOSTS = "/etc/phoenix/backup.ssh", "/etc/phoenix/backup.known_hosts"
S3 = "/etc/phoenix/backup.s3"
"""What restic logs in to its target with."""
SERVICE, TIMER = unit_names.BACKUPS, "phoenix-backup.timer"
PROOF, PROOF_TIMER = unit_names.PROOFS_OF_BACKUPS, "phoenix-backup-prove.timer"
AGAIN, AGAIN_TIMER = "phoenix-backup-again.service", "phoenix-backup-again.timer"
"""After a power cut in the moment of a copy: starts what is stopped."""
VAR = "/var/lib/phoenix-backup"
ESCROW, ESCROW_FILE = f"{VAR}/secrets", "secrets.age"
"""Where the generated secrets wait on the CA's guest, encrypted for who may open them."""
STATE = f"{VAR}/state"
"""When each part was last backed up and proven, and why not: what checks and status read."""
_SPREAD_MINUTES = 15
_DAY_MINUTES = 24 * 60


def repository(backups: Backups, host: Host) -> str:
    """The repository of one host, as restic names it.

    Each host has its own, with a password of its own: one that falls into other hands opens no
    other's backups.
    """
    return f"{backups.target.place}/{host.name}"


def calendar(time: str, host: Host) -> str:
    """When a host begins: within a quarter of an hour of a time of the day (systemd.time(7)).

    Args:
        time: HH:MM, by the host's clock.
        host: each has a minute of its own, so that not all use the target at once.
    """
    hours, minutes = map(int, time.split(":"))
    moment = (hours * 60 + minutes + crc32(host.name.encode()) % _SPREAD_MINUTES) % _DAY_MINUTES
    return f"*-*-* {moment // 60:02}:{moment % 60:02}:00"


def config(backups: Backups, host: Host) -> str:
    """The configuration of a host's `phoenix-backup`: KEY=VALUE, as a shell reads it."""
    target = backups.target
    folder = target.place if target.kind == "folder" else ""
    values = {
        "HOST": host.name,
        "REPOSITORY": repository(backups, host),
        "FOLDER": folder,
        "MOUNTED": mount_point(host, folder) if folder else "",
        "SFTP": _login(target) if target.kind == "sftp" else "",
        "KEEP": f"--keep-daily {backups.daily} --keep-weekly {backups.weekly} "
        f"--keep-monthly {backups.monthly}",
    }
    return "".join(f"{key}={quote(value)}\n" for key, value in values.items())


def _login(target: BackupTarget) -> str:
    """How ssh reaches an SFTP server, behind the option with the key: by its pinned key alone.

    Nothing of the system's or root's own configuration of SSH counts (ssh_config(5)).
    """
    options = {
        "BatchMode": "yes",
        "IdentitiesOnly": "yes",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": KNOWN_HOSTS,
        "GlobalKnownHostsFile": "/dev/null",
        "ConnectTimeout": "20",
        "ServerAliveInterval": "15",
        "ServerAliveCountMax": "4",
    }
    flags = [f"-o {name}={value}" for name, value in options.items()]
    where = f"{target.user}@{target.host}"
    return f"-F /dev/null {' '.join(flags)} -p {target.port} {where} -s sftp"


def known_hosts(target: BackupTarget) -> str:
    """The one host key that is taken (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT)."""
    name = target.host if target.port == SSH else f"[{target.host}]:{target.port}"
    return f"{name} {target.host_key}\n"


def s3_file(identity: SecretStr, secret: SecretStr) -> str:
    """The keys of a bucket, as a file of shared credentials, so that no environment has them."""
    return (
        f"[default]\naws_access_key_id = {identity.get_secret_value().strip()}\n"
        f"aws_secret_access_key = {secret.get_secret_value().strip()}\n"
    )


def listed(parts: tuple[Part, ...]) -> str:
    """What `phoenix-backup` copies: a line each, tabs between words."""
    return "".join("\t".join(words) + "\n" for part in parts for words in _lines(part))


def _lines(part: Part) -> Iterator[tuple[str, ...]]:
    name = part.name
    if part.stack is None and name == CA:
        yield name, "unit", CA_UNIT
        yield name, "folder", CA, DIRECTORY, " ".join(MEMBERS)
    elif name == SECRETS:
        yield name, "folder", SECRETS, ESCROW, ESCROW_FILE
    elif part.stack is None:
        yield name, "unit", SERVER_UNIT
        yield name, "volume", name, SERVER_VOLUME, ""
    elif part.stack.backup is not None:
        project = part.stack.project
        for volume in part.stack.backup.volumes:
            yield name, "volume", volume.key, volume.name, "" if volume.external else project
        for dump in part.stack.backup.dumps:
            yield name, "dump", dump.service, project, join(*dump.command)
            if dump.load:
                yield name, "load", dump.service, project, join(*dump.load)
