"""When the timers of a guest's certificates fire, and why their last renewal failed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from pyinfra.api import StringCommand
from typing_extensions import override

from facts.command import script
from facts.host_fact import HostFact, marked, unexpected
from phoenix.components.acme.phoenix_acme_conf import STATE
from phoenix.shell import Script
from phoenix.site import unit_names

# --timestamp=unix does not reach this property.
_SCRIPT = Script(
    "renewals",
    "export TZ=UTC; unit=$1 noted=$2; shift 2; for n; do "
    'systemctl show --property=Id,NextElapseUSecRealtime -- "$unit$n.timer" || exit 1; '
    'f=$noted/$n/failure; [ ! -s "$f" ] || echo "Failure=$(head -n 1 "$f")"; '
    "echo; done",
)


@dataclass(frozen=True)
class Renewal:
    """One certificate's timer. `next_look` is seconds since 1970, None where it will not fire.

    `failure` says when and why the last renewal failed, as `phoenix-acme` noted it; empty where it
    did not.
    """

    name: str
    next_look: int | None
    failure: str


class Renewals(HostFact[list[Renewal]]):
    """The timers `phoenix-acme@NAME.timer`, and what their programs noted; one round trip."""

    @override
    def command(self, names: Sequence[str]) -> StringCommand:
        return marked(script(_SCRIPT, unit_names.RENEWALS, STATE, *names))

    @override
    def parse(self, lines: list[str]) -> list[Renewal]:
        return parse(lines)


def parse(output: Iterable[str]) -> list[Renewal]:
    """The renewals from blocks of KEY=VALUE.

    Raises:
        FactProcessError: the output is something else.
    """
    renewals = []
    for block in "\n".join(output).split("\n\n"):
        values = dict(line.partition("=")[::2] for line in block.strip().splitlines())
        name = values.get("Id", "").removeprefix(unit_names.RENEWALS).removesuffix(".timer")
        if values.get("Id") != unit_names.renewal_timer(name):
            raise unexpected(block, of="systemctl")
        look = _seconds(values.get("NextElapseUSecRealtime", ""))
        renewals.append(Renewal(name, look, values.get("Failure", "")))
    return renewals


def _seconds(text: str) -> int | None:
    """The time in `Tue 2026-11-24 19:05:21 UTC`; None if the timer has no next time."""
    if not text.endswith(" UTC"):
        return None
    try:
        _, day, time, _ = text.split()
        return int(datetime.fromisoformat(f"{day}T{time}+00:00").timestamp())
    except ValueError as error:
        raise unexpected(text, of="systemctl") from error
