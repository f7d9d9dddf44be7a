"""`phoenix check`: whether a server of yours does what Phoenix takes for granted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from phoenix.cli import options

app = typer.Typer(
    no_args_is_help=True,
    help="Check a Portainer or Proxmox VE of yours before the first deploy; reads only.",
)


@app.command()
def portainer(
    url: Annotated[str, typer.Argument(help="https://NAME:9443, NAME as its certificate says.")],
    ca: Annotated[
        Path, typer.Option("--ca", help="The root certificate to trust, or its own, PEM.")
    ],
    key_file: Annotated[
        Path, typer.Option("--key-file", help="A file with an administrator's API key.")
    ],
    address: Annotated[
        str, typer.Option("--address", help="HOST:PORT to connect to instead of the name.")
    ] = "",
    as_json: options.JsonOption = False,
) -> None:
    """Check that a Portainer of yours answers as Phoenix expects; nothing is changed.

    Every request is a GET. The key is made in Portainer by an administrator (My account, Access
    tokens). A Portainer that made its own certificate calls itself localhost there: save it with
    `openssl s_client -connect HOST:9443 </dev/null | openssl x509`, give https://localhost:9443 and
    the address.

    Examples:
      phoenix check portainer https://p.example:9443 --ca ca.pem --key-file key

    Exit code: 0 all holds, 1 something does not.
    """
    from phoenix.cli.reports import check as reports

    report = reports.portainer(url, ca, key_file, address)
    reports.end(report, as_json=as_json)


@app.command()
def proxmox(
    url: Annotated[str, typer.Argument(help="https://ADDRESS:8006.")],
    token_file: Annotated[
        Path, typer.Option("--token-file", help="A file with the token, USER@REALM!ID=SECRET.")
    ],
    fingerprint: Annotated[
        str, typer.Option("--fingerprint", help="SHA-256 of its certificate, AA:BB:...")
    ] = "",
    ca: Annotated[
        Path | None, typer.Option("--ca", help="The root certificate to trust instead, PEM.")
    ] = None,
    as_json: options.JsonOption = False,
) -> None:
    """Check that a Proxmox VE of yours answers as Phoenix expects; nothing is changed.

    Every request is a GET. docs/proxmox.md tells how to make the token. The fingerprint is shown by
    Proxmox VE (the node, Certificates), and by
    `openssl x509 -noout -fingerprint -sha256 -in /etc/pve/local/pve-ssl.pem` there.

    Examples:
      phoenix check proxmox https://p.example:8006 --token-file token --ca ca.pem

    Exit code: 0 all holds, 1 something does not.
    """
    from phoenix.cli.reports import check as reports

    report = reports.proxmox(url, token_file, fingerprint, ca)
    reports.end(report, as_json=as_json)
