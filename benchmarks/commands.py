"""The command `phoenix` on the lab, as an operator types it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

from lab.settings import ROOT, LabError
from lab.state import LabState


def phoenix(lab: LabState, *words: str, inventory: Path | None = None) -> str:
    """Run `phoenix WORDS` to its end; what it printed.

    Args:
        lab: on which.
        words: of the command.
        inventory: by default the project's own inventories/lab.py.

    Raises:
        LabError: it failed; with its last words.
    """
    site = {"PHOENIX_INVENTORY": str(inventory or "inventories/lab.py")}
    done = subprocess.run(
        [sys.executable, "-m", "phoenix", *words],
        cwd=ROOT,
        env=os.environ | {"PHOENIX_LAB_NAME": lab.name} | site,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        tail = done.stdout[-1500:]
        raise LabError(f"phoenix {shlex.join(words)} ended with {done.returncode}:\n{tail}")
    return done.stdout
