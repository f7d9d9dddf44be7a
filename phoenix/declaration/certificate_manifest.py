"""certificate-manifest.json, the original system's list of certificates: read and compared.

Phoenix makes each certificate from the services, so the file declares nothing. What of it the site
has is told once; what it has not, one by one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from phoenix.declaration.json_errors import TOO_DEEP, join, listed, read_text, validate
from phoenix.declaration.json_keys import RawCertificate
from phoenix.derived.certificates import certificates
from phoenix.site.findings import Report
from phoenix.site.model import Site

FILE = "certificate-manifest.json"


def check(folder: Path, site: Site, report: Report) -> None:
    """Compare the file with what the site has by itself; nothing where there is none.

    Args:
        folder: that of the site's JSON files.
        site: the site.
        report: takes the findings.
    """
    if not (folder / FILE).exists():
        return
    issued_names = {name for certificate in certificates(site) for name in certificate.sans}
    issued_names |= {
        name
        for service in site.services
        if service.kind in ("ca", "agent")
        for name in service.names
    }
    issued_names |= {name for service in site.services if service.has_tls for name in service.names}
    covered: list[str] = []
    for position, raw in _entries(folder, report):
        path = join("", position)
        missing = list(_missing(raw, path, issued_names, site))
        for where, message, fix in missing:
            report.warn(FILE, where, message, fix)
        if not missing:
            covered.append(raw.common_name)
    if covered:
        report.warn(
            FILE, "",
            f"Phoenix makes and renews these certificates by itself, at places of its own: "
            f"{listed(covered)}",
            "remove their entries; nothing of them is needed, and no command after a renewal",
        )  # fmt: skip


def _entries(folder: Path, report: Report) -> Iterator[tuple[int, RawCertificate]]:
    text = read_text(folder / FILE, FILE, "create it", report)
    if text is None:
        return
    try:
        data: Any = json.loads(text)
    except ValueError as error:
        report.error(FILE, "", f"is not valid JSON: {error}", "correct the syntax")
        return
    except RecursionError:
        report.error(FILE, "", *TOO_DEEP)
        return
    if not isinstance(data, list):
        report.error(FILE, "", "is not a list of certificates", "write a list: [ ... ]")
        return
    for position, entry in enumerate(data):
        raw = validate(RawCertificate, entry, FILE, join("", position), report)
        if raw is not None:
            yield position, raw


def _missing(
    raw: RawCertificate, path: str, issued_names: set[str], site: Site
) -> Iterator[tuple[str, str, str]]:
    """Path, message and fix of each name of a certificate that the site has not."""
    if raw.cert_type not in ("server", "client"):
        message = f"{raw.cert_type[:40]!r} is not a kind of certificate, and is read as server"
        yield f"{path}.cert_type", message, "write server or client"
    if raw.cert_type == "client":
        if raw.guest_id not in {gateway.vmid for gateway in site.gateways}:
            message = (
                "is a client certificate: Phoenix makes only the gateway's, since no service of "
                "the site asks for another"
            )
            fix = "have the client get its certificate from the CA itself, or remove the entry"
            yield f"{path}.cert_type", message, fix
        return
    names = ((f"{path}.common_name", raw.common_name),
             *((f"{path}.sans[{i}]", name) for i, name in enumerate(raw.sans)))  # fmt: skip
    for where, name in names:
        if name in issued_names:
            continue
        if name.startswith("*."):
            yield (
                where,
                "the CA issues no wildcard, as its holder could pass for every service",
                "remove it: each service's name has a certificate by itself",
            )
        elif name == "localhost" or _is_address(name):
            yield (
                where,
                "the CA issues certificates for names of the site only",
                "remove it, and ask the service by its name",
            )
        else:
            yield (
                where,
                "no service or host of the site proves this name, so it has no certificate",
                "declare a service of that name, or an alias, or remove it",
            )


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
