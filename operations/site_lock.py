"""One run at a time for one site, from any machine: a lock on the hypervisor.

flock(1) holds it there for as long as the SSH channel is open, so it goes when the run ends,
however it ends: there are no stale locks. Several runs of one owner
share it while they come and go.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from threading import Lock

import paramiko
import pyinfra
from pyinfra import inventory, logger
from pyinfra.api.exceptions import ConnectError
from pyinfra.api.host import Host
from pyinfra.api.state import BaseStateCallback, State, StateStage

from operations import connection
from phoenix.declaration.inventory import site_of
from phoenix.derived import register
from phoenix.derived.components import deploys_components
from phoenix.runs import history
from phoenix.runs.lock import KEEP, OWNER, LockedError, Owner, parse_owner, this_process
from phoenix.runs.reporter import value
from phoenix.runs.revision import of_this_run
from phoenix.shell import Script
from phoenix.site.findings import SettingError

FILE = "/run/phoenix-site.lock"
SCRIPT = Script(
    "lock",
    """exec 8>>"$1.queue" 9<>"$1"
flock 8
if [ "$(cat "$1")" = "$2" ] && flock -n -s 9; then :
elif flock -n 9; then printf '%s' "$2" >"$1"; flock -s 9
else printf held; cat "$1"; exit
fi
flock -u 8
printf mine
printf '%s\\n' "$(grep -sF "$4" "$3" | tail -n 1)"
[ ! -s "${6-}" ] || cat "$6"
printf '\\n.\\n'
IFS= read -r start || exit 0
# Configuration is read through it by others than root, as resolv.conf is by apt.
mkdir -p "${3%/*}"; chmod 755 "${3%/*}"
IFS= read -r end || end=
flock 8
umask 077
printf '{"start":%s,"end":%s,"ended":"%s"}\\n' "$start" "${end:-null}" \\
  "$(date -u +%Y-%m-%dT%H:%M:%SZ)" >>"$3"
if [ "$(wc -l <"$3")" -gt $(($5 * 2)) ]; then
  tail -n "$5" "$3" >"$3.new" && mv "$3.new" "$3"
fi
""",
)
"""Words: the lock's file, the owner as JSON, the history's file, what marks a deployment in it, how
many runs it keeps, and the register's file.

Says `mine`, the last deployment's line, the register and a line with a dot, and holds the lock
until its input ends; or says `held` and the owner. All runs of one owner share the lock, so it is
theirs until the last of them ends. Requests wait in the queue, one at a time. The owner stays in
the file after the lock is released, and then means nothing.

The first line of its input is the run for the history, the second is how the run ended. A run that
dies sends no end, and is in the history without one."""
_SECONDS = 10.0
_ANSWER_SECONDS = 90.0
"""For the lock's answer: runs have it one by one, each for a moment."""
_channels: list[paramiko.Channel] = []
_MAX_HISTORY_BYTES = 4 * 1024 * 1024  # bytes of a history
_tried: list[Owner] = []
_informed: list[Host] = []
_refused: list[SiteLockedError] = []
_asking = Lock()
_at_end: list[Callable[[Host], None]] = []
_tell_end: list[Callable[[str], None]] = []


class SiteLockedError(SettingError):
    """Another run is at work on this site, or the lock cannot be taken."""


def for_this_run() -> None:
    """Take the lock for a run of pyinfra that nobody took it for, before its first change.

    Raises:
        SiteLockedError: another run holds it, or what is deployed is newer than this checkout.
    """
    if not pyinfra.is_cli:
        return
    group = inventory.get_group("hypervisor") if "hypervisor" in inventory.groups else []
    if group:
        owner = parse_owner(os.environ.get(OWNER, "")) or this_process(pyinfra_command())
        hold(group[0], owner)


def is_held() -> bool:
    """Whether this run holds the lock."""
    return bool(_channels)


def is_sure_to_run() -> bool:
    """Whether pyinfra goes on to the steps once they are prepared: `-y`, and no `--dry`."""
    return pyinfra.is_cli and "--dry" not in sys.argv and not {"-y", "--yes"}.isdisjoint(sys.argv)


def pyinfra_command() -> str:
    """This process as the operator called it: files and hosts alone, since data may be secret."""
    arguments = sys.argv[1:]
    limits = [
        f"--limit {word}" for option, word in pairwise(arguments) if option in ("--limit", "-l")
    ]
    return " ".join(["pyinfra", *(word for word in arguments if word.endswith(".py")), *limits])


