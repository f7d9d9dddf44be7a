"""Which worker runs which file of tests, in which order."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import PurePath
from types import SimpleNamespace
from typing import Any, cast

import pytest

from lab.settings import ROOT
from tests.scheduling import FIRST, LAB, WORTH_A_LAB, LabScheduling, ordered


class Node:
    """A worker as the scheduler sees it: what it is given, and whether it is sent home."""

    def __init__(self, number: int) -> None:
        """The worker of that number."""
        self.gateway = SimpleNamespace(id=f"gw{number}")
        self.given: list[int] = []
        self.shutting_down = False

    def send_runtest_some(self, indices: Sequence[int]) -> None:
        self.given += indices

    def shutdown(self) -> None:
        self.shutting_down = True


class Workers:
    """Some workers and their scheduler; a test is run as soon as the worker knows the next one."""

    def __init__(self, tests: list[str], count: int) -> None:
        """Deal the tests out."""
        config = cast(Any, SimpleNamespace(
            option=SimpleNamespace(loadscopereorder=False), hook=None,
            getvalue=lambda name: ["popen"] * count,
        ))  # fmt: skip
        self.scheduling: Any = LabScheduling(config)
        self.tests = tests
        self.nodes = [Node(number) for number in range(count)]
        self.ran: dict[str, list[str]] = {}
        for node in self.nodes:
            self.scheduling.add_node(node)
            self.scheduling.add_node_collection(node, tests)
        self.scheduling.schedule()

    def step(self, node: Node) -> bool:
        """Run one test of a worker; False where it has none that it may begin."""
        done = self.ran.setdefault(node.gateway.id, [])
        waiting = node.given[len(done) :]
        if not waiting or (len(waiting) < 2 and not node.shutting_down):
            return False
        done.append(self.tests[waiting[0]])
        self.scheduling.mark_test_complete(node, waiting[0])
        return True

    def run(self) -> dict[str, list[str]]:
        """Run all, in turns; returns worker to its tests."""
        moved = True
        while moved:
            moved = False
            for node in self.nodes:  # each has its turn
                moved = self.step(node) or moved
        return self.ran


def of(file: str, count: int) -> list[str]:
    return [f"{file}::test_{number}" for number in range(count)]


LABS = [*of(f"{LAB}test_a.py", 4), *of(f"{LAB}test_b.py", 1), *of(f"{LAB}test_c.py", 2)]
PLAIN = [*of("tests/unit/test_a.py", 30), *of("tests/unit/test_b.py", 2)]


def test_a_third_worker_begins_with_the_files_without_a_lab() -> None:
    ran = Workers(LABS + PLAIN, 3).run()
    assert sorted(chain(*ran.values())) == sorted(LABS + PLAIN)
    assert ran["gw2"][:30] == PLAIN[:30]
    assert ran["gw0"][:4] == LABS[:4]
    assert ran["gw1"][0] == LABS[4]


def many_of_the_lab(number: int) -> list[str]:
    return [test for file in range(number) for test in of(f"{LAB}test_{file}.py", 9)]


def test_a_third_worker_takes_files_of_the_lab_when_the_others_are_done() -> None:
    few = of("tests/unit/test_a.py", 3)
    tests = many_of_the_lab(2 * WORTH_A_LAB)
    ran = Workers(tests + few, 3).run()
    assert sorted(chain(*ran.values())) == sorted(tests + few)
    assert ran["gw2"][:3] == few
    # It keeps its lab to the end, where fewer files are left than a new lab is worth.
    assert len(ran["gw2"]) > 9 * (WORTH_A_LAB // 2)


def test_a_third_worker_brings_up_no_lab_for_the_last_files() -> None:
    few = of("tests/unit/test_a.py", 3)
    tests = many_of_the_lab(WORTH_A_LAB + 1)  # two of them are begun by the others
    ran = Workers(tests + few, 3).run()
    assert sorted(chain(*ran.values())) == sorted(tests + few)
    assert ran["gw2"] == few


def test_workers_with_a_lab_help_when_theirs_is_done() -> None:
    few = of(f"{LAB}test_a.py", 1)
    many = [test for number in range(9) for test in of(f"tests/unit/test_{number}.py", 3)]
    ran = Workers(few + many, 3).run()
    assert sorted(chain(*ran.values())) == sorted(few + many)
    assert few[0] in ran["gw0"]
    assert all(ran[name] for name in ("gw0", "gw1", "gw2"))


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("tests", [LABS, PLAIN, LABS + PLAIN, LABS[:1]], ids=range(4))
def test_each_test_runs_once_and_every_worker_goes_home(count: int, tests: list[str]) -> None:
    workers = Workers(tests, count)
    ran = workers.run()
    assert sorted(chain(*ran.values())) == sorted(tests)
    assert workers.scheduling.tests_finished
    assert all(node.shutting_down for node in workers.nodes if not node.given)


@pytest.mark.parametrize("ran_before", [0, 1, 4])
def test_others_run_what_a_worker_that_died_had_left_but_not_what_it_died_of(
    ran_before: int,
) -> None:
    """Else the same test ends one worker after the other. The fifth test is alone in its file."""
    workers = Workers(LABS + PLAIN, 3)
    died = workers.nodes[0]
    for _ in range(ran_before):
        workers.step(died)
    rest = [(LABS + PLAIN)[number] for number in died.given[ran_before:]]
    crashed = workers.scheduling.remove_node(died)
    assert crashed == rest[0]
    workers.nodes[0] = Node(3)
    workers.scheduling.add_node(workers.nodes[0])
    workers.scheduling.add_node_collection(workers.nodes[0], LABS + PLAIN)
    workers.scheduling.schedule()
    ran = workers.run()
    assert sorted([*chain(*ran.values()), crashed]) == sorted(LABS + PLAIN)
    assert set(rest[1:]) <= set(ran["gw1"]) | set(ran["gw3"])
    assert workers.scheduling.tests_finished


def test_long_files_come_first_then_those_with_the_most_tests() -> None:
    files = ["unit/test_swarm.py", "unit/test_x.py", "unit/test_x.py", FIRST[1], FIRST[0]]
    assert ordered(files, PurePath) == [FIRST[0], FIRST[1], *files[1:3], files[0]]


def test_each_file_that_comes_first_is_there() -> None:
    assert [name for name in FIRST if not (ROOT / "tests" / name).is_file()] == []
