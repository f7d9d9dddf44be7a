"""`phoenix backup` and `phoenix restore`: one encrypted file with what cannot be made again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from phoenix.cli import options

PartOption = Annotated[
    list[str] | None,
    typer.Option("--part", help="ca, portainer or secrets; may be repeated. Default: all."),
]


def backup(
    to: Annotated[
        Path, typer.Option("--to", help="The directory for the new file, on this machine.")
    ] = Path("~/phoenix-backups"),
    recipient: Annotated[
        list[str] | None,
        typer.Option("--recipient", "-r", help="An age or SSH public key; may be repeated."),
    ] = None,
    part: PartOption = None,
    inventory: options.InventoryOption = options.DEFAULT_INVENTORY,
    as_json: options.JsonOption = False,
) -> None:
    """Back up the CA, Portainer's data and the generated secrets into one encrypted file.

    The file is read back and checked before it counts. The CA and Portainer pause for the moment of
    their copy; no request that others serve is lost. Volumes of stacks are not in it.

    Without --recipient it is encrypted for the setting backup_recipients, else with the secret
    backup_passphrase.

    Examples:
      phoenix backup --to /mnt/usb -r age1...
      PHOENIX_SECRET_BACKUP_PASSPHRASE_FILE=~/pass phoenix backup

    Exit code: 0 written and verified, 1 not.
    """
    from phoenix.cli import project
    from phoenix.cli.converge import converge, finish
    from phoenix.cli.targets import Work

    site = project.load(inventory)
    data: dict[str, object] = {"backup_to": str(to.expanduser().resolve())}
    if recipient:
        data["backup_recipients"] = ",".join(recipient)
    if part:
        data["backup_parts"] = ",".join(part)
    guests = [host.name for host in (site.site.ca, site.site.portainer) if host is not None]
    work = Work(("deploys/backup.py",), tuple(guests), data)
    finish(converge(site, [work], "backup", quiet=as_json, notes=True), as_json)


def restore(
    file: Annotated[Path, typer.Argument(help="A file that `phoenix backup` wrote.", exists=True)],
    identity: Annotated[
        Path | None,
        typer.Option("--identity", "-k", help="The age or SSH private key that opens it."),
    ] = None,
    part: PartOption = None,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="What is there and differs is moved aside, not refused."),
    ] = False,
    inventory: options.InventoryOption = options.DEFAULT_INVENTORY,
    as_json: options.JsonOption = False,
) -> None:
    """Put a backup back, on new guests or over what is there; then run `phoenix sync`.

    Everything is decrypted and checked before any host is touched: that nothing is damaged, that
    it is this site's, that the CA's keys and certificates fit together.

    Examples:
      phoenix restore phoenix-internal.example.com-20261124T180000Z.age -k key.txt
      phoenix restore FILE --part ca --replace

    Exit code: 0 restored, 1 refused or failed; nothing that was there is lost.
    """
    from phoenix.cli import project
    from phoenix.cli.converge import converge, finish
    from phoenix.cli.targets import Work

    site = project.load(inventory)
    data: dict[str, object] = {"restore_from": str(file.resolve())}
    if identity is not None:
        data["restore_identity"] = str(identity.expanduser().resolve())
    if part:
        data["restore_parts"] = ",".join(part)
    if replace:
        data["restore_replace"] = True
    work = Work(("deploys/restore.py",), (), data)
    finish(converge(site, [work], f"restore {file.name}", quiet=as_json, notes=True), as_json)
