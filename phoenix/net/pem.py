"""Certificates in text: PEM (RFC 7468, section 5)."""

from __future__ import annotations

import re

ONLY_CERTIFICATES = "sed -n -e '/^-----BEGIN CERTIFICATE-----/,/^-----END CERTIFICATE-----/p'"
"""The end of a pipe on a host that lets through certificates alone, and no key."""
_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


def certificate_blocks(text: str) -> list[str]:
    """The certificates in a text, as they are written; not one is parsed."""
    return _BLOCK.findall(text)
