"""A lab that a failed test left broken is put back, or is said to be broken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from tests.integration.project import DeadlineError, Project
from tests.integration.recovery import put_back


@dataclass
class Ended:
    returncode: int

    def explain(self) -> str:
        return "first cause:\n the CA  is silent"


@dataclass
class Runs:
    """A project whose runs of deploys/all.py end with these codes."""

    codes: list[int]
    run_so_far: list[str] = field(default_factory=list)

    def run(self, deploy: str, *, data: Mapping[str, str] | None = None) -> Any:
        self.run_so_far.append(" ".join((deploy, *(data or {}).values())))
        if deploy != "deploys/all.py":
            return Ended(1)
        if not self.codes:
            raise DeadlineError("no end")
        return Ended(self.codes.pop(0))


@pytest.mark.parametrize(
    ("codes", "rotations", "message"),
    [
        ([0], 0, ""),
        ([1, 0], 1, ""),
        ([1, 1, 0], 2, ""),
        ([1, 1, 1], 2, "first cause: the CA is silent"),
        ([1], 1, "no end"),
    ],
)
def test_a_site_is_put_back_or_said_to_be_broken(
    codes: list[int], rotations: int, message: str
) -> None:
    project = Runs(codes)
    assert put_back(cast("Project", project)) == message
    expected = ["deploys/certs_rotate.py continue", "deploys/certs_rotate.py root"][:rotations]
    assert [run for run in project.run_so_far if run != "deploys/all.py"] == expected
