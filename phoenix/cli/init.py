"""`phoenix init`: a new site's folder, by a few questions, by none, or from a Proxmox VE host."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from phoenix.cli import options

if TYPE_CHECKING:
    from phoenix.cli.new_site.answers import Answers


def _network(text: str) -> IPv4Network:
    from phoenix.cli.new_site.answers import network_of

    try:
        return network_of(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The site's folder: a new or an empty one.")
    ],
    defaults: Annotated[
        bool,
        typer.Option("--defaults", help="Ask nothing: take the default where no option is given."),
    ] = False,
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="USER@HOST",
            help="Read a Proxmox VE host by SSH, and propose its guests.",
        ),
    ] = None,
    domain: Annotated[
        str | None, typer.Option(help="Internal domain of all names. Default: home.arpa.")
    ] = None,
    network: Annotated[
        IPv4Network | None,
        typer.Option(
            parser=_network, metavar="NETWORK", help="The site's network. Default: 192.168.1.0/24."
        ),
    ] = None,
    gateway: Annotated[
        IPv4Address | None,
        typer.Option(
            parser=IPv4Address,
            metavar="IP",
            help="The network's router. Default: its first address.",
        ),
    ] = None,
    hypervisor: Annotated[
        str | None, typer.Option(metavar="NAME", help="The Proxmox VE node. Default: pve.")
    ] = None,
    address: Annotated[
        IPv4Address | None,
        typer.Option(
            parser=IPv4Address, metavar="IP", help="Its address. Default: the network's second."
        ),
    ] = None,
    guest: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[:ROLE][@IP]",
            help="A guest, in place of the standard ones; may be given again. Roles: step_ca, "
            "traefik, nginx, portainer, docker.",
        ),
    ] = None,
    timezone: Annotated[
        str | None, typer.Option(help="Time zone of all hosts, as Europe/Vienna.")
    ] = None,
    organisation: Annotated[
        str | None, typer.Option(help="Organisation in the CA's certificates. Default: the domain.")
    ] = None,
    as_json: options.JsonOption = False,
) -> None:
    """Make a new site's folder: declaration, settings, stacks, inventory, .gitignore, SOPS file.

    It asks a few questions. --defaults asks none, and --from reads a Proxmox VE host instead and
    changes nothing there. What it writes is validated first; a folder that is not empty is refused,
    and one where this was interrupted is finished. No host of the site is touched.

    Examples:
      phoenix init ~/site                             a few questions
      phoenix init ~/site --from root@192.168.1.2     guests of a Proxmox VE host
      phoenix init ~/site --defaults --domain home.example.com
      phoenix init ~/site --defaults --guest ca:step_ca \\
                          --guest proxy:traefik --guest web:nginx

    Exit code: 0 the site is written and sound; 1 it is not, and nothing was written.
    """
    from phoenix.cli import output
    from phoenix.cli.new_site import questions
    from phoenix.cli.reports import init as reports

    answered = questions.Options(
        domain, network, gateway, hypervisor, address, tuple(guest or ()), timezone, organisation
    )
    if (report := reports.finish(folder)) is None:
        answers: Answers = questions.answers(answered, defaults=defaults or as_json, source=source)
        report = reports.make(folder, answers)
    output.emit(as_json, report, lambda console: reports.print_report(console, report))
