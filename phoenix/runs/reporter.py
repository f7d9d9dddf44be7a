"""What a pyinfra run tells whoever started it: one JSON object a line, on an inherited pipe.

Without the pipe (plain `pyinfra`) nothing is sent and nothing costs anything. Standard library
only: operations import it, and so does the process that is started.
"""

from __future__ import annotations

import json
import os

CHANNEL = "PHOENIX_EVENTS"
"""Environment variable with the number of the pipe's file descriptor."""


def connected() -> bool:
    """Whether somebody listens."""
    return CHANNEL in os.environ


def report(event: str, **fields: object) -> None:
    """Send one event; `fields` are plain JSON values. Never raises for a listener that has gone."""
    channel = os.environ.get(CHANNEL)
    if channel is None:
        return
    line = json.dumps({"event": event, **fields}, default=str) + "\n"
    data = line.encode()
    try:
        while data:
            data = data[os.write(int(channel), data) :]
    except OSError:
        # The command was killed: the run it started ends by itself and leaves no half state.
        os.environ.pop(CHANNEL, None)


def value(name: str, host: str, data: object) -> None:
    """Tell what was found on a host: `data` is plain JSON."""
    report("value", name=name, host=host, data=data)


def taken_over(host: str, path: str, *, kept: str = "") -> None:
    """Tell that a file of a person or a program is no longer used, for the summary of the run.

    Args:
        kept: where it is kept on the host; empty where it stays at `path`.
    """
    report("taken_over", host=host, path=path, kept=kept)


def report_note(host: str, text: str) -> None:
    """Tell what a person should know of this run, for its summary."""
    report("told", host=host, text=text)
