"""Restore a backup's parts: observe the data on the host, compare, restore or keep.

Thin over `phoenix.backup`, which has checked the whole backup before any host is asked.
"""

from __future__ import annotations

import base64
from collections.abc import Generator
from datetime import UTC, datetime

from pyinfra import host
from pyinfra.api import FunctionCommand, StringCommand

from facts.backup import CaData, PortainerData
from facts.command import script
from operations import trust
from operations.explain import log_lines
from operations.failure import local_command, refuse
from operations.host_state import ask, question
from operations.operation import operation
from phoenix import backup, files
from phoenix.components.portainer.compose_files import SERVER_UNIT
from phoenix.components.step_ca.authority import DIRECTORY, UNIT
from phoenix.secrets.store import SecretStore
from phoenix.shell import Script
from phoenix.site.names import SERVER_PROJECT, SERVER_VOLUME
from phoenix.site.secret_names import ADMIN_PASSWORD

Commands = Generator[StringCommand | FunctionCommand, None, None]

PREVIOUS_DATA = "/var/backups/phoenix/portainer"
"""Where the data are kept that a backup replaced in a volume."""


def ca_step(loaded: backup.Backup, *, replace: bool) -> backup.Step:
    """The step for the CA on this guest; reads its state.

    Raises:
        BackupError: another CA is there, and `replace` is off.
    """
    return backup.decide(
        ask(question(CaData, directory=DIRECTORY)),
        part="the CA",
        location=DIRECTORY,
        identity=backup.ca_identity(loaded.parts["ca"]),
        sha256=_sha256(loaded, "ca"),
        replace=replace,
    )


def portainer_step(loaded: backup.Backup, *, replace: bool) -> backup.Step:
    """The step for Portainer's data on this guest; reads their state.

    Raises:
        BackupError: another server's data are there, and `replace` is off.
    """
    return backup.decide(
        ask(question(PortainerData, volume=SERVER_VOLUME)),
        part="the server",
        location=f"Docker's volume {SERVER_VOLUME}",
        identity=backup.portainer_identity(loaded.parts["portainer"]),
        sha256=_sha256(loaded, "portainer"),
        replace=replace,
    )


def secrets_to_take(loaded: backup.Backup, store: SecretStore, *, replace: bool) -> list[str]:
    """Names of the backup's secrets that the store lacks, or has with another value.

    Raises:
        BackupError: it has another value of one, and `replace` is off.
    """
    added, changed = store.differences(backup.contents.secrets(loaded.parts["secrets"]))
    if changed and not replace:
        raise backup.BackupError(
            f"{store.path} has other values of {', '.join(changed)} than the backup. "
            "Nothing was changed. fix: give --replace to take the backup's (the former file is "
            "kept), or --part for the parts without secrets (deploys/restore.py: "
            "restore_replace=true, restore_parts)"
        )
    return [*added, *changed]


@operation()
def ca(loaded: backup.Backup, *, replace: bool) -> Commands:
    """Put the CA's keys, certificates and database on this guest, unless this CA is there.

    Another CA is refused, or with `replace` kept beside it.
    """
    try:
        step = ca_step(loaded, replace=replace)
    except backup.BackupError as error:
        yield from refuse(str(error))
        return
    if step == "keep":
        host.noop(f"the backup's CA is in {DIRECTORY}, with a database no older than the backup's")
        return
    previous = f"{DIRECTORY}.before-{_now()}" if step == "replace" else ""
    yield _put(
        "restore_ca.sh", (DIRECTORY, UNIT, _sha256(loaded, "ca"), previous), loaded.parts["ca"]
    )

    def end() -> None:
        trust.forget()  # the root may be another one now
        if previous:
            log_lines([f"the former {DIRECTORY} is kept in {previous}"])

    yield local_command(end)


@operation()
def portainer(loaded: backup.Backup, *, replace: bool) -> Commands:
    """Put Portainer's data into its volume, unless this server's data are there.

    Another server's are refused, or with `replace` copied to PREVIOUS_DATA.
    """
    try:
        step = portainer_step(loaded, replace=replace)
    except backup.BackupError as error:
        yield from refuse(str(error))
        return
    if step == "keep":
        host.noop(f"the backup's server has its data in {SERVER_VOLUME}")
        return
    previous = f"{PREVIOUS_DATA}/before-{_now()}" if step == "replace" else ""
    arguments = (SERVER_VOLUME, SERVER_PROJECT, SERVER_UNIT, _sha256(loaded, "portainer"), previous)
    yield _put("restore_portainer.sh", arguments, loaded.parts["portainer"])
    if previous:
        yield local_command(
            lambda: log_lines([f"the former data of {SERVER_VOLUME} are kept in {previous}"])
        )


@operation()
def secrets(loaded: backup.Backup, store: SecretStore, *, replace: bool) -> Commands:
    """Restore the generated secrets into the store on the control machine.

    Missing ones are added. Where one has another value the run is refused, or with `replace` the
    former store is kept beside the new one.
    """
    try:
        names = secrets_to_take(loaded, store, replace=replace)
    except backup.BackupError as error:
        yield from refuse(str(error))
        return
    if not names:
        host.noop(f"{store.path} has the backup's secrets")
        return

    def merge() -> None:
        previous = store.merge(backup.contents.secrets(loaded.parts["secrets"]))
        log_lines([f"{store.path}: {', '.join(names)} taken from the backup"])
        if previous is not None:
            log_lines([f"the former store is kept in {previous}"])

    yield local_command(merge)


@operation()
def administrator(loaded: backup.Backup, store: SecretStore) -> Commands:
    """Give a restored Portainer today's password, where the backup's is another.

    The store notes a started change, which deploys/portainer.py finishes.
    """
    name = ADMIN_PASSWORD
    values = backup.contents.secrets(loaded.parts.get("secrets", b"{}"))
    former, present = values.get(name), store.present(name)
    if (
        former is None
        or present is None
        or store.is_changing(name)
        or present.get_secret_value() == former
        or store.origin(name) != "store"
    ):
        host.noop("Portainer's password is the backup's, or is not Phoenix's to change")
        return
    yield local_command(lambda: store.begin_from(name, former))


def _now() -> str:
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"


def _sha256(loaded: backup.Backup, part: str) -> str:
    entry = loaded.manifest.entry(part)
    return entry.sha256 if entry else ""


def _put(name: str, arguments: tuple[str, ...], data: bytes) -> StringCommand:
    shipped = Script(name.partition(".")[0], files.text(f"backup/{name}"))
    return script(shipped, *arguments, stdin=base64.encodebytes(data).decode())