def hold(hypervisor: Host, owner: Owner) -> bool:
    """Take the lock once for this process and keep it to its end; the history tells of the run.

    A hypervisor that does not answer gives a warning only: a site that is down can
    still be fixed.

    Returns:
        Whether it is held.

    Raises:
        SiteLockedError: another run holds it; says who, and since when. Or what is deployed is of
            a revision that this checkout does not have.
    """
    with _asking:  # all hosts come here at the same time
        if _refused:
            raise _refused[0]
        if not _tried:
            _tried.append(owner)
            try:
                _take(hypervisor, owner)
            except SiteLockedError as error:
                _refused.append(error)
                raise
        return bool(_channels)


def _take(hypervisor: Host, owner: Owner) -> None:
    transport = _transport(hypervisor)
    if transport is None:
        return
    channel = transport.open_session()
    channel.settimeout(_ANSWER_SECONDS)
    arguments = (FILE, owner.model_dump_json(), history.FILE, history.DEPLOYS, str(history.KEPT))
    channel.exec_command(SCRIPT.line(*arguments, register.FILE))
    try:
        state = _read(channel, 4)
        other = parse_owner(_read(channel)) if state == "held" else None
        last = history.deployed(history.parse([_line(channel)])) if state == "mine" else None
        registered = _lines_before_dot(channel) if state == "mine" else []
    except TimeoutError:
        channel.close()
        raise SiteLockedError(
            f"{hypervisor.name} does not tell within {_ANSWER_SECONDS:.0f} s whether another run "
            f"is at work. Something holds {FILE}.queue (`fuser -v {FILE}.queue`), or the disk of "
            f"{register.FILE} hangs."
        ) from None
    channel.settimeout(None)
    if state == "held":
        reason = str(LockedError(other))
        _tell_refused(transport, hypervisor, owner, reason)
        raise SiteLockedError(reason)
    if state != "mine":
        raise SiteLockedError(f"the site cannot be locked at {FILE} on {hypervisor.name}")
    root = checkout(hypervisor)
    start = history.started(owner, of_this_run(root), deploys=deploys_components(owner.command))
    if start.deploys and not history.older_allowed():
        reason = history.behind(root, of_this_run(root), last)
        if reason:
            channel.close()  # the lock is free again
            _tell_refused(transport, hypervisor, owner, reason)
            raise SiteLockedError(
                f"{reason}; or replace it on purpose: phoenix sync --older, or {history.OLDER}=1 "
                "for pyinfra. Nothing was started."
            )
    _channels.append(channel)
    _keep_history(hypervisor, channel, start, registered)


def _tell_refused(
    transport: paramiko.Transport, hypervisor: Host, owner: Owner, reason: str
) -> None:
    """Note a refused run in the history; a failure to do so is ignored."""
    start = history.started(owner, of_this_run(checkout(hypervisor)), deploys=False)
    entry = history.Entry(start=start, end=history.refused(reason), ended=datetime.now(UTC))
    with suppress(*connection.BROKEN):
        channel = transport.open_session()
        channel.exec_command(history.APPEND.line(FILE, history.FILE))
        _send(channel, entry.model_dump_json())
        _wait(channel)


def record_refused(hypervisor: Host, owner: Owner, reason: str) -> None:
    """Have the history tell of a run that the control machine's own lock refused, once."""
    with _asking:
        if _informed:
            return
        _informed.append(hypervisor)
        transport = _transport(hypervisor)
        if transport is not None:
            _tell_refused(transport, hypervisor, owner, reason)


def refused(reason: str) -> None:
    """Have the history tell that this run ends before its first step, and why."""
    for tell in _tell_end:
        tell(reason)


def at_end(work: Callable[[Host], None]) -> None:
    """Have `work` done at the end of this run, with the hypervisor, while the lock is held."""
    _at_end.append(work)


def checkout(machine: Host) -> Path:
    """The folder of the site's files: what is deployed is of its revision."""
    return Path(machine.data.get("site_inventories") or ".").parent


class _Begins(BaseStateCallback):
    """Tells the history of the run when its first step begins: until then nothing is deployed."""

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell = tell

    def operation_start(self, *_: object) -> None:  # type: ignore[override]
        """A step begins."""
        self._tell()


def _keep_history(
    hypervisor: Host, channel: paramiko.Channel, start: history.Start, registered: Sequence[str]
) -> None:
    """Send the run's beginning with its first step, and its end before the connection goes.

    Args:
        hypervisor: which keeps the history.
        channel: of the lock.
        start: what the history tells of the run.
        registered: the lines of the site's register.
    """
    if KEEP in os.environ:
        return  # it does nothing but hold the lock
    reported: list[bool] = []

    def begin(*, deploys: bool = start.deploys) -> None:
        if not reported:
            reported.append(deploys)
            if deploys:
                _register(hypervisor, registered)
            _send(channel, start.model_copy(update={"deploys": deploys}).model_dump_json())

    def end() -> None:
        _do_at_end(hypervisor)
        begin(deploys=False)
        _send(channel, _end(hypervisor.state).model_dump_json())
        _wait(channel)

    def refuse(reason: str) -> None:
        if not reported:
            begin(deploys=False)
            _send(channel, history.refused(reason).model_dump_json())
            with suppress(OSError):
                _wait(channel)

    _tell_end.append(refuse)

    disconnect = hypervisor.connector.disconnect

    def last_words() -> None:
        with suppress(*connection.BROKEN):
            end()
        disconnect()

    hypervisor.connector.disconnect = last_words  # type: ignore[method-assign]
    if hypervisor.state.is_executing:
        begin()
    else:
        hypervisor.state.add_callback_handler(_Begins(begin))  # type: ignore[no-untyped-call]


