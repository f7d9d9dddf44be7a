"""Prefetched answers: while a run is prepared, its hosts answer what the last run asked them.

A run knows what it asks when all its deploys are prepared. That takes about as long as the
hosts' answers, and nearly always the questions are those of the last run. A run that changed
nothing therefore keeps the programs that its hosts ran (`operations.host_state`). The next run of
the same deploys sends each host these programs behind the first one. A prefetched answer is used if
the run asks exactly that program within `MAX_SECONDS`, and has changed nothing that the answer
depends on. Otherwise the host is asked as usual.

The programs read and change nothing, and hold no secret: what is secret is compared by digests that
hosts make (`facts.deployed_secrets`).
"""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from weakref import WeakKeyDictionary

import paramiko
from gevent.lock import BoundedSemaphore
from pyinfra.api import State
from pyinfra.api.host import Host
from pyinfra.api.state import StateStage

from operations import connection, site_lock
from phoenix import bounded
from phoenix.locations import user_cache
from phoenix.secrets import private_file

Programs = Mapping[str, list[list[str]]]
"""What each host was asked, by its name: what is about itself, and checks, which other hosts' state
decides as well. Each kind has a shell, since checks wait more than they compute."""
MAX_SECONDS = 30.0
"""The greatest age of a prefetched answer: a person may change the host meanwhile."""
_MARK = "phoenix-program-ends"


class _Shell:
    """A shell on a host that runs programs one after the other, and their output so far."""

    def __init__(self, transport: paramiko.Transport) -> None:
        """Start the shell.

        Raises:
            BROKEN: the connection broke.
        """
        self.began_at = time.monotonic()
        self._lock = BoundedSemaphore(1)
        self._sent: list[str] = []
        self._outputs: dict[str, list[str]] = {}
        self._channel = transport.open_session()
        self._channel.exec_command("sh -c 'exec sh 2>/dev/null'")
        self._output = self._channel.makefile("rb")

    def send(self, *programs: str) -> None:
        """Send further programs.

        Raises:
            BROKEN: the connection broke.
        """
        self._sent += programs
        text = "".join(f"({program}\n)\necho; echo {_MARK}\n" for program in programs)
        connection.send_all(self._channel, text.encode())

    def end(self) -> None:
        """Tell the shell that no program follows.

        Raises:
            BROKEN: the connection broke.
        """
        self._channel.shutdown_write()

    def take(self, program: str) -> list[str] | None:
        """The lines that a program prints, once; None where it was not sent, or did not end."""
        with self._lock, suppress(*connection.BROKEN):
            while self._sent and program not in self._outputs:
                lines = self._read()
                if lines is None:
                    return None
                self._outputs[self._sent.pop(0)] = lines
            return self._outputs.pop(program, None)
        return None

    def _read(self) -> list[str] | None:
        lines: list[str] = []
        for line in self._output:
            lines.append(line.decode(errors="replace").removesuffix("\n"))
            if lines[-1] == _MARK:
                return lines[:-2] if lines[-2] == "" else lines[:-1]
        return None


class _Run:
    """One run: its prefetched answers, the hosts it has changed, and what it has asked them."""

    def __init__(self) -> None:
        self.kept: Programs | None = None
        self.changed: set[str] = set()
        self.shells: dict[tuple[str, bool], _Shell] = {}
        self.asked: dict[str, list[list[str]]] = {}


_runs: WeakKeyDictionary[State, _Run] = WeakKeyDictionary()


def begin(target: Host, program: str) -> list[str] | None:
    """Have a host run a program, and prefetch behind it what the last run asked.

    Called while the run is prepared. The run takes the site's lock first. Else another run could
    change the site after the host has answered.

    Returns:
        The lines that `program` prints. None if nothing is prefetched or the connection broke: the
        caller then asks the host as usual.

    Raises:
        ConnectError: the host does not answer by SSH.
    """
    if not site_lock.is_sure_to_run():
        return None
    transport = connection.connected_transport(target, "to read its state")
    if transport is None:
        return None
    with suppress(*connection.BROKEN):
        shell = _Shell(transport)
        shell.send(program)
        own, checks = _of_last_run(target)
        shell.send(*own)
        shell.end()
        _of(target).shells[target.name, False] = shell
        if checks:
            second = _Shell(transport)
            second.send(*checks)
            second.end()
            _of(target).shells[target.name, True] = second
        return shell.take(program)
    return None


def _of_last_run(target: Host) -> list[list[str]]:
    """The programs of the last run for a host; none if this run does not hold the lock."""
    with suppress(site_lock.SiteLockedError):  # the first step says so
        site_lock.for_this_run()
    if not site_lock.is_held():
        return [[], []]
    this_run = _of(target)
    if this_run.kept is None:
        this_run.kept = _read(_file())
        site_lock.at_end(_keep)
    return this_run.kept.get(target.name, [[], []])


def answer(target: Host, program: str, *, of_site: bool) -> list[str] | None:
    """The prefetched output of a program; None if the host has to be asked.

    Waits for an output that is still under way. Each output is used once.

    Args:
        target: the host.
        program: for sh(1).
        of_site: whether the answer depends on other hosts too, as that of a check does.
    """
    this_run = _of(target)
    asked = this_run.asked.setdefault(target.name, [[], []])[of_site]
    if not this_run.changed and program not in asked:
        asked.append(program)
    shell = this_run.shells.get((target.name, of_site))
    if shell is None or time.monotonic() - shell.began_at > MAX_SECONDS:
        return None

    def is_valid() -> bool:
        return not this_run.changed if of_site else target.name not in this_run.changed

    lines = shell.take(program) if is_valid() else None
    return lines if is_valid() else None


def forget(target: Host, *, site: bool) -> None:
    """Drop the prefetched answers that a change makes stale.

    Args:
        target: the host that the run changes.
        site: whether it may change any other host as well.
    """
    names = [host.name for host in target.state.inventory] if site else [target.name]
    _of(target).changed.update(names)


def has_changed(target: Host) -> bool:
    """Whether this run has changed any host."""
    return bool(_of(target).changed)


def _of(target: Host) -> _Run:
    return _runs.setdefault(target.state, _Run())


def _keep(hypervisor: Host) -> None:
    """Keep what this run has asked, if it finished, failed nowhere and changed nothing."""
    state, this_run, file = hypervisor.state, _of(hypervisor), _file()
    if state.current_stage < StateStage.Disconnect or state.failed_hosts or this_run.changed:
        return
    if this_run.asked == this_run.kept:
        return
    with suppress(OSError):  # the next run asks later
        private_file.write(file, this_run.asked)


def _file() -> Path:
    """The file for runs with these deploys and hosts, from this checkout."""
    key = json.dumps([str(Path.cwd()), site_lock.pyinfra_command()])
    return user_cache() / f"asked-{zlib.crc32(key.encode()):08x}.json"


def _read(file: Path) -> Programs:
    with suppress(OSError, ValueError):
        status = file.stat()
        if status.st_uid == os.geteuid() and not status.st_mode & 0o077:
            match json.loads(bounded.read(file)):
                case dict(programs) if all(map(_are_kinds, programs.values())):
                    return programs
    return {}


def _are_kinds(item: object) -> bool:
    return isinstance(item, list) and len(item) == 2 and all(map(_are_texts, item))


def _are_texts(item: object) -> bool:
    return isinstance(item, list) and all(isinstance(text, str) for text in item)
