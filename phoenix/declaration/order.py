"""The order of guests: each after those it depends on, ties broken by boot order, then id."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter


class DependencyCycleError(ValueError):
    """Guests wait for each other. `cycle` starts and ends with the same id."""

    def __init__(self, cycle: tuple[int, ...]) -> None:
        """Keep the cycle, for the message."""
        self.cycle = cycle
        super().__init__(" -> ".join(map(str, cycle)))


def dependency_order(
    dependencies: Mapping[int, tuple[int, ...]], boot_order: Mapping[int, int]
) -> tuple[int, ...]:
    """Put all ids in order.

    Args:
        dependencies: maps each id to those that come before it.
        boot_order: of each id; the lower one first where dependencies leave a choice, then the
            lower id.

    Raises:
        DependencyCycleError: guests wait for each other; its cycle begins with the smallest id.
    """
    sorter = TopologicalSorter({guest: sorted(set(dependencies[guest])) for guest in dependencies})
    try:
        sorter.prepare()
    except CycleError as error:
        loop = list(reversed(error.args[1]))[:-1]  # graphlib lists a guest before its dependant
        start = loop.index(min(loop))
        raise DependencyCycleError((*loop[start:], *loop[:start], loop[start])) from None
    ready: list[tuple[int, int]] = []
    result: list[int] = []
    while sorter.is_active():
        for guest in sorter.get_ready():
            heapq.heappush(ready, (boot_order[guest], guest))
        _, guest = heapq.heappop(ready)
        result.append(guest)
        sorter.done(guest)
    return tuple(result)
