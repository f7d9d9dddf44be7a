"""How long the checks of a host wait for those that do not answer: the limits of `checks.sh`."""

from __future__ import annotations

import re

from phoenix.files import text


def longest() -> int:
    """Seconds: a request that hangs, a pause, and the same request again."""
    return 2 * _seconds("request") + _seconds("pause")


def _seconds(limit: str) -> int:
    """A limit of `checks.sh`, by its name there without `_seconds`."""
    (figure,) = re.findall(rf"^{limit}_seconds=(\d+)\b", text("health/checks.sh"), re.MULTILINE)
    return int(figure)
