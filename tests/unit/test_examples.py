"""What the fast lane takes of tests with many cases."""

from __future__ import annotations

from typing import Any

import pytest

from tests.examples import mark_long_cases


class Item:
    """A test's case, as far as marks go."""

    def __init__(self, nodeid: str, *marks: pytest.MarkDecorator) -> None:
        """With these marks."""
        self.nodeid = nodeid
        self.marks = [mark.mark for mark in marks]

    def get_closest_marker(self, name: str) -> pytest.Mark | None:
        return next((mark for mark in self.marks if mark.name == name), None)

    def add_marker(self, mark: pytest.MarkDecorator) -> None:
        self.marks.append(mark.mark)


def test_cases_beyond_the_first_ones_of_a_test_are_long() -> None:
    two = pytest.mark.fast_cases(2)
    items: list[Any] = [
        Item("a.py::test_x[0]", two), Item("b.py::test_x[0]", two), Item("a.py::test_x[1]", two),
        Item("a.py::test_y[0]"), Item("a.py::test_x[2]", two), Item("a.py::test_x[3]", two),
    ]  # fmt: skip
    mark_long_cases(items)
    long = [item.nodeid for item in items if item.get_closest_marker("long")]
    assert long == ["a.py::test_x[2]", "a.py::test_x[3]"]


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize("number", [0, 1])
def test_pytest_sees_the_mark_before_it_selects(
    request: pytest.FixtureRequest, number: int
) -> None:
    assert (request.node.get_closest_marker("long") is not None) == (number == 1)
