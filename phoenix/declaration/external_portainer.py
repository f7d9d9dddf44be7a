"""An external Portainer (`site.portainer`): one that is not a guest of the site."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from phoenix.declaration import external
from phoenix.declaration.json_keys import RawPortainer
from phoenix.site.findings import Report
from phoenix.site.model import ExternalPortainer, Host, Source

PATH = "site.portainer"


def read(
    raw: RawPortainer | None,
    file: str,
    folder: Path,
    move: Callable[[Any], Any],
    report: Report,
) -> ExternalPortainer | None:
    """The Portainer elsewhere; None where none is declared, or with the reason reported.

    Args:
        raw: the entry.
        file: what findings call the file that has it.
        folder: of the site, and the file with its CA.
        move: re-addresses JSON data.
        report: takes what is wrong.
    """
    if raw is None:
        return None
    if raw.ca_file is not None and raw.fingerprint is not None:
        report.error(
            *(file, f"{PATH}.fingerprint", "there are two proofs of who it is"),
            "keep one of ca_file and fingerprint",
        )
        return None
    pem = (
        external.ca(raw.ca_file, folder, Source(file=file, path=PATH), report)
        if raw.ca_file
        else ""
    )
    if pem is None:
        return None
    moved = RawPortainer.model_validate(move(raw.model_dump(mode="json")))
    return ExternalPortainer(
        url=raw.url,
        connects_from=moved.connects_from or _address(urlsplit(moved.url).hostname or ""),
        ca=pem,
        fingerprint=(raw.fingerprint or "").replace(":", "").lower(),
    )


def _address(name: str) -> tuple[IPv4Network, ...]:
    try:
        return (IPv4Network(IPv4Address(name)),)
    except AddressValueError:
        return ()


def check(
    elsewhere: ExternalPortainer | None, guests: Sequence[Host], file: str, report: Report
) -> None:
    """Refuse a second Portainer, and agents that nobody could be let in to.

    Args:
        elsewhere: the declared one.
        guests: the running guests.
        file: that has the entry.
        report: takes the errors.
    """
    if elsewhere is None:
        return
    for host in guests:
        if host.portainer_role == "server":
            report.error(
                *(file, PATH, f"{host.name} has the role portainer, so there would be two of them"),
                f"take the role from {host.name}, or remove {PATH}",
            )
    if not elsewhere.connects_from and any(host.portainer_role == "agent" for host in guests):
        report.error(
            file,
            f"{PATH}.connects_from",
            f"the site does not say from which address {elsewhere.url} comes to the agents, so "
            f"their hosts "
            "would let nobody in",
            'write its address, "connects_from": ["192.0.2.10"]',
        )
