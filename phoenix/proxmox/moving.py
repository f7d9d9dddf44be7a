"""Whether a guest may be stopped to move it to another node: the word of whoever runs Phoenix."""

from __future__ import annotations

import os

STOPPING = "PHOENIX_MOVE_GUESTS"
"""Environment variable, set by `phoenix sync --move`: guests that cannot move while they run may be
stopped for it."""


def may_stop() -> bool:
    """Whether this run was given the word."""
    return STOPPING in os.environ
