"""Have a machine remember which host of the site it is (`phoenix.site.identity`)."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra import host
from pyinfra.api import StringCommand

from facts.command import script
from facts.system import System
from operations.explain import log_reasons
from operations.host_state import question, read
from operations.operation import operation
from phoenix.shell import Script
from phoenix.site.identity import FILE, Identity

_KEEP = Script(
    "host",
    'mkdir -p "${1%/*}" && chmod 755 "${1%/*}" && printf \'%s\\n\' "$2" >"$1.new" && '
    'mv "$1.new" "$1"',
)


@operation(reads=lambda *_, **__: [question(System)])
def remembered(identity: Identity) -> Generator[StringCommand, None, None]:
    """The machine remembers which host it is.

    Args:
        identity: which.
    """
    if read(question(System)).host == identity.line:
        host.noop("it remembers which host it is")
        return
    log_reasons(f"this machine remembers that it is {identity.name}")
    yield script(_KEEP, FILE, identity.line)
