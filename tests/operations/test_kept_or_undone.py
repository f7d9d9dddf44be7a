"""A new agent secret that not every agent has is taken back, or the failure to do so is told."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pyinfra.api import FunctionCommand
from pyinfra.context import ctx_host, ctx_state

from operations.secret_rotation import agent_secret_confirmed
from tests.operations.test_tree_operations import TREE, fixed


@pytest.mark.parametrize(
    ("succeeded", "words"),
    [(True, r"the former one is back \(demo\)"), (False, "could not be put back .*\nNOT PUT BACK")],
)
def test_the_former_secret_is_said_to_be_back_only_when_it_is(succeeded: bool, words: str) -> None:
    here = fixed()
    commands: list[str] = []

    def run_shell_command(command: Any, **_: object) -> tuple[bool, SimpleNamespace]:
        commands.append(command.get_raw_value())
        return succeeded, SimpleNamespace(stderr="" if succeeded else "NOT PUT BACK")

    here.host.run_shell_command = run_shell_command
    (command,) = here.run(agent_secret_confirmed, TREE, cast(Any, None))
    assert isinstance(command, FunctionCommand)
    lines: list[str] = []
    here.host.log_styled = lambda line, **_: lines.append(line)
    with ctx_state.use(here.state), ctx_host.use(here.host):
        assert command.function(here.state, here.host) is False
    assert re.search(words, "\n".join(lines)), lines
    (sent,) = commands
    assert sent.endswith(f" /var/lib/phoenix/trees/demo {TREE.id} undo")
