"""What grows with a site: names of the gateway."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import handshake
from benchmarks.report import table


def measure(only: str) -> dict[str, Any]:
    """The parts whose names have the word `only`; all of them where it is empty."""
    return {name: part() for name, part in _PARTS.items() if only in name}


def print_report(result: dict[str, Any]) -> bool:
    """Print a table for each part; whether the goals are met."""
    met = [_REPORTS[name](part) for name, part in result.items()]
    return all(met)


def _certificates() -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        return [one._asdict() for one in handshake.measure(Path(folder))]


def _print_certificates(result: list[dict[str, Any]]) -> bool:
    head = ["names", "certificate, bytes", "sent, bytes", "server, CPU us", "client, CPU us", ""]
    rows = [
        [
            *(f"{one[key]:,.0f}" for key in ("names", "certificate", "sent", "server", "client")),
            "more than a window" if one["sent"] > handshake.WINDOW else "",
        ]
        for one in result
    ]
    print(f"\n{table(head, rows)}")
    return True


_PARTS: dict[str, Callable[[], Any]] = {"certificates": _certificates}
_REPORTS: dict[str, Callable[[Any], bool]] = {"certificates": _print_certificates}
