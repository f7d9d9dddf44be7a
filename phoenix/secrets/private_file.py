"""Files of JSON that only their owner reads or writes, on the operator's machine."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any


def write(file: Path, data: Any) -> None:
    """Write a file whole, or leave the one that is there, with mode 0600.

    Args:
        file: its folder is made, for its owner alone, where it is absent.
        data: what it is to hold, as JSON.

    Raises:
        OSError: it cannot be written.
    """
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, temporary = tempfile.mkstemp(dir=file.parent)  # mkstemp makes it 0600
    with os.fdopen(handle, "w") as stream:
        json.dump(data, stream, indent=2, sort_keys=True)
        stream.flush()
        os.fsync(stream.fileno())
    Path(temporary).replace(file)
