"""Which of pytest-xdist's workers runs which file, and in which order.

Two workers have a lab each. They wait more than they compute, so a third one runs the tests without
a lab beside them, and then has a lab too. A file goes to one worker, as `--dist loadfile` has it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import PurePath
from typing import TypeVar

import pytest
from typing_extensions import override
from xdist.remote import Producer  # type: ignore[import-untyped]
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]
from xdist.workermanage import WorkerController  # type: ignore[import-untyped]

T = TypeVar("T")

LABS = 2
"""Workers that have a lab from the start."""
WORTH_A_LAB = 8
"""Files of the lab that must be left for one more lab: it takes minutes to come up."""
LAB = "tests/integration/"
FIRST = (
    *(f"integration/test_{name}.py" for name in (
        "stacks", "day", "domain", "trouble", "move", "networks", "swarm", "undeclared",
        "stack_ways", "init", "targets", "stack_failures", "step_ca", "watch", "rotation",
        "guard", "kills", "doctor", "taken_over", "portainer", "renewal", "portainer_rebuild",
        "backup", "services", "second_operator", "issuance", "history", "secret_rotation",
        "admission", "plan_and_sync",
    )),
    "unit/test_injection.py", "unit/test_portainer_database.py", "proxmox/test_converge.py",
    "unit/test_root_key.py", "unit/test_apply_script.py", "proxmox/test_deploy.py",
    "proxmox/test_cut.py", "proxmox/test_whole_site.py", "contract/test_swarm_stacks.py",
    "contract/test_client.py", "unit/test_acme_script.py", "proxmox/test_placement.py",
    "unit/test_wheel.py", "contract/test_operations.py", "unit/test_cli_start.py",
    "unit/test_check_script.py", "proxmox/test_faults.py", "unit/test_runs_child.py",
    "deploys/test_add_a_component.py", "unit/test_bytecode.py", "unit/test_ca_rotate_script.py",
    "unit/test_import_directions.py",
)  # fmt: skip
"""Files that take longest, in this order: a long one at the end keeps one worker waiting for the
other."""


def ordered(items: Iterable[T], path: Callable[[T], PurePath]) -> list[T]:
    """The tests file by file: `FIRST`, then those with the most tests."""
    listed = list(items)
    count = Counter(path(item) for item in listed)
    place = {name: index for index, name in enumerate(FIRST)}

    def key(item: T) -> tuple[int, int, PurePath]:
        file = path(item)
        return place.get("/".join(file.parts[-2:]), len(FIRST)), -count[file], file

    return sorted(listed, key=key)


class LabScheduling(LoadFileScheduling):  # type: ignore[misc]
    """`--dist loadfile` with workers of which `LABS` alone have a lab from the start.

    Those take files of the lab while there are any, then the others. Each further worker takes the
    others first, then files of the lab, where `WORTH_A_LAB` are left when it takes the first one. A
    worker is given its next file with the last test of the one before.
    """

    def __init__(self, config: pytest.Config, log: Producer | None = None) -> None:
        """All files wait."""
        super().__init__(config, log)
        self._later: set[WorkerController] = set()
        """Workers whose lab came up when the other files were done."""

    @property
    def _beside(self) -> set[WorkerController]:
        """The workers without a lab at first: one that stands in for a dead worker has one."""
        return {node for node in self.nodes if LABS <= _number(node) < self.numnodes}

    def _next(self, node: WorkerController) -> str | None:
        """The file that a worker takes next, None where none is left for it."""
        of_lab: list[str] = [file for file in self.workqueue if file.startswith(LAB)]
        others = [file for file in self.workqueue if not file.startswith(LAB)]
        if node not in self._beside:
            return next(iter([*of_lab, *others]), None)
        if not others and (node in self._later or len(of_lab) >= WORTH_A_LAB):
            self._later.add(node)
            return of_lab[0] if of_lab else None
        return others[0] if others else None

    @override
    def _assign_work_unit(self, node: WorkerController) -> None:
        file = self._next(node)
        if file is None:
            if not node.shutting_down:
                node.shutdown()
            return
        self.workqueue.move_to_end(file, last=False)
        super()._assign_work_unit(node)

    @override
    def remove_node(self, node: WorkerController) -> str | None:
        """Others take what a worker leaves, but for the test that it died of.

        Returns:
            That test; None where the worker had no more to do.
        """
        left: dict[str, dict[str, bool]] = self.assigned_work.pop(node)
        unfinished = (
            (tests, test) for tests in left.values() for test, ended in tests.items() if not ended
        )
        tests, died_of = next(unfinished, (None, None))
        if tests is None or died_of is None:
            return None
        tests[died_of] = True
        self.workqueue.update(
            (file, tests) for file, tests in left.items() if not all(tests.values())
        )
        for other in self.assigned_work:
            self._reschedule(other)
        return died_of

    @override
    def _reschedule(self, node: WorkerController) -> None:
        # A worker begins a test when it knows the next one: of two it has one to begin.
        while self._pending_of(self.assigned_work[node]) < 2 and not node.shutting_down:
            self._assign_work_unit(node)


def _number(node: WorkerController) -> int:
    return int(node.gateway.id.removeprefix("gw"))
