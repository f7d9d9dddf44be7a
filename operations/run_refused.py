"""Why this run must not change anything: found while it is prepared, told before its first step.

A plan (`--dry`) shows the step that is refused among the others; only a run stops at it.
"""

from __future__ import annotations

from phoenix.runs.results import NOT_DONE

_reasons: dict[str, None] = {}
_said: list[str] = []


def refuse_run(reason: str) -> None:
    """Refuse this run before its first operation; call it while a deploy is prepared.

    Not by an operation: with `-y` pyinfra prepares none of their commands.
    """
    _reasons[reason] = None


def reason() -> str:
    """All reasons, one a line, in short when repeated; empty if the run may begin."""
    if _reasons and _said:
        return f"{NOT_DONE}this run is refused"
    text = "\n".join(_reasons)
    _said.extend(filter(None, [text]))
    return text