def _register(hypervisor: Host, registered: Sequence[str]) -> None:
    """Add what the declaration deploys to the site's register, before the first step.

    Most runs deploy what is in its lines, `registered`, already: then nothing is sent.
    """
    site = site_of(hypervisor.data.dict())  # type: ignore[no-untyped-call]
    if register.is_complete(registered, site):
        return
    transport = _transport(hypervisor)
    if transport is None:
        return
    try:
        channel = transport.open_session(timeout=_SECONDS)
        channel.settimeout(_SECONDS)
        channel.exec_command(register.ADD.line(register.FILE))
        lines = "".join(f"{entry.line}\n" for entry in register.entries(site))
        connection.send_all(channel, lines.encode())
        channel.shutdown_write()
        output = _read(channel)
        code = channel.recv_exit_status()
    except connection.BROKEN as error:
        output, code = str(error), 1
    if code:
        logger.warning(
            "%s on %s cannot be written, so what leaves the declaration later may not be told: %s",
            register.FILE, hypervisor.name, output.strip() or f"status {code}",
        )  # fmt: skip


def _do_at_end(hypervisor: Host) -> None:
    for work in _at_end:
        with suppress(*connection.BROKEN, SettingError):
            work(hypervisor)


def _wait(channel: paramiko.Channel) -> None:
    """Wait until the script has ended, and so has written."""
    channel.shutdown_write()
    channel.settimeout(_SECONDS)
    with suppress(OSError):
        while channel.recv(4096):
            pass


def _send(channel: paramiko.Channel, line: str) -> None:
    with suppress(OSError):  # a hypervisor that went down is no reason to fail the others
        connection.send_all(channel, f"{line}\n".encode())


def _end(state: State) -> history.End:
    """How the run came out, at the moment when it leaves its hosts."""
    changed: dict[str, int] = {}
    for host in state.inventory:
        for op_hash in state.ops[host]:
            meta = state.ops[host][op_hash].operation_meta
            if meta.is_complete() and meta.did_succeed() and meta.did_change():
                changed[host.name] = changed.get(host.name, 0) + 1
    failed = sorted(host.name for host in state.failed_hosts)
    finished = state.current_stage >= StateStage.Disconnect
    return history.End(
        result="failed" if failed else "ok" if finished else "stopped",
        changed=sum(changed.values()),
        hosts=sorted(changed),
        failed=failed,
    )


def _transport(hypervisor: Host) -> paramiko.Transport | None:
    """The SSH connection to the hypervisor; None where there is none."""
    try:
        return connection.connected_transport(hypervisor, "to lock the site")
    except ConnectError as error:
        logger.warning("neither lock nor history of the site: %s", error)
        return None


def _read(channel: paramiko.Channel, most: int = 65536) -> str:
    data = b""
    while len(data) < most and (piece := channel.recv(most - len(data))):
        data += piece
    return data.decode(errors="replace")


def _line(channel: paramiko.Channel) -> str:
    line = ""
    while not line.endswith("\n") and (piece := _read(channel, 1)):
        line += piece
    return line


def _lines_before_dot(channel: paramiko.Channel) -> list[str]:
    """The lines that come before one with a dot; none where that one does not come."""
    data = b""
    while not data.endswith(b"\n.\n"):
        piece = channel.recv(65536)
        if not piece:
            return []
        data += piece
    return [line for line in data.decode(errors="replace").split("\n")[:-2] if line]


def record_in_history(hypervisor: Host, runs: str) -> None:
    """Tell who started this process the lines of the history, once; nothing is changed.

    Args:
        hypervisor: it is connected to where it was not yet.
        runs: `all` runs, or the `last` deployment.
    """
    with _asking:
        if _informed:
            return
        _informed.append(hypervisor)
        transport = _transport(hypervisor)
        if transport is None:
            return
        channel = transport.open_session()
        channel.exec_command(history.READ.line(history.FILE, runs, history.DEPLOYS))
        text = _read(channel, _MAX_HISTORY_BYTES)
        value(history.TOLD, hypervisor.name, text.splitlines())
