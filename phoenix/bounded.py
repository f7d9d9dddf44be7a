"""Files that a person names, read up to a size: a plan, a key, handed secrets."""

from __future__ import annotations

from errno import EFBIG
from pathlib import Path

MOST = 16 * 1024 * 1024
"""Bytes of the longest such file. A device such as /dev/zero never ends."""


def read(path: Path, most: int = MOST) -> bytes:
    """The content of a file, which may be a pipe.

    Args:
        path: the file.
        most: bytes that it may have.

    Raises:
        OSError: it cannot be read, or is longer.
    """
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(EFBIG, f"it is longer than {most} bytes", str(path))
    return data
