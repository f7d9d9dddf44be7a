"""The order of guests, by hand."""

from __future__ import annotations

import pytest

from phoenix.declaration.order import DependencyCycleError, dependency_order


def test_dependencies_before_boot_order_before_id() -> None:
    dependencies: dict[int, tuple[int, ...]] = {1: (), 2: (), 3: (), 4: (1,), 5: ()}
    boot = {1: 9, 2: 5, 3: 5, 4: 0, 5: 1}
    assert dependency_order(dependencies, boot) == (5, 2, 3, 1, 4)


def test_a_guest_that_becomes_ready_is_taken_by_its_boot_order() -> None:
    assert dependency_order({1: (), 2: (), 3: (1,)}, {1: 1, 2: 7, 3: 2}) == (1, 3, 2)


def test_cycle_starts_with_its_smallest_id_and_follows_dependencies() -> None:
    with pytest.raises(DependencyCycleError) as caught:
        dependency_order({7: (5,), 5: (9,), 9: (7,), 1: ()}, dict.fromkeys((1, 5, 7, 9), 0))
    assert caught.value.cycle == (5, 9, 7, 5), caught.value
