"""Files that are whole, whoever reads them while they are written."""

from __future__ import annotations

import os
import threading
from pathlib import Path


def write(path: Path, text: str, *, durable: bool = False) -> None:
    """Put a file in place as a whole: who reads it sees the former one or this.

    Args:
        path: the file.
        text: its content.
        durable: whether it is on the disk before it takes the former one's place, so that a loss of
            power leaves one of both, too.
    """
    new = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        with new.open("w", encoding="utf-8") as file:
            file.write(text)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
