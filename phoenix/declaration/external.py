"""Services that Phoenix does not manage, from `external_services`: routed as the others are."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phoenix.declaration.json_errors import join, read_text, validate
from phoenix.declaration.json_keys import RawExternal, RawLxcFile
from phoenix.net.pem import certificate_blocks
from phoenix.site.findings import Report
from phoenix.site.model import External, Source


@dataclass(frozen=True)
class Declared:
    """One entry, checked by itself."""

    raw: RawExternal
    external: External
    source: Source


def read(
    top: RawLxcFile, file: str, folder: Path, move: Callable[[Any], Any], report: Report
) -> Iterator[Declared]:
    """The entries that can be used.

    Args:
        top: the file that has them.
        file: what findings call it.
        folder: where it stands, and the files with CAs.
        move: re-addresses JSON data.
        report: takes what is wrong.
    """
    for position, data in enumerate(top.external_services):
        source = Source(file=file, path=join("external_services", position))
        raw = validate(RawExternal, move(data), file, source.path, report)
        if raw is not None and (external := _external(raw, folder, source, report)):
            yield Declared(raw, external, source)


def _external(raw: RawExternal, folder: Path, source: Source, report: Report) -> External | None:
    proofs = [key for key in ("ca_file", "fingerprint") if getattr(raw, key) is not None]
    has_tls = raw.scheme in ("https", "grpcs")
    if len(proofs) == 2:
        report.error(
            source.file,
            f"{source.path}.fingerprint",
            "there are two proofs of who it is, ca_file and fingerprint",
            "keep one of the two",
        )
        return None
    for key in (*proofs, *(["server_name"] if raw.server_name else [])):
        if not has_tls:
            report.error(
                source.file,
                f"{source.path}.{key}",
                f"{raw.scheme} has no certificate, so nothing carries this out",
                'remove the key, or write "scheme": "https"',
            )
            return None
    pem = ca(raw.ca_file, folder, source, report) if raw.ca_file else ""
    if pem is None:
        return None
    return External(
        host=raw.address, ca=pem, fingerprint=(raw.fingerprint or "").replace(":", "").lower()
    )


def ca(name: str, folder: Path, source: Source, report: Report) -> str | None:
    """The certificates in a file of the site's folder; None with the reason reported.

    Args:
        name: of the file, as `ca_file` says it.
        folder: of the site.
        source: the entry that names it.
        report: takes what is wrong.
    """
    place = f"{source.path}.ca_file"
    text = read_text(folder / name, name, "", Report())
    if text is None or not text.isascii():
        report.error(
            *(source.file, place, f"there is no readable PEM file {name!r} beside {source.file}"),
            "put the CA's certificate there, as PEM",
        )
        return None
    if "PRIVATE KEY" in text:
        report.error(
            *(source.file, place, f"{name} has a private key, which no proxy needs"),
            "leave the CA's certificate in it alone",
        )
        return None
    blocks = certificate_blocks(text)
    try:
        ssl.create_default_context(cadata="\n".join(blocks)) if blocks else None
    except ssl.SSLError:
        blocks = []
    if not blocks:
        report.error(
            *(source.file, place, f"{name} has no certificate that can be read"),
            "write the CA's certificate as PEM, with its BEGIN and END lines",
        )
        return None
    return "".join(f"{block}\n" for block in blocks)
