"""Secrets that this run makes: kept before any host knows them. Give operations a ``name=``."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from datetime import UTC, datetime

from pydantic import SecretStr
from pyinfra import host, logger
from pyinfra.api import FunctionCommand
from pyinfra.api.host import Host
from pyinfra.api.state import StateStage

from facts.command import script
from operations import site_lock
from operations.explain import log_lines, log_reasons
from operations.failure import local_command
from operations.operation import operation
from phoenix.runs.lock import this_process
from phoenix.secrets import record, slow_hashes
from phoenix.secrets.store import SecretStore

_used: dict[tuple[str, str], SecretStr] = {}
"""The values that this run gives to hosts, by secret and host."""
_known: list[record.Record] = []
"""What the site remembered when the run was prepared."""


def remember(secret: str, value: SecretStr, known: record.Record | None) -> None:
    """Have the site remember the digest of a value that this run gives to this host.

    Args:
        secret: the secret's name.
        value: as this run has it.
        known: what the site remembers already; None where it does not tell.
    """
    if not _used:
        site_lock.at_end(_remember)
    _used[secret, host.name] = value
    _known[:] = [known] if known else []


def _remember(hypervisor: Host) -> None:
    """Write the new digests of secrets that went to hosts without a failure."""
    state = hypervisor.state
    if state.current_stage < StateStage.Disconnect:
        return  # it was interrupted: what was given is not known
    failed = {failed_host.name for failed_host in state.failed_hosts}
    used = {name: value for (name, where), value in _used.items() if where not in failed}
    if any(_with_values(known, used) == known for known in _known):
        slow_hashes.write()  # no operation follows that would have them kept
        return
    read, output = hypervisor.run_shell_command(script(record.READ, record.FILE))
    before = record.parse(output.stdout)
    after = _with_values(before, used)
    slow_hashes.write()
    written = read
    if read and after != before:
        text = after.model_dump_json() + "\n"
        written, _ = hypervisor.run_shell_command(script(record.WRITE, record.FILE), _stdin=text)
    if not written:
        logger.warning("the site could not be told which secrets it has (%s)", record.FILE)


def _with_values(known: record.Record, used: Mapping[str, SecretStr]) -> record.Record:
    owner = this_process("")
    now = datetime.now(UTC).replace(microsecond=0)
    for name, value in used.items():
        by = f"{owner.user}@{owner.machine}"
        known = known.with_value(name, value.get_secret_value(), now, by)
    return known


@operation()
def stored(secret: str, store: SecretStore) -> Generator[FunctionCommand, None, None]:
    """Keep the value that was generated for `secret`, on the control machine.

    Args:
        secret: the secret's name.
        store: holds the value since this run was prepared; after this its file does.
    """
    if store.origin(secret) != "absent":
        host.noop(f"secret {secret} is kept in {store.place}")
        return
    log_reasons(f"secret {secret}: made at the first sync, and kept in {store.place}")

    def keep() -> None:
        if store.keep(secret):
            log_lines([f"secret {secret} made, kept in {store.place}"])

    yield local_command(keep)
