"""Files that a person names, read up to a size: a plan, a key, handed secrets."""

from __future__ import annotations

from errno import EFBIG
from pathlib import Path

MAX_BYTES = 16 * 1024 * 1024
"""The most bytes of such a file. A device such as /dev/zero never ends."""


def read(path: Path, max_bytes: int = MAX_BYTES) -> bytes:
    """The content of a file, which may be a pipe.

    Args:
        path: the file.
        max_bytes: the most bytes that it may have.

    Raises:
        OSError: it cannot be read, or is longer.
    """
    with path.open("rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise OSError(EFBIG, f"it is longer than {max_bytes} bytes", str(path))
    return data
