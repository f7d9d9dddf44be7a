"""How a command that lives for seconds has Python look for cyclic garbage: hardly at all.

It keeps its modules, its site and what it has learnt to its end. To look among them takes an eighth
of its time, and Python does so again while it shuts down.
"""

from __future__ import annotations

import atexit
import gc


def collect_rarely(objects: int) -> None:
    """Look when that many objects were made since the last time, and never while Python ends.

    What has been made by then is left to the operating system (`gc.freeze`).

    Args:
        objects: the threshold of the youngest generation (`gc.set_threshold`).
    """
    gc.set_threshold(objects)
    atexit.register(gc.freeze)
