"""Hosts answer while a run is prepared: they are asked at once what the last run asked them.

What a run asks is known when all its deploys are prepared. That takes the control machine about as
long as it takes the hosts to answer, and nearly always it is what the last run asked. So a run that
changed nothing keeps the programs that it had its hosts run (`operations.host_state`), and the next
one of the same deploys has each host run them behind the first program that it is sent. An answer
serves where the run then asks exactly that program, and soon, and has changed nothing that it rests
on. In every other case the host is asked as if nothing had been kept.

The programs read and change nothing, and hold no secret: what is secret is compared by digests that
hosts make (`facts.held_secrets`).
"""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Mapping, Sequence
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
from phoenix.place import user_cache
from phoenix.secrets import private_file

Programs = Mapping[str, Sequence[str]]
"""What each host was asked, by its name."""
MAX_SECONDS = 30.0
"""How long after it was asked a host's answer serves: a person may change the host meanwhile."""
_MARK = "phoenix-program-ends"


class _Conversation:
    """Programs that one shell on a host runs in turn, and their output so far."""

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
        """Have the shell run programs behind those before.

        Raises:
            BROKEN: the connection broke.
        """
        self._sent += programs
        text = "".join(f"({program}\n)\necho; echo {_MARK}\n" for program in programs)
        connection.send_all(self._channel, text.encode())

    def end(self) -> None:
        """No program follows.

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


class _Progress:
    """Of one run: what its hosts were asked ahead, and have been asked since its first step."""

    def __init__(self) -> None:
        self.kept: Programs | None = None
        self.changed: set[str] = set()
        self.conversations: dict[str, _Conversation] = {}
        self.asked: dict[str, list[str]] = {}


_runs: WeakKeyDictionary[State, _Progress] = WeakKeyDictionary()


def begin(target: Host, program: str) -> list[str] | None:
    """Have a host run a program, and behind it what the last run asked it.

    Called while the run is prepared. The site's lock is taken before the host is asked ahead: else
    another run could change the site after the host has answered.

    Returns:
        The lines that `program` prints; None where nothing is to be asked ahead, and where the
        connection broke: then the host is to be asked in the usual way.

    Raises:
        ConnectError: the host does not answer by SSH.
    """
    if not site_lock.is_sure_to_run():
        return None
    transport = connection.connected_transport(target, "to read its state")
    if transport is None:
        return None
    with suppress(*connection.BROKEN):
        conversation = _Conversation(transport)
        conversation.send(program)
        conversation.send(*_of_last_run(target))
        conversation.end()
        _of(target).conversations[target.name] = conversation
        return conversation.take(program)
    return None


def _of_last_run(target: Host) -> Sequence[str]:
    """What the last run asked a host; nothing where this run does not hold the lock."""
    with suppress(site_lock.SiteLockedError):  # the first step says so
        site_lock.for_this_run()
    if not site_lock.is_held():
        return ()
    progress = _of(target)
    if progress.kept is None:
        progress.kept = _read(_file())
        site_lock.at_end(_keep)
    return progress.kept.get(target.name, ())


def answer(target: Host, program: str, *, of_site: bool) -> list[str] | None:
    """What a program printed that a host was asked ahead; None where it is to be asked.

    It waits for an answer that is not there yet. Each serves once.

    Args:
        target: the host.
        program: for sh(1).
        of_site: whether the answer rests on other hosts as well, as that of a check does.
    """
    progress = _of(target)
    if not progress.changed and program not in progress.asked.setdefault(target.name, []):
        progress.asked[target.name].append(program)
    conversation = progress.conversations.get(target.name)
    if conversation is None or time.monotonic() - conversation.began_at > MAX_SECONDS:
        return None

    def serves() -> bool:
        return not progress.changed if of_site else target.name not in progress.changed

    lines = conversation.take(program) if serves() else None
    return lines if serves() else None


def forget(target: Host, *, site: bool) -> None:
    """Drop the answers that a change makes old.

    Args:
        target: the host that the run changes.
        site: whether it may change any other host as well.
    """
    names = [host.name for host in target.state.inventory] if site else [target.name]
    _of(target).changed.update(names)


def has_changed(target: Host) -> bool:
    """Whether the run of this host has changed anything."""
    return bool(_of(target).changed)


def _of(target: Host) -> _Progress:
    return _runs.setdefault(target.state, _Progress())


def _keep(hypervisor: Host) -> None:
    """Keep what this run has asked, if it came to its end, failed nowhere and changed nothing."""
    state, progress, file = hypervisor.state, _of(hypervisor), _file()
    if state.current_stage < StateStage.Disconnect or state.failed_hosts or progress.changed:
        return
    if progress.asked == progress.kept:
        return
    with suppress(OSError):  # the next run asks later
        private_file.write(file, progress.asked)


def _file() -> Path:
    """Of the runs with these deploys and hosts, from this checkout."""
    key = json.dumps([str(Path.cwd()), site_lock.pyinfra_command()])
    return user_cache() / f"asked-{zlib.crc32(key.encode()):08x}.json"


def _read(file: Path) -> Programs:
    with suppress(OSError, ValueError):
        status = file.stat()
        if status.st_uid == os.geteuid() and not status.st_mode & 0o077:
            match json.loads(bounded.read(file)):
                case dict(programs) if all(map(_are_texts, programs.values())):
                    return programs
    return {}


def _are_texts(item: object) -> bool:
    return isinstance(item, list) and all(isinstance(text, str) for text in item)
