"""A backup's parts put back: look at what is there, compare, put or leave alone.

Thin over `phoenix.backup`, which has checked the whole backup before any host is asked.
"""

from __future__ import annotations

import base64
from collections.abc import Generator
from datetime import UTC, datetime

from pyinfra import host
from pyinfra.api import FunctionCommand, StringCommand

from facts.backup import CaHere, PortainerHere
from facts.command import script
from operations import trust
from operations.explain import log_lines
from operations.failure import locally, refuse
from operations.host_state import ask, question
from operations.operation import operation
from phoenix import backup, files
from phoenix.components.portainer.config import DATA_VOLUME, SERVER_PROJECT, SERVER_UNIT
from phoenix.components.step_ca.config import DIRECTORY, UNIT
from phoenix.secrets import catalog
from phoenix.secrets.store import SecretStore
from phoenix.shell import Script

Commands = Generator[StringCommand | FunctionCommand, None, None]

KEPT = "/var/backups/phoenix/portainer"
"""Where a volume's data are kept that a backup's have replaced."""


def ca_step(given: backup.Backup, *, replace: bool) -> backup.Step:
    """What is to be done with the CA on this guest; asks it.

    Raises:
        BackupError: another CA stands there, and is not to be replaced.
    """
    return backup.decide(
        ask(question(CaHere, directory=DIRECTORY)),
        what="the CA",
        place=DIRECTORY,
        identity=backup.ca_identity(given.parts["ca"]),
        sha256=_sha256(given, "ca"),
        replace=replace,
    )


def portainer_step(given: backup.Backup, *, replace: bool) -> backup.Step:
    """What is to be done with Portainer's data on this guest; asks it.

    Raises:
        BackupError: another server's are there, and are not to be replaced.
    """
    return backup.decide(
        ask(question(PortainerHere, volume=DATA_VOLUME)),
        what="the server",
        place=f"Docker's volume {DATA_VOLUME}",
        identity=backup.portainer_identity(given.parts["portainer"]),
        sha256=_sha256(given, "portainer"),
        replace=replace,
    )


def secrets_to_take(given: backup.Backup, store: SecretStore, *, replace: bool) -> list[str]:
    """Names of the backup's secrets that the store lacks, or has with another value.

    Raises:
        BackupError: it has another value of one, and is not to be replaced.
    """
    added, other = store.differences(backup.contents.secrets(given.parts["secrets"]))
    if other and not replace:
        raise backup.BackupError(
            f"{store.path} has other values of {', '.join(other)} than the backup, and nothing was "
            "changed: give restore_replace=true to take the backup's (the file is kept beside it), "
            "or leave secrets out of restore_parts"
        )
    return [*added, *other]


@operation()
def ca(given: backup.Backup, *, replace: bool) -> Commands:
    """Put the CA's keys, certificates and database on this guest, unless this CA is there.

    Another CA is refused, or with `replace` moved aside.
    """
    try:
        step = ca_step(given, replace=replace)
    except backup.BackupError as error:
        yield from refuse(str(error))
        return
    if step == "keep":
        host.noop(f"the backup's CA is in {DIRECTORY}, with a database no older than the backup's")
        return
    aside = f"{DIRECTORY}.before-{_now()}" if step == "replace" else ""
    yield _put("restore_ca.sh", (DIRECTORY, UNIT, _sha256(given, "ca"), aside), given.parts["ca"])

    def end() -> None:
        trust.forget()  # another root may stand there now
        if aside:
            log_lines([f"what stood in {DIRECTORY} is kept in {aside}"])

    yield locally(end)


@operation()
def portainer(given: backup.Backup, *, replace: bool) -> Commands:
    """Put Portainer's data into its volume, unless this server's data are there.

    Another server's are refused, or with `replace` moved aside.
    """
    try:
        step = portainer_step(given, replace=replace)
    except backup.BackupError as error:
        yield from refuse(str(error))
        return
    if step == "keep":
        host.noop(f"the backup's server has its data in {DATA_VOLUME}")
        return
    aside = f"{KEPT}/before-{_now()}" if step == "replace" else ""
    words = (DATA_VOLUME, SERVER_PROJECT, SERVER_UNIT, _sha256(given, "portainer"), aside)
    yield _put("restore_portainer.sh", words, given.parts["portainer"])
    if aside:
        yield locally(lambda: log_lines([f"what {DATA_VOLUME} held is kept in {aside}"]))


@operation()
def secrets(given: backup.Backup, store: SecretStore, *, replace: bool) -> Commands:
    """Put the generated secrets back into the store on the control machine.

    Those that are missing are added; where one has another value the run is refused, or with
    `replace` the store that stood there is kept beside it.
    """
    try:
        names = secrets_to_take(given, store, replace=replace)
    except backup.BackupError as error:
        yield from refuse(str(error))
        return
    if not names:
        host.noop(f"{store.path} has the backup's secrets")
        return

    def merge() -> None:
        aside = store.merge(backup.contents.secrets(given.parts["secrets"]))
        log_lines([f"{store.path}: {', '.join(names)} taken from the backup"])
        if aside is not None:
            log_lines([f"the store that stood there is kept in {aside}"])

    yield locally(merge)


@operation()
def administrator(given: backup.Backup, store: SecretStore) -> Commands:
    """Have a Portainer that was put back take today's password, where the backup's is another.

    Noted in the store as a change that was begun, which deploys/portainer.py ends.
    """
    name = catalog.ADMIN_PASSWORD
    values = backup.contents.secrets(given.parts.get("secrets", b"{}"))
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
    yield locally(lambda: store.begin_from(name, former))


def _now() -> str:
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"


def _sha256(given: backup.Backup, part: str) -> str:
    entry = given.manifest.entry(part)
    return entry.sha256 if entry else ""


def _put(name: str, words: tuple[str, ...], data: bytes) -> StringCommand:
    shipped = Script(name.partition(".")[0], files.text(f"backup/{name}"))
    return script(shipped, *words, stdin=base64.encodebytes(data).decode())
