"""The key of the CA's root, taken off its guest. Give operations a ``name=``."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from pydantic import SecretStr
from pyinfra import host
from pyinfra.api import FunctionCommand
from pyinfra.api.exceptions import OperationError

from facts.command import script
from facts.step_ca import CertificateAuthority
from operations.explain import log_lines
from operations.failure import local_command, refuse
from operations.host_state import ask, question
from operations.operation import operation
from operations.trust import forget
from phoenix.backup import Cipher, root_key
from phoenix.components.step_ca.authority import DIRECTORY, ROOT_KEY, faults
from phoenix.shell import Script
from phoenix.site.model import Site

_READ = Script(
    "root-key-read", 'cd "$1" && openssl pkey -in "$2" -passin file:secrets/password 2>/dev/null'
)
_REMOVE = Script(
    "root-key-remove",
    'cd "$1" || exit 1; shred -u -- "$2" 2>/dev/null || rm -f -- "$2"; sync; [ ! -e "$2" ]',
)


@operation()
def taken_offline(
    site: Site, directory: Path, cipher: Cipher
) -> Generator[FunctionCommand, None, None]:
    """Take the root's key into an encrypted file on the control machine, and off this guest.

    The file is proven to open, and the key in it to be the root's, before anything is removed.

    Args:
        site: for the file's name.
        directory: where the file is made.
        cipher: how it is encrypted.
    """
    ca = ask(question(CertificateAuthority))
    if ca.absent:
        yield from refuse("there is no CA yet: run deploys/all.py first")
        return
    if ca.rotation:
        yield from refuse(
            f"the CA's {ca.rotation} is being replaced: finish that first, with "
            "`phoenix certs rotate continue`"
        )
        return
    if problems := faults(ca):
        yield from refuse("the CA cannot be used: " + "; ".join(problems))
        return
    if ROOT_KEY not in ca.modes:
        host.noop("the root's key is off this guest")
        return

    def take() -> None:
        path = root_key.save(ca.root, _read(), directory, site.domain, cipher)
        removed, output = host.run_shell_command(script(_REMOVE, DIRECTORY, ROOT_KEY))
        if not removed:
            raise OperationError(
                f"the root's key is in {path}, and still on this guest: {output.stderr}"
            )
        forget()
        log_lines(
            [
                f"the root's key is in {path} alone, encrypted for {cipher.description}",
                "it was proven to open; keep a copy elsewhere (earlier backups hold the key too)",
                f"the next one needs it: phoenix certs rotate intermediate --root-key {path}",
            ]
        )

    yield local_command(take)


def _read() -> SecretStr:
    read, output = host.run_shell_command(
        script(_READ, DIRECTORY, ROOT_KEY), print_output=False, print_input=False
    )
    if not read:
        raise OperationError(f"{DIRECTORY}/{ROOT_KEY} cannot be opened with its password")
    return SecretStr("\n".join(output.stdout_lines).strip() + "\n")
