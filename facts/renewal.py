"""When the timers of a guest's certificates fire, and how their last run ended."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from pyinfra.api import StringCommand
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

from facts.command import command
from facts.host_fact import HostFact, marked


@dataclass(frozen=True)
class Renewal:
    """One certificate's timer. `next_look` is seconds since 1970, None where it will not fire.

    `result` is systemd's of the last run: `success`, `exit-code`, `timeout`, ...
    """

    name: str
    next_look: int | None
    result: str


class Renewals(HostFact[list[Renewal]]):
    """The timers `phoenix-acme@NAME.timer` and their services, by systemd; one round trip."""

    @override
    def command(self, names: Sequence[str]) -> StringCommand:
        units = [f"phoenix-acme@{name}.{kind}" for name in names for kind in ("timer", "service")]
        # --timestamp=unix does not reach this property.
        properties = "--property=Id,NextElapseUSecRealtime,Result"
        return marked(
            command("env", "TZ=UTC", "LC_ALL=C", "systemctl", "show", properties, "--", *units)
        )

    @override
    def parse(self, lines: list[str]) -> list[Renewal]:
        return parse(lines)


def parse(output: Iterable[str]) -> list[Renewal]:
    """The renewals from blocks of KEY=VALUE.

    Raises:
        FactProcessError: the output is something else.
    """
    looks: dict[str, int | None] = {}
    results: dict[str, str] = {}
    for block in "\n".join(output).split("\n\n"):
        values = dict(line.partition("=")[::2] for line in block.strip().splitlines())
        prefix, _, unit = values.get("Id", "").partition("@")
        name, _, kind = unit.rpartition(".")
        if prefix != "phoenix-acme":
            raise FactProcessError(f"unexpected answer of systemctl: {block!r}")
        if kind == "timer":
            looks[name] = _seconds(values.get("NextElapseUSecRealtime", ""))
        else:
            results[name] = values.get("Result", "")
    return [Renewal(name, look, results.get(name, "")) for name, look in looks.items()]


def _seconds(text: str) -> int | None:
    """From `Tue 2026-11-24 19:05:21 UTC`; None where the timer has no next time."""
    if not text.endswith(" UTC"):
        return None
    try:
        _, day, time, _ = text.split()
        return int(datetime.fromisoformat(f"{day}T{time}+00:00").timestamp())
    except ValueError as error:
        raise FactProcessError(f"unexpected time from systemctl: {text!r}") from error
