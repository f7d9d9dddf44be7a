"""How long the checks of a host wait for those that do not answer: the limits of `checks.sh`."""

from __future__ import annotations

import re

from phoenix.files import text


def longest_wait() -> int:
    """Seconds, where a host is known to be out: a request after one that failed before long."""
    return _seconds("connect") + _seconds("pause") + _seconds("request")


def _seconds(limit: str) -> int:
    """A limit of `checks.sh`, by its name there without `_seconds`."""
    (figure,) = re.findall(rf"^{limit}_seconds=(\d+)\b", text("health/checks.sh"), re.MULTILINE)
    return int(figure)
