"""Moves of stacks that have not ended, as a host keeps them (`components/move/*.sh`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

from pyinfra.api import StringCommand
from typing_extensions import override

from facts.command import script
from facts.host_fact import HostFact, marked, unexpected
from phoenix.components.move.decision import Unfinished
from phoenix.components.move.steps import Phase
from phoenix.shell import Script

DIRECTORY = "/var/lib/phoenix/moves"
_SCRIPT = Script(
    "moves",
    """cd "$1" 2>/dev/null || exit 0
for p in */phase; do
 [ -e "$p" ] || continue
 p=${p%/phase}
 printf 'to\\t%s\\t%s\\t%s\\n' "$p" "$(cat "$p/source")" "$(cat "$p/phase")"
done
for p in *.left; do [ ! -e "$p" ] || printf 'left\\t%s\\n' "${p%.left}"; done
""",
)


@dataclass(frozen=True)
class UnfinishedMoves:
    """The unfinished moves of one host: those to it by project, and the projects stopped on it."""

    arriving: Mapping[str, Unfinished]
    left: frozenset[str]


class Moves(HostFact[UnfinishedMoves]):
    """Moves of stacks in which this host takes part, and that have not ended."""

    @override
    def command(self) -> StringCommand:
        return marked(script(_SCRIPT, DIRECTORY))

    @override
    def parse(self, lines: list[str]) -> UnfinishedMoves:
        arriving: dict[str, Unfinished] = {}
        left: set[str] = set()
        for line in lines:
            kind, *words = line.split("\t")
            if kind == "left" and len(words) == 1:
                left.add(words[0])
            elif kind == "to" and len(words) == 3 and words[2] in get_args(Phase):
                phase: Phase = words[2]  # type: ignore[assignment]  # one of them
                arriving[words[0]] = Unfinished(words[1], phase)
            else:
                raise unexpected(line, of=DIRECTORY)
        return UnfinishedMoves(arriving, frozenset(left))
