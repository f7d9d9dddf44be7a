"""Atomic writes: a reader sees the former file or the new one, never a part."""

from __future__ import annotations

import os
import threading
from pathlib import Path


def write(path: Path, text: str, *, durable: bool = False) -> None:
    """Replace a file atomically: a reader sees the former file or this one.

    Args:
        path: the file.
        text: its content.
        durable: whether to sync it to the disk first, so that a loss of power leaves one of both.
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
