"""`phoenix backup` and `phoenix restore`: one encrypted file, and the timers' snapshots."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from phoenix.cli import options

if TYPE_CHECKING:
    from phoenix.cli.project import Project
    from phoenix.site.model import Host

app = typer.Typer(
    help="Back up the CA, Portainer's data and the generated secrets into one encrypted file."
)

PartOption = Annotated[
    list[str] | None,
    typer.Option("--part", help="ca, portainer or secrets; may be repeated. Default: all."),
]


@app.callback(invoke_without_command=True)
def backup(
    context: typer.Context,
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
    their copy; no request that others serve is lost. Volumes of stacks are not in it: those are in
    the backups by a timer, which `list`, `now` and `prove` are about.

    Without --recipient it is encrypted for the setting backup_recipients, else with the secret
    backup_passphrase.

    Examples:
      phoenix backup --to /mnt/usb -r age1...
      PHOENIX_SECRET_BACKUP_PASSPHRASE_FILE=~/pass phoenix backup
      phoenix backup list

    Exit code: 0 written and verified, 1 not.
    """
    if context.invoked_subcommand is not None:
        return
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


@app.command("list")
def list_(
    inventory: options.InventoryOption = options.DEFAULT_INVENTORY,
    as_json: options.JsonOption = False,
) -> None:
    """List the snapshots that the hosts' timers made, and the newest proven one.

    Examples:
      phoenix backup list
      phoenix backup list --json | jq '.parts[] | select(.failure != "")'

    Exit code: 0 each part has a good and proven backup, 1 one has not, or a host does not tell.
    """
    from phoenix.cli import output, project
    from phoenix.cli.reports import backups

    site = project.load(inventory)
    listed = backups.collect(site, quiet=as_json)
    output.emit(as_json, listed.answer(), lambda console: backups.show(console, listed))
    if not listed.is_fine:
        raise typer.Exit(1)


@app.command()
def now(
    inventory: options.InventoryOption = options.DEFAULT_INVENTORY,
    as_json: options.JsonOption = False,
) -> None:
    """Run the timers' backups now, on every host that has any.

    Services pause for the moment of their copy, as at night.

    Examples:
      phoenix backup now

    Exit code: 0 each part is backed up, 1 one is not.
    """
    _start(inventory, "run", "backup now", as_json=as_json)


@app.command()
def prove(
    inventory: options.InventoryOption = options.DEFAULT_INVENTORY,
    as_json: options.JsonOption = False,
) -> None:
    """Prove the newest snapshots now: restore each into a scratch folder of its host, and compare.

    Data in use stays as it is. Snapshots that are proven already are skipped.

    Examples:
      phoenix backup prove

    Exit code: 0 each newest snapshot restores whole, 1 one does not.
    """
    _start(inventory, "prove", "backup prove", as_json=as_json)


def _start(inventory: Path, what: str, title: str, *, as_json: bool) -> None:
    from phoenix.cli import project
    from phoenix.cli.converge import converge, finish
    from phoenix.cli.targets import Work

    site = project.load(inventory)
    hosts = tuple(host.name for host in _having(site))
    work = Work(("deploys/backup_now.py",), hosts, {"backup_now": what})
    finish(converge(site, [work], title, quiet=as_json, notes=True), as_json)


def _having(site: Project) -> tuple[Host, ...]:
    """The hosts that back something up; refused where none does."""
    from phoenix.cli.exits import CommandError
    from phoenix.derived.backups import hosts

    if not (backed_up := hosts(site.site)):
        raise CommandError(
            'no host backs anything up by a timer: write "backups" into "site" of '
            "phoenix_lxc_configs.json (docs/backups.md), then run `phoenix sync`"
        )
    return backed_up


def restore(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE_OR_PART",
            help="A file that `phoenix backup` wrote, or with --at: ca, portainer, "
            "secrets, stack:NAME; left out: all of them.",
        ),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            "--at",
            metavar="TIME",
            help="From the timers' snapshots, as of then: yesterday, 2026-11-25, "
            "2026-11-25T14:00, 6h (ago), latest.",
        ),
    ] = None,
    identity: Annotated[
        Path | None,
        typer.Option("--identity", "-k", help="The age or SSH private key that opens it."),
    ] = None,
    part: PartOption = None,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace", help="Move existing data that differs aside, in place of refusing."
        ),
    ] = False,
    inventory: options.InventoryOption = options.DEFAULT_INVENTORY,
    as_json: options.JsonOption = False,
) -> None:
    """Restore a backup, on new guests or over existing data; then run `phoenix sync`.

    Before it touches a host, it decrypts the backup and checks that it is complete, that it is this
    site's, and that the CA's keys and certificates match.

    Examples:
      phoenix restore phoenix-internal.example.com-20261124T180000Z.age -k key.txt
      phoenix restore FILE --part ca --replace
      phoenix restore --at yesterday stack:wiki
      phoenix restore --at 2026-11-25T14:00 ca --replace

    Exit code: 0 restored, 1 refused or failed; nothing that was there is lost.
    """
    from phoenix.cli import project
    from phoenix.cli.converge import converge, finish
    from phoenix.cli.targets import Work

    if at is not None:
        _restore_at(what, at, inventory, identity, replace=replace, as_json=as_json)
        return
    file = Path(what or "")
    if what is None or not file.exists():
        raise typer.BadParameter(
            f"there is no file {what}" if what else "name a file of `phoenix backup`, or --at TIME"
        )
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


def _restore_at(
    what: str | None, at: str, inventory: Path, identity: Path | None, *, replace: bool,
    as_json: bool,
) -> None:  # fmt: skip
    from phoenix.backup.snapshots import moment, parts_named
    from phoenix.cli import project
    from phoenix.cli.converge import converge, finish
    from phoenix.cli.targets import Work
    from phoenix.derived.backups import SECRETS, parts

    site = project.load(inventory)
    _having(site)
    when = moment(at, datetime.now().astimezone(), datetime.astimezone)
    chosen = parts_named(parts(site.site), what)
    if what is None and identity is None:  # nobody could open them
        chosen = tuple(part for part in chosen if part.name != SECRETS)
    data: dict[str, object] = {
        "restore_at": when.isoformat(),
        "restore_at_parts": ",".join(part.name for part in chosen),
    }
    if replace:
        data["restore_replace"] = True
    if identity is not None:
        data["restore_identity"] = str(identity.expanduser().resolve())
    hosts = tuple(dict.fromkeys(part.host.name for part in chosen))
    work = Work(("deploys/restore_at.py",), hosts, data)
    finish(converge(site, [work], f"restore --at {at}", quiet=as_json, notes=True), as_json)
