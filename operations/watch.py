"""A test of the alarms, from the watcher itself."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra.api import StringCommand

from facts.command import script
from operations.operation import operation
from phoenix.components.watch.files import LIBRARY
from phoenix.shell import Script

_TRY = Script(
    "alert-test",
    '[ -d "$1" ] || { echo "the watcher is not deployed here: phoenix sync watch" >&2; exit 1; }; '
    "said=$(PYTHONPATH=$1 timeout 120 python3 -B -m phoenix.watch test 2>&1); ended=$?; "
    'printf "%s\\n" "$said" >&2; exit "$ended"',
)


@operation(is_idempotent=False)
def alarms_tried() -> Generator[StringCommand, None, None]:
    """Send a message that says that it is a test to every place of alarms.

    Fails where a place does not take it, and says which, by the kind of its URL alone.
    """
    yield script(_TRY, LIBRARY)
