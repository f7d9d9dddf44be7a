"""Why this run must not change anything: found while it is prepared, told before its first step.

A plan (`--dry`) shows the step that is refused among the others; only a run stops at it.
"""

from __future__ import annotations

_reasons: dict[str, None] = {}


def refuse_run(reason: str) -> None:
    """No operation of this run may begin."""
    _reasons[reason] = None


def reason() -> str:
    """All reasons, a line each; empty where the run may begin."""
    return "\n".join(_reasons)
