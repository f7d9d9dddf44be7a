"""`phoenix certs`: what is served and until when; new ones now; a new intermediate or root."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from phoenix.cli import complete, exits, options

app = typer.Typer(
    no_args_is_help=True,
    help="Certificates: list them, renew a guest's now, replace the CA's keys.",
)


root_app = typer.Typer(no_args_is_help=True, help="The CA's root: move its key off the CA's guest.")
app.add_typer(root_app, name="root")


@root_app.command()
def offline(
    to: Annotated[
        Path, typer.Option("--to", help="The directory for the new file, on this machine.")
    ],
    recipient: Annotated[
        list[str] | None,
        typer.Option("--recipient", "-r", help="An age or SSH public key; may be repeated."),
    ] = None,
    inventory: options.InventoryOption = options.DEFAULT_INVENTORY,
    as_json: options.JsonOption = False,
) -> None:
    """Move the root's key from the CA's guest into an encrypted file of yours.

    The file is proven to open, and the key in it to be the root's, before it is removed there.
    Certificates go on as before; only a new intermediate asks for the file. Without --recipient it
    is encrypted for the setting backup_recipients, else with the secret backup_passphrase.

    Examples:
      phoenix certs root offline --to /mnt/usb -r age1...

    Exit code: 0 it is offline, 1 it is not: nothing was removed.
    """
    from phoenix.cli import project
    from phoenix.cli.converge import converge, finish
    from phoenix.cli.targets import Work
    from phoenix.site.roles import guest_with

    site = project.load(inventory)
    data: dict[str, object] = {"certs_root_to": str(to.expanduser().resolve())}
    if recipient:
        data["certs_root_recipients"] = ",".join(recipient)
    work = Work(("deploys/certs_root.py",), (guest_with(site.site, "step_ca").name,), data)
    finish(converge(site, [work], "certs root offline", quiet=as_json, notes=True), as_json)


class Rotation(StrEnum):
    """What `phoenix certs rotate` replaces."""

    intermediate = "intermediate"
    root = "root"
    go_on = "continue"
    abandon = "abandon"


@app.command("list")
def list_(
    inventory: options.InventoryOption = options.DEFAULT_INVENTORY,
    as_json: options.JsonOption = False,
) -> None:
    """List every served certificate: its names, issuer, expiry and next renewal.

    Examples:
      phoenix certs list
      phoenix certs list --json | jq '.certificates[] | select(.hours_left < 4)'

    Exit code: 0 all verify, 1 one is over, does not verify, or could not be asked for.
    """
    from phoenix.cli import output, project
    from phoenix.cli.reports import status
    from phoenix.health import observation

    kinds = (observation.CERTIFICATES, observation.RENEWALS)
    observed = status.status_of(project.load(inventory), kinds, drift=False, quiet=as_json)
    fine = all(certificate.state == "ok" for certificate in observed.certificates)
    answer = {
        "site": observed.site,
        "at": observed.at.isoformat(),
        "certificates": [
            certificate.model_dump(mode="json") for certificate in observed.certificates
        ],
    }
    output.emit(as_json, answer, lambda console: status.print_certificates(console, observed))
    if not fine:
        raise typer.Exit(exits.ERROR)


@app.command()
def renew(
    holder: Annotated[
        str,
        typer.Argument(
            metavar="GUEST",
            help="The guest that holds them: name, id or address.",
            autocompletion=complete.guests,
        ),
    ],
    inventory: options.InventoryOption = options.DEFAULT_INVENTORY,
    as_json: options.JsonOption = False,
) -> None:
    """Renew a guest's certificates now, even if they are not due; the old ones serve until then.

    The CA renews its own certificate when it starts.

    Examples:
      phoenix certs renew nginx-phoenix
      phoenix certs renew 103

    Exit code: 0 renewed and loaded, 1 not: the old one is still served.
    """
    from phoenix.cli import project
    from phoenix.cli.converge import converge, finish
    from phoenix.cli.targets import Work, guest
    from phoenix.components.ca_rotation import check_renewal

    site = project.load(inventory)
    name = check_renewal(site.site, guest(holder, site.site)).name
    work = Work(("deploys/certs_renew.py",), (name,), {"certs_renew": name})
    finish(converge(site, [work], f"certs renew {name}", quiet=as_json, notes=True), as_json)


@app.command()
def rotate(
    what: Annotated[
        Rotation, typer.Argument(help="What to replace; or continue or abandon a replacement.")
    ],
    prepare: Annotated[
        bool, typer.Option("--prepare", help="Stop when every host trusts the next root as well.")
    ] = False,
    permit: Annotated[
        list[str] | None,
        typer.Option(
            "--permit",
            metavar="DOMAIN|NETWORK",
            help="A future domain or network, which the CA vouches for as well. Repeatable.",
        ),
    ] = None,
    root_key: Annotated[
        Path | None,
        typer.Option(
            "--root-key",
            metavar="FILE",
            help="The root's offline key: a new intermediate needs it.",
            exists=True,
        ),
    ] = None,
    identity: Annotated[
        Path | None,
        typer.Option("--identity", "-k", help="The age or SSH private key that opens --root-key."),
    ] = None,
    inventory: options.InventoryOption = options.DEFAULT_INVENTORY,
    as_json: options.JsonOption = False,
) -> None:
    """Replace the CA's intermediate, or its root, on every host, without a failed request.

    For a new root every host trusts both until all of them are proven to trust and to serve the
    new chain; then the old one goes. It can be stopped at any moment; `continue` finishes
    an interrupted replacement, `abandon` drops one before the CA signs with its new keys.

    The CA vouches for the site's own domain and network alone. Before these change, rotate the
    root (the intermediate will do under a root without limits, of an earlier release), with the
    new declaration or with --permit: it then vouches for both, until you rotate it again after
    the change.

    You must give the new root to clients that are not hosts of the site. With --prepare it stops
    before the new root is used: both are then in /etc/phoenix/roots.pem on every host.

    Examples:
      phoenix certs rotate intermediate
      phoenix certs rotate root --prepare
      phoenix certs rotate root --permit new.example.org
      phoenix certs rotate intermediate --root-key FILE.age -k key.txt
      phoenix certs rotate continue
      phoenix certs rotate abandon

    Exit code: 0 it is done, 1 it stopped; both chains are trusted meanwhile.
    """
    from phoenix.cli import project
    from phoenix.cli.converge import converge, finish
    from phoenix.cli.targets import Work

    site = project.load(inventory)
    data: dict[str, object] = {"certs_rotate": what.value}
    if prepare:
        data["certs_rotate_prepare"] = True
    if root_key is not None:
        data["certs_root_key"] = str(root_key.expanduser().resolve())
    if identity is not None:
        data["certs_root_identity"] = str(identity.expanduser().resolve())
    if permit:
        data["certs_permit"] = ",".join(permit)
    work = Work(("deploys/certs_rotate.py",), (), data)
    finish(converge(site, [work], f"certs rotate {what.value}", quiet=as_json, notes=True), as_json)
