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
    'mv -T "$1.new" "$1"',
)


@operation(reads=lambda *_, **__: [question(System)])
def forgotten() -> Generator[StringCommand, None, None]:
    """A machine that leaves the site no longer remembers which host of it it was."""
    if not read(question(System)).host:
        host.noop("it does not remember a site")
        return
    log_reasons("it forgets which host of this site it was")
    yield script(Script("forget", 'rm -f -- "$1"'), FILE)


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
