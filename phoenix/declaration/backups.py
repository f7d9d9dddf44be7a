"""Backups by a timer, as the site and its stacks declare them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from phoenix.compose import document
from phoenix.declaration import compose
from phoenix.declaration.json_errors import listed
from phoenix.declaration.json_keys import RawBackups, RawStackBackup
from phoenix.declaration.value_types import shown_value
from phoenix.derived import backups
from phoenix.site.findings import Report
from phoenix.site.model import (
    BackedUpVolume,
    Backups,
    BackupTarget,
    Dump,
    Site,
    StackBackup,
)
from phoenix.site.ports import HTTPS, SSH


def read(raw: RawBackups | None) -> Backups | None:
    """`site.backups`, typed; None where there is none."""
    if raw is None:
        return None
    return Backups(
        target=_target(raw),
        at=raw.at,
        prove_at=raw.prove_at,
        daily=raw.keep.daily,
        weekly=raw.keep.weekly,
        monthly=raw.keep.monthly,
        warn_days=raw.warn_days,
        secrets_for=raw.secrets_for,
    )


def _target(raw: RawBackups) -> BackupTarget:
    """The target that `json_keys.BackupPlace` has taken.

    Of an SFTP server restic reads `sftp:USER@HOST:PATH` as an absolute path.
    """
    if raw.target.startswith("/"):
        return BackupTarget(kind="folder", place=raw.target)
    url = urlsplit(raw.target.removeprefix("s3:"))
    host = url.hostname or ""
    if url.scheme == "sftp":
        return BackupTarget(
            kind="sftp",
            place=f"sftp:{url.username}@{host}:{url.path}",
            user=url.username or "",
            host=host,
            port=url.port or SSH,
            host_key=raw.sftp_host_key or "",
        )
    return BackupTarget(kind="s3", place=raw.target, host=host, port=url.port or HTTPS)


def of_stack(
    raw: RawStackBackup | None,
    content: Mapping[str, Any],
    values: Mapping[str, str],
    project: str,
    *,
    at: tuple[str, str],
    swarm: bool,
    report: Report,
) -> StackBackup | None:
    """What a stack declares as its backup.

    Args:
        raw: its `backup`; None where it has none.
        content: the compose file.
        values: the declared variables.
        project: the stack's name in Docker.
        at: the manifest, and the path of the environment in it.
        swarm: whether it is services of a Docker Swarm.
        report: takes what is wrong with it.
    """
    if raw is None:
        return None
    file, path = at
    if swarm:
        report.error(
            file, f"{path}.backup", "is of a Swarm stack, whose services run on any node and start "
            "again where they are stopped: its volumes cannot be copied while they stand still",
            "remove it, and have its services write their own copies; a compose stack can have one",
        )  # fmt: skip
        return None
    known = dict(_volumes(content, values, project))
    volumes = []
    for number, key in enumerate(known if raw.volumes is None else raw.volumes):
        place = f"{path}.backup.volumes[{number}]" if raw.volumes is not None else f"{path}.backup"
        if key not in known:
            have = f"they are {listed(known)}" if known else "it has none"
            report.error(
                file, place, f"the compose file has no volume {shown_value(key)}: {have}",
                "write a key of the compose file's `volumes`; what a service mounts from a folder "
                "of the host is not a volume",
            )  # fmt: skip
        elif known[key] is None:
            report.error(
                file, place,
                f"the name of volume {key} in Docker is that of a variable that is not known here",
                "give the volume a name without secrets and settings in it",
            )  # fmt: skip
        else:
            volumes.append(known[key])
    dumps: list[Dump] = []
    for number, dump in enumerate(raw.dumps):
        place = f"{path}.backup.dumps[{number}].service"
        if dump.service not in content["services"]:
            report.error(
                file, place, f"the compose file has no service {shown_value(dump.service)}",
                f"use one of: {listed(content['services'])}",
            )  # fmt: skip
        elif not document.is_started(content["services"][dump.service], values):
            report.error(
                file, place, f"compose service {dump.service!r} is not started, so it gives out "
                "nothing",
                "remove profiles, scale or deploy.replicas from it, or remove the dump",
            )  # fmt: skip
        elif dump.service in [earlier.service for earlier in dumps]:
            report.error(
                file, place, f"another dump is of service {dump.service!r} already",
                "write one command that gives out all of it",
            )  # fmt: skip
        else:
            dumps.append(Dump(service=dump.service, command=dump.command, load=dump.load))
    return StackBackup(volumes=tuple(volume for volume in volumes if volume), dumps=tuple(dumps))


def _volumes(
    content: Mapping[str, Any], values: Mapping[str, str], project: str
) -> Iterator[tuple[str, BackedUpVolume | None]]:
    """Each volume of a compose file by its key; None where its name is not known."""
    names = {
        names.path.removeprefix("volumes."): names.name
        for names in compose.docker_names(content, values, project)
        if names.kind == "volume"
    }
    for key, body in (content.get("volumes") or {}).items():
        external = isinstance(body, dict) and bool(body.get("external"))
        name = names.get(key)
        yield key, BackedUpVolume(key=key, name=name, external=external) if name else None


def _check_host_key(
    target: BackupTarget, raw: RawBackups | None, file: str, report: Report
) -> None:
    has_key = raw is not None and raw.sftp_host_key is not None
    if target.kind == "sftp" and not has_key:
        report.error(
            file, "site.backups.sftp_host_key", f"is missing, so no host would know {target.host} "
            "from another that answers in its place",
            f"write what `ssh-keyscan -t ed25519 -p {target.port} {target.host}` shows behind the "
            "name, compared with /etc/ssh/ssh_host_ed25519_key.pub on the server itself",
        )  # fmt: skip
    elif target.kind != "sftp" and has_key:
        report.error(
            file, "site.backups.sftp_host_key", "is of an SFTP server, and the target is none",
            "remove it, or write the target as sftp://USER@HOST/FOLDER",
        )  # fmt: skip


def check(site: Site, raw: RawBackups | None, file: str, report: Report) -> None:
    """Tell of backups that a loss takes along, and of stacks that are in none.

    Args:
        site: with its backups.
        raw: what declares them.
        file: where `site.backups` stands.
        report: takes what is told.
    """
    if site.backups is None:
        return
    if site.backups.daily + site.backups.weekly + site.backups.monthly == 0:
        report.error(
            file, "site.backups.keep", "keeps nothing: only the newest snapshot would stay",
            "write at least one of daily, weekly and monthly above 0, or leave keep out",
        )  # fmt: skip
    _check_host_key(site.backups.target, raw, file, report)
    if site.backups.target.kind == "folder":
        folder = site.backups.target.place
        bare = [host.name for host in backups.hosts(site) if not backups.mount_point(host, folder)]
        if bare:
            report.warn(
                file, "site.backups.target", f"{folder} is on the own disk of {listed(bare)}, as "
                "far as the site's files say: what takes the disk takes the backups along",
                "have it on a folder by NFS (`volumes` of the guest) or of the hypervisor "
                "(`mount_points`)",
            )  # fmt: skip
    for host in site.docker_hosts:
        for stack in host.docker_stacks:
            if stack.backup is None and stack.volumes and stack.type == "compose":
                report.warn(
                    stack.source.file, f"{stack.source.path}.backup", "is left out, so the stack's "
                    f"volumes are in no backup: {listed(stack.volumes)}",
                    'write {} for all of them, or {"volumes": []} for none',
                )  # fmt: skip
