"""Run pyinfra in this process on hosts that are none: its fake connector stands in for SSH.

    python -m benchmarks.simulated INVENTORY DEPLOY... [pyinfra's options]

Each host answers as a fresh Debian would: nothing of Phoenix is there, every command does well.
"""

from __future__ import annotations

import shlex
import sys
from typing import Any

_ANSWERS: dict[str, tuple[str, ...]] = {
    "uname -m": ("x86_64", "ID=debian", 'VERSION_ID="13"', "VERSION_CODENAME=trixie"),
    "dpkg-query": ("installed dpkg",),
}
"""What a question has in it, and the answer; that to any other is empty."""


def answer(question: str) -> tuple[str, ...]:
    """The lines that a fresh Debian says to a question of Phoenix."""
    _, trees, rest = question.partition(" config-tree ")
    if trees:  # several in one question (`facts.config_tree`); of each it has nothing
        words, number = shlex.split(rest.partition("; }")[0]), 0
        lines = []
        while words:
            lines.append(f"{number}\tend")
            words, number = words[6 + int(words[5]) :], number + 1
        return tuple(lines)
    return next((lines for word, lines in _ANSWERS.items() if word in question), ())


def main(arguments: list[str]) -> None:
    """Run pyinfra with these arguments."""
    from pyinfra_cli.main import main as run_pyinfra  # isort: skip  # first: gevent's patches

    import pyinfra.api.inventory as inventories
    from pyinfra.connectors.fake import FakeConnector
    from pyinfra.connectors.util import CommandOutput, OutputLine

    from facts.host_fact import BEGIN, END

    class Simulated(FakeConnector):
        def run_shell_command(self, command: Any, *_rest: Any, **arguments: Any) -> Any:
            text = command if isinstance(command, str) else command.get_raw_value()
            if text == "sh":  # the questions come by standard input
                text = str(arguments.get("_stdin") or "")
            _, *questions = text.split(f"echo {BEGIN}; ")
            lines = [
                line
                for question in questions
                for line in (BEGIN, *answer(question), "", f"{END} 0")
            ]
            return True, CommandOutput([OutputLine("stdout", line) for line in lines])

    setattr(inventories, "get_execution_connectors", lambda: {"ssh": Simulated})  # noqa: B010
    sys.argv = ["pyinfra", *arguments]
    run_pyinfra()


if __name__ == "__main__":
    main(sys.argv[1:])
