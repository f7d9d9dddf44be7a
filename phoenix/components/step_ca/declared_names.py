"""Which names the site declares for certificates, and until when it declared former ones. Pure.

The CA's guest keeps them in a file. A certificate for a name that was declared at the time went to
a host of the site, even if that host and its notes of keys (`phoenix.health.issued`) are gone now.
Each line is a name; a former one is followed by a space and the last second of its declaration,
since 1970.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from phoenix.components.step_ca.authority import DIRECTORY

FILE = f"{DIRECTORY}/certs/declared_names"
"""On the CA's guest, where a backup of the CA holds it; `issued.py` beside this module reads it."""


def following(lines: Sequence[str], names: Iterable[str], now: int, longest: float) -> list[str]:
    """The lines of the file once `names` are declared.

    Args:
        lines: those that it has.
        names: of all certificates that the site declares.
        now: seconds since 1970.
        longest: lifetime of a certificate in seconds; after it a former name matters no more.
    """
    declared = set(names)
    former = {}
    for line in lines:
        name, _, until = line.partition(" ")
        ended = int(until) if until.isdigit() else now
        if name and name not in declared and ended + longest >= now:
            former[name] = ended
    return [*sorted(declared), *(f"{name} {former[name]}" for name in sorted(former))]
