"""Backups by a timer: each host's parts into its own restic repository, and a proof of each.

restic comes as Debian's package, on the hosts that back something up alone: Debian 12 and 13 both
have it, it is updated with the system, and it writes folders, SFTP and S3 by itself, where borg
needs itself on the other end.
"""

from deploys.context import secrets, setting_errors, site, site_host
from deploys.given_secrets import given_secret
from deploys.site_secrets import secret
from operations import restic as operations
from operations.config_tree import config_tree
from operations.packages import packages
from phoenix import files
from phoenix.components.config_tree.tree import Tree, TreeFile
from phoenix.components.restic import files as restic
from phoenix.derived.backups import of_host
from phoenix.files import render
from phoenix.secrets import backup_password
from phoenix.shell import fill
from phoenix.site.model import Backups, BackupTarget
from phoenix.site.secret_names import (
    BACKUP_KEY,
    BACKUP_S3_ID,
    BACKUP_S3_SECRET,
    BACKUP_SSH_KEY,
)

FOLDER = "components/restic"
UNITS = "/etc/systemd/system"


def credentials(target: BackupTarget) -> dict[str, str]:
    """Path to content of what logs in to a target."""
    if target.kind == "sftp":
        return {restic.SSH_KEY: given_secret(BACKUP_SSH_KEY).get_secret_value().strip() + "\n"}
    if target.kind == "s3":
        return {
            restic.S3: restic.s3_file(given_secret(BACKUP_S3_ID), given_secret(BACKUP_S3_SECRET))
        }
    return {}


def tree(backups: Backups) -> Tree:
    """This host's backups."""
    own_host = site_host()
    password = backup_password.of_host(secret(BACKUP_KEY), own_host.name)
    login = credentials(backups.target)
    secret_files = {restic.PASSWORD: password.get_secret_value(), **login}
    folder = backups.target.place if backups.target.kind == "folder" else ""
    services = {restic.SERVICE: "run", restic.PROOF: "prove"}
    timers = {
        restic.TIMER: ("when this host is backed up", backups.at, restic.SERVICE),
        restic.PROOF_TIMER: ("when its backups are proven", backups.prove_at, restic.PROOF),
    }
    return Tree(
        component=restic.TREE,
        files={
            restic.PROGRAM: TreeFile(files.text(f"{FOLDER}/phoenix-backup"), mode="0755"),
            restic.CONFIG: TreeFile(restic.config(backups, own_host)),
            # A person's command for a dump may have a password in it.
            restic.PARTS: TreeFile(restic.listed(of_host(site(), own_host)), mode="0600"),
            **{
                path: TreeFile(content, mode="0600", secret=True)
                for path, content in secret_files.items()
            },
            **(
                {restic.KNOWN_HOSTS: TreeFile(restic.known_hosts(backups.target))}
                if backups.target.kind == "sftp"
                else {}
            ),
            **{
                f"{UNITS}/{unit}": TreeFile(
                    render(
                        f"{FOLDER}/phoenix-backup.service.j2",
                        program=program,
                        folder=folder,
                    )
                )
                for unit, program in services.items()
            },
            **{
                f"{UNITS}/{timer}": TreeFile(
                    render(
                        f"{FOLDER}/phoenix-backup.timer.j2",
                        what=what,
                        calendar=restic.calendar(time, own_host),
                        unit=unit,
                    )
                )
                for timer, (what, time, unit) in timers.items()
            },
            **{
                f"{UNITS}/{unit}": TreeFile(files.text(f"{FOLDER}/{unit}"))
                for unit in (restic.AGAIN, restic.AGAIN_TIMER)
            },
        },
        enable=(*timers, restic.AGAIN_TIMER),
        validate=fill('sh -n "$ROOT"{{ program }}', program=restic.PROGRAM),
        # From then on a first backup is awaited.
        after=fill(
            "mkdir -p -m 0700 {{ var }} && mkdir -p {{ state }} && "
            "{ [ -e {{ state }}/since ] || touch {{ state }}/since; }",
            var=restic.VAR,
            state=restic.STATE,
        ),
    )


backups_ = site().backups
if backups_ is not None and of_host(site(), site_host()):
    packages(
        name="Backups: packages",
        names=["restic", *(["openssh-client"] if backups_.target.kind == "sftp" else [])],
    )
    with setting_errors():
        desired = tree(backups_)
    config_tree(name="Backups: files and timers", tree=desired)
    if backups_.secrets_for and site_host() == site().ca:
        with setting_errors():
            key = secret(BACKUP_KEY)
        operations.escrowed(
            name="Backups: the generated secrets, encrypted",
            store=secrets(),
            key=key,
            readers=backups_.secrets_for,
        )
