"""Commands in a container, by nsenter(1), which is on every Debian.

Not by Docker's exec: on a busy machine it now and then tells exit code 0 and loses what a command
printed. This asks the Docker Engine for the container's process alone.
"""

from __future__ import annotations

import os
import subprocess
from typing import Any

_ENVIRONMENT = (
    "HOME=/root",
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
)


def words(container: Any, *command: str) -> list[str]:
    """What runs `command` as root in all namespaces of a running container of docker-py."""
    process = str(container.attrs["State"]["Pid"])
    terminal = f"TERM={os.environ.get('TERM', 'dumb')}"
    return ["nsenter", "-t", process, "-m", "-u", "-i", "-n", "-p",
            "env", "-i", *_ENVIRONMENT, terminal, *command]  # fmt: skip


def run(container: Any, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end: exit code and both streams."""
    return subprocess.run(
        words(container, *command), stdin=subprocess.DEVNULL, capture_output=True, text=True,
        errors="replace", check=False,
    )  # fmt: skip
