"""Constant load on one URL, for the client of a lab: a connection and a handshake for each request.

    python3 door_client.py URL ROOT LOG EVERY

A request begins every EVERY seconds, whatever became of those before, until LOG.stop is there. LOG
gets a line for each, when it has ended: begin and end in seconds, and "ok" or what went wrong.
Python's standard library alone, as the client has it.
"""

from __future__ import annotations

import ssl
import sys
import threading
import time
import urllib.request
from pathlib import Path

PATIENCE = 8.0
"""Seconds after which a request has failed: a browser waits longer."""


def ask(url: str, context: ssl.SSLContext, say: object) -> None:
    """Make one request, on a connection of its own, and note what became of it."""
    began = time.time()
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE, context=context) as answer:  # noqa: S310
            answer.read()
            word = "ok" if answer.status == 200 else str(answer.status)
    except Exception as error:  # noqa: BLE001  # whatever it is, it is counted
        reason = getattr(error, "reason", error)
        word = f"{type(reason).__name__} {reason}".replace("\n", " ")
    say(f"{began:.3f} {time.time():.3f} {word}\n")  # type: ignore[operator]


def main(url: str, root: str, log: str, every: str) -> None:
    """Ask until the file LOG.stop is there, and then make LOG.done."""
    context = ssl.create_default_context(cafile=root)
    lock = threading.Lock()
    threads = []
    with Path(log).open("w", buffering=1) as out:

        def say(line: str) -> None:
            with lock:
                out.write(line)

        due = time.monotonic()
        while not Path(f"{log}.stop").exists():
            thread = threading.Thread(target=ask, args=(url, context, say))
            thread.start()
            threads.append(thread)
            due = max(due + float(every), time.monotonic())
            time.sleep(due - time.monotonic() if due > time.monotonic() else 0)
        for thread in threads:
            thread.join()
    Path(f"{log}.done").touch()


if __name__ == "__main__":
    main(*sys.argv[1:])
