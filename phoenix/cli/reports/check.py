"""What `phoenix check` shows: each point, whether it holds, and what was found."""

from __future__ import annotations

import socket
from pathlib import Path

import typer
from pydantic import BaseModel, SecretStr
from rich.console import Console
from rich.markup import escape

from phoenix import bounded
from phoenix import portainer_api as api
from phoenix.cli import exits, output
from phoenix.cli.exits import CommandError
from phoenix.portainer_api import contract
from phoenix.proxmox import contract as proxmox_contract
from phoenix.proxmox.client import Client
from phoenix.proxmox.errors import ProxmoxError
from phoenix.proxmox.transport import Endpoint, Trust, connect

_HEADER = "X-API-Key:"


class Point(BaseModel):
    """One point. `found`: what is worth knowing, or what the server does instead."""

    expected: str
    holds: bool
    found: str


class Report(BaseModel):
    """All points of one server."""

    server: str
    ok: bool
    points: list[Point]


def portainer(url: str, ca: Path, key_file: Path, address: str) -> Report:
    """Ask a Portainer server every point of the contract that reads.

    Args:
        url: its base URL.
        ca: file with the root to trust.
        key_file: file with an API key, alone or as a header line.
        address: HOST:PORT to connect to; empty for those of the URL.

    Raises:
        CommandError: a file cannot be read, or the URL or address is none.
    """
    key = _text(key_file).strip().removeprefix(_HEADER).strip()
    if not key:
        raise CommandError(f"{key_file} has no API key: make one in Portainer, My account")
    root = _text(ca)
    try:
        client = api.PortainerClient(
            url, root, api_key=SecretStr(key), dial=_dial(address) if address else None
        )
    except (api.InvalidInputError, OSError) as error:
        raise CommandError(
            f"{error} ({ca})" if isinstance(error, OSError) else str(error)
        ) from None
    try:
        points = [
            Point(expected=finding.expected, holds=finding.holds, found=finding.actual)
            for finding in contract.findings(client)
        ]
    finally:
        client.close()
    return Report(server=url, ok=all(point.holds for point in points), points=points)


def proxmox(url: str, token_file: Path, fingerprint: str, ca: Path | None) -> Report:
    """Ask a Proxmox VE server every point of the contract that reads.

    Args:
        url: its base URL.
        token_file: file with the API token.
        fingerprint: SHA-256 of its certificate; empty where a root is given.
        ca: file with the root to trust.

    Raises:
        CommandError: a file cannot be read, or there is nothing to trust the certificate by.
    """
    trust = Trust(fingerprint or None, str(ca.expanduser()) if ca else None)
    try:
        api_object = connect(Endpoint(url, SecretStr(_text(token_file)), trust))
    except ProxmoxError as error:
        raise CommandError(f"{error} (here: --token-file, and --fingerprint or --ca)") from None
    findings = proxmox_contract.findings(Client(api_object))
    points = [
        Point(expected=finding.expected, holds=finding.holds, found=finding.actual)
        for finding in findings
    ]
    return Report(server=url, ok=all(point.holds for point in points), points=points)


def _dial(address: str) -> api.Dial:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise CommandError(f"--address {address}: write HOST:PORT")

    def dial(timeout: float) -> socket.socket:
        return socket.create_connection((host.strip("[]"), int(port)), timeout=timeout)

    return dial


def _text(file: Path) -> str:
    try:
        return bounded.read(file.expanduser()).decode()
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise CommandError(f"{file} cannot be read: it is not UTF-8 text") from None


def end(report: Report, *, as_json: bool) -> None:
    """Show a report, and end the command by what it found.

    Raises:
        typer.Exit: a point differs.
    """
    output.emit(as_json, report, lambda console: print_report(console, report))
    if not report.ok:
        raise typer.Exit(exits.ERROR)


def print_report(console: Console, report: Report) -> None:
    """The text for the operator: a line for each point."""
    for point in report.points:
        mark = "[green]holds[/green]" if point.holds else "[red]DIFFERS[/red]"
        detail = f": {escape(point.found)}" if point.found else ""
        console.print(f"{mark}  {escape(point.expected)}{detail}")
    differing = sum(not point.holds for point in report.points)
    console.print(
        f"{escape(report.server)}: "
        + (f"{output.count(differing, 'point')} of {len(report.points)} differ" if differing else
           "all holds")
    )  # fmt: skip
